"""Check 26: a link in place of a file that is written in place is refused, and what it leads to is unchanged."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import inference as stage4
import sonoseg.runs.lock as lock
import training as stage3
from sonoseg.errors import UsageError
from sonoseg.evaluation.results import append_line
from sonoseg.runs.lock import NAME as LOCK
from sonoseg.runs.lock import NAME_WITHOUT_LOCKS, locked
from tests.trust.conftest import Segmented, everything
from tests.trust.runs import NAME, run

MAKE_LINK: dict[str, Callable[[Path, Path], None]] = {
    "symbolic": lambda link, target: link.symlink_to(target),
    "relative": lambda link, target: link.symlink_to(os.path.relpath(target, link.parent)),
    "hard": lambda link, target: link.hardlink_to(target),
    "chain": lambda link, target: (link.with_name("between").symlink_to(target), link.symlink_to("between")),
}
SAYS = {"hard": "has several hard links"}
kinds = pytest.mark.parametrize("kind", MAKE_LINK)


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file outside of the output folder."""
    path = tmp_path / "precious.txt"
    path.write_text('{"test_split_sha256": "aa"}\n')
    return path


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", fail)


@kinds
@pytest.mark.parametrize("shared", [False, True])
def test_the_lock(kind: str, shared: bool, tmp_path: Path, precious: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    MAKE_LINK[kind](folder / LOCK, precious)
    before = everything(tmp_path)
    says = f"{folder / LOCK}: {SAYS.get(kind, 'is a symbolic link')}, .* remove it"
    with pytest.raises(UsageError, match=says), locked(folder, shared):
        pass
    assert everything(tmp_path) == before


@pytest.mark.usefixtures("no_locks")
@kinds
def test_the_lock_of_a_file_system_without_locks(kind: str, tmp_path: Path, precious: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    MAKE_LINK[kind](folder / NAME_WITHOUT_LOCKS, precious)
    before = everything(tmp_path)
    with pytest.raises(UsageError, match=f"{NAME_WITHOUT_LOCKS}: {SAYS.get(kind, 'is a symbolic link')}"):
        locked(folder).__enter__()
    assert everything(tmp_path) == before


@kinds
def test_the_log_of_scorings(kind: str, tmp_path: Path, precious: Path) -> None:
    log = tmp_path / "out" / "evaluations.jsonl"
    log.parent.mkdir()
    MAKE_LINK[kind](log, precious)
    before = everything(tmp_path)
    with pytest.raises(UsageError, match=SAYS.get(kind, "is a symbolic link")):
        append_line(log, {})
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", [LOCK, NAME_WITHOUT_LOCKS, "evaluations.jsonl"])
def test_a_dangling_link_makes_no_file(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name == NAME_WITHOUT_LOCKS:
        request.getfixturevalue("no_locks")
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / name).symlink_to(tmp_path / "made.txt")
    with pytest.raises(UsageError, match="is a symbolic link"):
        append_line(folder / name, {}) if name.endswith("jsonl") else locked(folder).__enter__()
    assert not (tmp_path / "made.txt").exists()


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCK)
    with pytest.raises(UsageError, match="is not a regular file"), locked(tmp_path):
        pass


def test_stage_4_ends_before_it_writes(
    segmented: Segmented, tmp_path: Path, precious: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.png").write_bytes(b"")
    (out / LOCK).symlink_to(precious)
    before = everything(tmp_path)
    flags = ["--task", "fetal_head", "--images", str(tmp_path / "new"), "--output", str(out)]
    assert stage4.main(flags) == 2
    assert f"{out / LOCK}: is a symbolic link" in capsys.readouterr().err
    assert everything(tmp_path) == before


def test_training_ends_before_it_begins(workspace: Path, precious: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = workspace / "Models" / NAME / "evaluations.jsonl"
    log.unlink()
    log.symlink_to(precious)
    before = everything(workspace)
    assert run(stage3, workspace, "--seed", "7") == 2
    assert f"{log}: is a symbolic link" in capsys.readouterr().err
    assert everything(workspace) == before and precious.read_text() == '{"test_split_sha256": "aa"}\n'
