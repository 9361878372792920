"""Check 10, for what TensorBoard shows: a log that cannot be written ends the training by a sentence that names it."""

import errno
import os
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import training
from sonoseg.__main__ import main as tool
from sonoseg.schema.task import Task
from sonoseg.training.tracking import Tracker
from tests.conftest import REPOSITORY
from tests.trust.runs import NAME, flags, run

WRITE = os.write


@pytest.mark.parametrize("number", [1, 30])
def test_a_full_disk_at_any_event(
    number: int, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    events: list[str] = []

    def write(handle: int, data: bytes) -> int:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if "tfevents" not in path:
            return WRITE(handle, data)
        events.append(path)
        if len(events) >= number:
            WRITE(handle, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return WRITE(handle, data)

    monkeypatch.setattr(os, "write", write)
    assert run(training, root, "--epochs", "3") == 2
    assert len(events) == number
    monkeypatch.undo()
    said = capfd.readouterr().err
    assert said == f"error: {events[0]}: No space left on device; free some space and run the same command again\n"
    assert Path(events[0]).is_relative_to(root / "logs" / NAME / "run")
    assert not (root / "Models" / NAME / "best_model.safetensors").exists()
    resumable = (root / "Models" / NAME / "last.ckpt").exists()
    assert resumable == (number == 30)
    assert run(training, root, "--epochs", "3", *(["--resume"] if resumable else [])) == 0
    assert tool(["verify", str(root / "Models")]) == 0
    log = EventAccumulator(str(root / "logs" / NAME / "run"), size_guidance={"images": 0}).Reload()
    assert [event.step for event in log.Scalars("dice/mean")] == [1, 2, 3]


def test_a_limit_of_the_system(prepared: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    ended = subprocess.run(
        [sys.executable, str(REPOSITORY / "training.py"), *flags(training, root)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2500, 2500)),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1, ended.stderr
    assert re.fullmatch(rf"error: {re.escape(str(root))}/logs/\S+tfevents\S+: File too large; .+\n", ended.stderr)


def test_a_file_where_the_folder_of_logs_should_be(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    (root / "logs").write_text("in the way")
    assert run(training, root) == 2
    assert f"error: {root / 'logs'}" in capsys.readouterr().err
    assert not list((root / "Models").rglob("*")), "before any work"


def test_what_tensorboard_reads(tmp_path: Path, spine: Task) -> None:
    first = Tracker(tmp_path, spine)
    for epoch in (1, 2, 3):
        first.scalars({"loss/total": 1 / epoch}, epoch)
    first.close()
    resumed = Tracker(tmp_path, spine, finished=2)
    resumed.scalars({"loss/total": 0.25}, 3)
    resumed.close()
    log = EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in log.Scalars("loss/total")] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert b"VTB" in log.Tensors("task/text_summary")[0].tensor_proto.string_val[0]
