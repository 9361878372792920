"""Results of an earlier run are reused, unless a byte or setting that decides them has changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg import __version__
from sonoseg.__main__ import main as sonoseg
from sonoseg.inference import resume
from sonoseg.inference.resume import OptionalFiles
from sonoseg.inference.segmenter import Segmenter
from sonoseg.runs.versions import versions
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.models.members import always_load, member

NAMES = ("a", "b", "c", "d")
Run = Callable[..., list[str]]


def bright(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([images[:, 0] <= 0.5, images[:, 0] > 0.5], dim=1).float() * 8


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetal_head: Task) -> Run:
    """Return a function that runs stage 4 on four pictures and returns the names of those that were segmented."""
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in NAMES:
        Image.fromarray(rng.integers(0, 256, (60, 90), dtype=np.uint8)).save(tmp_path / "in" / f"{name}.png")
    pictures = {path.stem: np.asarray(Image.open(path)) for path in sorted((tmp_path / "in").iterdir())}
    task = changed(fetal_head, input={"size": (64, 96)})
    segmented: list[str] = []
    real = Segmenter.__call__

    def noted(self: Segmenter, image: np.ndarray, *more: object) -> object:
        known = [name for name, picture in pictures.items() if np.array_equal(picture, image)]
        segmented.extend(known or ["new"])
        return real(self, image, *more)

    monkeypatch.setattr(Segmenter, "__call__", noted)

    def run(*flags: str, model: str = "m" * 64) -> list[str]:
        always_load(monkeypatch, member(bright, task, "model", model))
        segmented.clear()
        folders = ["--images", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
        assert inference.main(["--task", "fetal_head", "--jobs", "2", *folders, *flags]) == 0
        assert sonoseg(["verify", str(tmp_path / "out")]) == 0
        return sorted(segmented)

    assert run() == [*NAMES]
    return run


def results(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return bytes and modification time of each result file, without the files of the run as a whole."""
    of_run = ("run.json", "stage4.sha256", "results.csv")
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.name not in of_run
    }


def test_a_second_run_reuses_every_result(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    before, table = results(tmp_path / "out"), (tmp_path / "out" / "results.csv").read_bytes()
    assert run() == []
    assert results(tmp_path / "out") == before and (tmp_path / "out" / "results.csv").read_bytes() == table
    assert "4 of them reused from an earlier run" in capsys.readouterr().out


def test_an_interrupted_run_continues(run: Run, tmp_path: Path) -> None:
    for name in ("run.json", "stage4.sha256", "results.csv", "c.json", "d.json", "d_overlay.png"):
        (tmp_path / "out" / name).unlink()
    assert run() == ["c", "d"]


@pytest.mark.parametrize("flags", [("--spacing", "0.2"), ("--heatmap",), ("--full-masks",)])
def test_another_setting_invalidates_every_result(run: Run, flags: tuple[str, ...]) -> None:
    assert run(*flags) == [*NAMES]
    assert run(*flags) == [] and run() == [*NAMES]


def test_another_model_version_or_format_invalidates_every_result(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(model="n" * 64) == [*NAMES]
    monkeypatch.setattr(resume, "RESULT_FORMAT", resume.RESULT_FORMAT + 1)
    assert run(model="n" * 64) == [*NAMES]
    monkeypatch.setattr(resume, "versions", lambda: {"sonoseg": "999"})
    assert run(model="n" * 64) == [*NAMES] and run(model="n" * 64) == []
    assert run(model="") == run(model="") == [*NAMES], "a network of no file might be any"


def test_the_fingerprint_reads_no_source_file(fetal_head: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter = Segmenter([member(bright, fetal_head, "model", "m" * 64)])
    before = resume.run_fingerprint(segmenter, OptionalFiles())
    monkeypatch.setattr(Path, "glob", lambda *_: [])
    monkeypatch.setattr(Path, "read_bytes", lambda _: b"another docstring")
    assert resume.run_fingerprint(segmenter, OptionalFiles()) == before
    others = [resume.run_fingerprint(segmenter, OptionalFiles(*chosen)) for chosen in ((True, False), (False, True))]
    assert len({before, *others}) == 3
    assert versions()["sonoseg"] == __version__


def test_only_a_changed_image_is_processed_again(run: Run, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "in" / "a.png", tmp_path / "in" / "b.png")
    assert run() == ["a"], "b has the pixels of a now"
    Image.linear_gradient("L").save(tmp_path / "in" / "e.png")
    assert run() == ["new"]


@pytest.mark.parametrize("ending", ["_mask.png", "_overlay.png", ".json"])
def test_a_damaged_result_is_made_again(run: Run, tmp_path: Path, ending: str) -> None:
    good, file = results(tmp_path / "out"), tmp_path / "out" / f"c{ending}"
    data = bytearray(file.read_bytes())
    data[data.find(b'"width": 9') + 10 if ending == ".json" else len(data) // 2] ^= 1
    for damaged in (bytes(data), b"", None):
        file.unlink() if damaged is None else file.write_bytes(damaged)
        assert run() == ["c"]
        assert {name: data for name, (data, _) in results(tmp_path / "out").items()} == {
            name: data for name, (data, _) in good.items()
        }
