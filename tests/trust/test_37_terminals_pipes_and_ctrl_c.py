"""Check 37: closed pipes, full devices, ASCII terminals, hostile flags, three Ctrl-C: complete, or interrupted."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

import image_preprocessing as stage2
import inference as stage4
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.__main__ import main as tool
from tests.conftest import REPOSITORY
from tests.trust.conftest import everything, rows_of
from tests.trust.runs import NAME, STAGES, flags

NOISE = ("Traceback", "Exception ignored", "unexpected", "dumped", "Fatal")


def command(stage: ModuleType, root: Path, *more: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / f"{stage.__name__}.py"), *flags(stage, root), *more]


def again(workspace: Path, stage: ModuleType) -> list[str]:
    """Remove what makes a stage say that nothing is left to do; return the flags that run it on this workspace."""
    if stage is stage2:
        return ["--seed", "7"]
    if stage is stage4:
        shutil.rmtree(workspace / "result")
        return ["--images", str(workspace / "spine" / "images")]
    return []


def is_complete(workspace: Path, stage: ModuleType) -> None:
    folder = {stage3: "Models", stage4: "result"}.get(stage, "Train_Test_Dataset")
    assert tool(["verify", str(workspace / folder / NAME)]) == 0
    if stage is stage4:
        assert len(rows_of(workspace / "result" / NAME / "results.csv")) == 12


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_reader_that_has_read_enough(workspace: Path, stage: ModuleType) -> None:
    more = again(workspace, stage)
    read, write = os.pipe()
    process = subprocess.Popen(command(stage, workspace, *more), stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    os.close(read)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0 and said == ""
    is_complete(workspace, stage)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_full_device(workspace: Path, stage: ModuleType) -> None:
    more = again(workspace, stage)
    with open("/dev/full", "w") as full:
        done = subprocess.run(command(stage, workspace, *more), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: standard output: No space left on device; the run is complete, only its messages are lost"
    ]
    is_complete(workspace, stage)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams(workspace: Path, closed: str) -> None:
    more = again(workspace, stage4)
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *command(stage4, workspace, *more)])
    assert done.returncode == 0
    is_complete(workspace, stage4)


@pytest.mark.parametrize("arguments", [["--help"], ["verify", "."], ["--no-such-flag"]], ids=" ".join)
def test_other_texts_end_quietly_too(arguments: list[str], tmp_path: Path) -> None:
    for target in ("/dev/full", os.devnull):
        with open(target, "w") as stream:
            done = subprocess.run(
                [sys.executable, "-m", "sonoseg", *arguments], stdout=stream, stderr=subprocess.PIPE, cwd=REPOSITORY
            )
        assert done.returncode in (0, 1, 2) and not any(word.encode() in done.stderr for word in NOISE)


ASCII = {
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "ascii"},
    "LC_ALL=C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("encoding", ASCII)
def test_an_ascii_terminal(workspace: Path, encoding: str) -> None:
    images = workspace / "Müller 超"
    shutil.copytree(workspace / "spine" / "images", images)
    image = next(iter(images.iterdir()))
    image.rename(images / "é.png")
    (images / "ü.gif").write_bytes(b"GIF89a")
    environment = {**os.environ, **ASCII[encoding], "COLUMNS": "100"}
    output = workspace / "out"
    arguments = command(stage4, workspace, "--images", str(images), "--output", str(output))
    done = subprocess.run(arguments, env=environment, capture_output=True, timeout=120)
    said = (done.stdout + done.stderr).decode("ascii")
    assert done.returncode == 1 and not any(word in said for word in NOISE), said
    rows = rows_of(output / "results.csv")
    failed = [row for row in rows if row["status"] == "failed"]
    assert len(rows) == 13 and {row["reason"][:4] for row in failed} <= {"GIF ", ".gif", "a li", "this"}, failed
    for stage in (stage1, stage3):
        more = ["--score"] if stage is stage3 else []
        done = subprocess.run(command(stage, workspace, *more), env=environment, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        (done.stdout + done.stderr).decode("ascii")


def interrupted(arguments: Sequence[str], workspace: Path, wait: float, pause: float) -> tuple[int, str]:
    """Start a process in a group of its own and interrupt the group three times; return exit code and text."""
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, cwd=workspace
    )
    time.sleep(wait)
    for _ in range(3):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
        time.sleep(pause)
    said, _ = process.communicate(timeout=60)
    return process.returncode, said


SLOW = """
import runpy, sys, time
import cv2, numpy
import sonoseg.io.readers as readers
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("pause", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("wait", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_three_times_ctrl_c(workspace: Path, stage: ModuleType, wait: float, pause: float) -> None:
    more = again(workspace, stage)
    more += {stage3: ["--epochs", "5000"], stage2: ["--copies", "300", "--jobs", "2"]}.get(stage, [])
    if stage in (stage1, stage4):
        images = workspace / "spine" / "images"
        for number in range(300):
            shutil.copy(next(iter(sorted(images.iterdir()))), images / f"more{number}.png")
    code, said = interrupted(command(stage, workspace, *more), workspace, wait, pause)
    assert not any(word in said for word in NOISE), said
    assert code in (130, 0, 2), said
    left = [path for path in everything(workspace) if path.endswith(".tmp")]
    assert left == []
