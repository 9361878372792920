"""Check 22: of two runs with the same output the second is refused; the lock of a killed run does not block."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

import image_preprocessing as stage2
import inference as stage4
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.__main__ import main as tool
from tests.conftest import REPOSITORY
from tests.trust.runs import NAME, flags, outputs, run

HOLDER = """
import importlib, os, sys, time

def stop(*arguments):
    print("holding", flush=True)
    time.sleep(600)

script = importlib.import_module(sys.argv[1])
os.replace = stop
sys.exit(script.main(sys.argv[2:]))
"""
"""Stops in the middle of its first write until it is killed."""


def unlocked(root: Path) -> dict[str, bytes]:
    """Return the outputs without the locks, in which readers leave a line."""
    return {name: data for name, data in outputs(root).items() if not name.endswith(".sonoseg.lock")}


@contextmanager
def holding(stage: ModuleType, root: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A process of a stage that stops while it writes; killed at the end."""
    command = [sys.executable, "-c", HOLDER, stage.__name__, *flags(stage, root), *more]
    holder = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    try:
        assert any("holding" in line for line in holder.stdout), "the run came to its end without a write"
        yield holder
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        holder.stdout.close()


@pytest.mark.parametrize(
    ("first", "later"),
    [(stage1, [stage1]), (stage2, [stage2]), (stage3, [stage3, stage2]), (stage4, [stage4]), (stage1, [stage2])],
    ids=lambda stages: "-".join(stage.__name__ for stage in (stages if isinstance(stages, list) else [stages])),
)
def test_a_second_run_is_refused_until_the_first_was_killed(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], first: ModuleType, later: list[ModuleType]
) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    more = ["--seed", "7"] if first is stage2 else []
    with holding(first, root, *more) as holder:
        before = unlocked(root)
        for second in later:
            assert run(second, root) == 2
            said = capsys.readouterr().err
            assert f"is in use by process {holder.pid} on" in said and NAME in said and "wait until it has" in said
            assert unlocked(root) == before, "what is refused changes nothing"
    assert list(root.rglob(".sonoseg.lock")), "the killed run could not clean up"
    for second in later:
        assert run(second, root) == 0
        held = {path.parent.name for path in root.rglob(".sonoseg.lock")}
        assert not held or (first is stage3 and held == {NAME}), "the lock was removed"
        folder = {stage3: "Models", stage4: "result"}.get(second, "Train_Test_Dataset")
        assert tool(["verify", str(root / folder)]) == (1 if (first, second) == (stage1, stage2) else 0)


def test_trainings_on_the_same_split_run_in_parallel(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    with holding(stage3, root):
        assert run(stage3, root, "--sanity-check") == 0, "another folder of models"
        assert run(stage4, root) == 0, "a model is read while the next one is trained"


def test_a_cross_validation_locks_its_own_folder(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    with holding(stage3, root, "--fold", "all"):
        assert run(stage3, root, "--fold", "all") == 2
        assert f"{NAME}/cross_validation is in use" in capsys.readouterr().err


def test_the_workers_of_a_killed_run_end_with_it(trained: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(trained, tmp_path / "copy"))
    command = [sys.executable, str(REPOSITORY / "image_preprocessing.py"), *flags(stage2, root), "--copies", "40"]
    command[command.index("--jobs") + 1] = "2"
    killed = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    pictures = root / "Train_Test_Dataset" / NAME / "train" / "images"
    patience = time.monotonic() + 60
    while not list(pictures.glob("*_aug20.png")) and time.monotonic() < patience:
        time.sleep(0.01)
    workers = Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(workers) >= 2
    patience = time.monotonic() + 5
    while (alive := [worker for worker in workers if runs(worker)]) and time.monotonic() < patience:
        time.sleep(0.05)
    for worker in alive:
        os.kill(int(worker), signal.SIGKILL)
    assert not alive, "they would write into a folder that is not locked"
    assert run(stage2, root) == 0 and tool(["verify", str(root / "Train_Test_Dataset")]) == 0


def runs(process: str) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
