"""`make fuzz` on few inputs: the same seed gives the same inputs, none is a fault, and a fault is reported and kept."""

from pathlib import Path

import pytest

from stress import fuzz
from stress.fuzz import SHARES

INPUTS = 300

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow remarks on what is broken in a picture


def test_300_inputs_end_well_or_with_an_error_of_ours(tmp_path: Path) -> None:
    findings = fuzz.fuzz(INPUTS, 5, tmp_path / "kept")
    assert findings.faults == [] and not (tmp_path / "kept").exists()
    for kind, share in SHARES.items():
        assert findings.counts[kind, "ok"] + findings.counts[kind, "refused"] == INPUTS * share
        assert min(findings.counts[kind, "ok"], findings.counts[kind, "refused"]) >= 3, f"{kind}: both results occur"


def test_same_seed_same_inputs(tmp_path: Path) -> None:
    first, again, other = (fuzz.fuzz(30, number, tmp_path).counts for number in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        ("task_file", "load_task"),
        ("annotations", "read_annotations"),
        ("metadata", "read_metadata"),
        ("picture", "read_image"),
    ],
)
def test_another_exception_is_a_fault_and_kept(
    kind: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = getattr(fuzz, part)

    def broken(*arguments: object) -> None:
        if part == "load_task" and not isinstance(arguments[0], Path):
            return real(*arguments)  # type: ignore[no-any-return]
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(fuzz, part, broken)
    assert fuzz.run_fuzz(["--inputs", "40", "--keep", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert f"{kind}_0: ZeroDivisionError: a fault" in said
    assert (tmp_path / f"{kind}_0").is_file()
