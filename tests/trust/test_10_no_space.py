"""Check 10: when a write runs out of space, the run reports it, earlier files stay intact, and a rerun completes."""

import errno
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import image_preprocessing as stage2
import inference as stage4
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.__main__ import main as tool
from sonoseg.io.files import TEMPORARY
from tests.conftest import REPOSITORY
from tests.trust.runs import NAME, OUTPUTS, STAGES, TIMED, TIMED_LISTS, flags, make, outputs, run

CHANGES = {
    stage1: [],
    stage2: ["--seed", "7"],
    stage3: ["--seed", "7"],
    stage4: ["--images", "spine/images", "--spacing", "0.3"],
}
"""What makes a second run write other files than the first."""

AT_MOST = {stage1: 20, stage2: 8, stage3: 4, stage4: 6}
"""Writes that are failed; all of them where a run takes no time."""

SAY_FINISHED = re.compile(r"(index|_split)\.csv|\.sha256|evaluation\.(json|html)|per_case\.csv|run\.json|/[^/]+\.json")
"""Files that may be missing after a failure: they mark a finished stage and are removed before the first change."""


FDOPEN = os.fdopen


class Disk:
    """Counts the files that are written, and from the `full_at`th on (or for that one only) takes half of each."""

    def __init__(self, full_at: int = 0, stays_full: bool = False):
        self.full_at, self.stays_full, self.writes = full_at, stays_full, 0

    def fdopen(self, handle: int, *arguments: Any) -> Any:
        stream = FDOPEN(handle, *arguments)
        if os.readlink(f"/proc/self/fd/{handle}").endswith(TEMPORARY):
            self.writes += 1
            late = self.writes >= self.full_at if self.stays_full else self.writes == self.full_at
            if self.full_at and late:
                return Full(stream)
        return stream


class Full:
    """A file whose disk runs full in the middle of a write."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *raised: object) -> None:
        self._stream.close()

    def write(self, data: bytes) -> None:
        self._stream.write(data[: len(data) // 2])
        self._stream.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def root(finished: Path, tmp_path: Path) -> Path:
    """A copy of the workspace, for one test."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which all stages have run."""
    root = make(tmp_path_factory.mktemp("workspace"))
    for stage in STAGES:
        more = ["--images", str(root / "spine" / "images"), "--spacing", "0.2"] if stage is stage4 else []
        assert run(stage, root, *more) == 0
    return root


def again(stage: ModuleType, root: Path) -> int:
    return run(stage, root, *[str(root / flag) if "/" in flag else flag for flag in CHANGES[stage]])


def corrected(root: Path) -> None:
    """Move a shape of every annotation, so that stage 1 has masks to write."""
    path = root / "spine" / "annotations.json"
    shapes = json.loads(path.read_text())
    for entry in shapes.values():
        for shape in entry:
            shape[2][0][0] += 3
    path.write_text(json.dumps(shapes))


def put_back(root: Path, files: dict[str, bytes]) -> None:
    for name in OUTPUTS:
        shutil.rmtree(root / name, ignore_errors=True)
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def check_whole(root: Path, old: dict[str, bytes], new: dict[str, bytes]) -> None:
    """Every file is the old one or the new one, none is half, and none is there that should not be."""
    now = {name: data for name, data in outputs(root).items() if not name.endswith(".writing")}  # of unfinished runs
    for name, data in now.items():
        assert name in old or name in new, f"{name} is left over"
        if data in (old.get(name), new.get(name)):
            continue
        path = root / name
        assert path.name in (*TIMED, "preprocessing.json"), f"{name} is neither the old one nor the new one"
        if path.suffix == ".json":
            json.loads(data)
        elif path.suffix == ".jsonl":
            assert [json.loads(line) for line in data.splitlines()]
        elif path.suffix == ".ckpt":
            torch.load(path, weights_only=True)
    gone = [name for name in old if name not in now and name in new and not SAY_FINISHED.search(name)]
    assert not gone, f"{gone} are lost"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_no_space_at_any_write(
    root: Path, stage: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = outputs(root)
    if stage is stage1:
        corrected(root)
    counted = Disk()
    monkeypatch.setattr(os, "fdopen", counted.fdopen)
    assert again(stage, root) == 0
    new = outputs(root)
    assert counted.writes >= 6 and sum(old.get(name) != data for name, data in new.items()) >= 6

    rng = random.Random(10)
    every = range(1, counted.writes + 1)
    chosen = sorted({1, counted.writes, *rng.sample(every, min(AT_MOST[stage] - 2, counted.writes))})
    for number in chosen:
        put_back(root, old)
        capsys.readouterr()
        disk = Disk(number, stays_full=rng.random() < 0.5)
        monkeypatch.setattr(os, "fdopen", disk.fdopen)
        assert again(stage, root) == 2, f"write {number} of {counted.writes}"
        monkeypatch.setattr(os, "fdopen", FDOPEN)
        said = capsys.readouterr().err
        named = re.search(r"error: (.+): No space left on device; free some space and run the same command", said)
        assert named and Path(named[1]).is_relative_to(root) and TEMPORARY not in named[1], said
        check_whole(root, old, new)

        assert again(stage, root) == 0, f"rerun after write {number} of {counted.writes}"
        made = outputs(root)
        assert made.keys() == new.keys()
        timed = (*TIMED, *TIMED_LISTS) if stage in (stage3, stage4) else ()
        assert [name for name in new if made[name] != new[name] and Path(name).name not in timed] == []
        assert tool(["verify", *(str(root / name) for name in OUTPUTS)]) == 0


def test_no_space_for_the_log_of_scorings(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = root / "Models" / NAME / "evaluations.jsonl"
    before = log.read_bytes()

    fsync = os.fsync

    def fail(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").samefile(log):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", fail)
    assert run(stage3, root, "--score") == 2
    assert f"{log}: No space left on device; free some space" in capsys.readouterr().err
    monkeypatch.undo()
    assert log.read_bytes().startswith(before)
    assert run(stage3, root, "--score") == 0


def test_a_limit_of_the_system_reaches_the_workers_too(root: Path) -> None:
    old = outputs(root)
    command = [sys.executable, str(REPOSITORY / "image_preprocessing.py"), *flags(stage2, root)]
    command[command.index("--jobs") + 1] = "2"
    limit: Callable[[], None] = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500))  # noqa: E731
    ended = subprocess.run(
        [*command, "--seed", "7"], capture_output=True, text=True, preexec_fn=limit, timeout=120, check=False
    )
    assert ended.returncode == 2 and "Traceback" not in ended.stderr
    assert re.search(rf"error: {re.escape(str(root))}\S+: File too large", ended.stderr), ended.stderr
    assert not [name for name in outputs(root) if name.endswith(TEMPORARY)]
    assert {name for name in outputs(root) if name not in old} <= {f"Train_Test_Dataset/{NAME}/.stage2.writing"}
    assert run(stage2, root, "--seed", "7") == 0
