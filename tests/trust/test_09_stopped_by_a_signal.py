"""Check 9 for SIGTERM or Ctrl-C anywhere in an epoch: the resumed run equals an uninterrupted one (CPU)."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

import image_preprocessing
import sonoseg.training.loop as loop
import train_test_data_preparation
import training
from sonoseg.__main__ import main as tool
from sonoseg.training.tracking import Tracker
from tests.conftest import REPOSITORY
from tests.small import phantoms, small_task
from tests.trust.runs import NAME, flags, run
from tests.trust.test_09_resume import same

EPOCHS, STEPS = 3, 4
CHECKPOINT, MODEL = (Path("Models") / NAME / name for name in ("last.ckpt", "best_model.safetensors"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A task with everything that a step in the middle depends on: dropout, drawn copies, a schedule, a ramp."""
    root = tmp_path_factory.mktemp("prepared")
    loss = {"hausdorff": {"start_epoch": 1, "ramp_epochs": 2, "max_weight": 0.5}}
    optimizer = {"learning_rate": 0.005, "schedule": "one_cycle"}
    settings = {"epochs": EPOCHS, "batch_size": 4, "patience": None, "loss": loss, "optimizer": optimizer}
    network = {"name": "unet", "channels": [8, 16], "strides": [2], "residual_units": 1, "dropout": 0.2}
    online = {"online": True, "copies": 1}
    small_task("spine", root, training=settings, augmentation=online, enhancement={"denoise": None}, network=network)
    phantoms("spine", root, 16)
    assert run(train_test_data_preparation, root) == 0 and run(image_preprocessing, root) == 0
    return root


@pytest.fixture(scope="module")
def straight(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("straight") / "w"))
    assert run(training, root) == 0
    return root


def at_call(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, number: int, act: Callable[[], None]) -> None:
    """Do something before the `number`th call of a function."""
    real, calls = getattr(owner, name), []

    def counted(*arguments: object, **named: object) -> object:
        calls.append(name)
        if len(calls) == number:
            act()
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, counted)


def send(*signals: signal.Signals) -> Callable[[], None]:
    return lambda: [os.kill(os.getpid(), one) for one in signals] and None


PLACES = {
    "in step 2 of epoch 1": (Fabric, "backward", 2, 0, 2),
    "in the last step of epoch 1": (Fabric, "backward", STEPS, 0, STEPS),
    "in step 1 of epoch 3": (Fabric, "backward", 2 * STEPS + 1, 2, 1),
    "in the validation of epoch 2": (loop, "batch_dice", 3, 1, STEPS),
}
"""Where the signal comes -> what is called there and for which time, finished epochs and steps in the checkpoint."""


@pytest.mark.parametrize("place", PLACES)
def test_the_resumed_run_equals_an_uninterrupted_one(
    place: str,
    prepared: Path,
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    owner, name, number, epoch, step = PLACES[place]
    ctrl_c = epoch == 2
    at_call(monkeypatch, owner, name, number, send(signal.SIGINT if ctrl_c else signal.SIGTERM))
    assert run(training, root) == (130 if ctrl_c else 143)
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert (
        said.count("\n") == 1
        and "error" not in said
        and f"checkpoint written to {root / CHECKPOINT};" in said
        and "--resume" in said
    )
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "signals are put back"
    saved = torch.load(root / CHECKPOINT, weights_only=True)["progress"]
    assert (saved["epoch"], saved["under_way"]["step"]) == (epoch, step)
    assert saved["under_way"]["sums"]["total"] > 0
    assert not (root / MODEL).exists() and not list((root / "Models").rglob("*.sha256"))

    calls: list[int] = []
    real = Fabric.backward
    monkeypatch.setattr(Fabric, "backward", lambda self, *rest: (calls.append(1), real(self, *rest))[1])
    assert run(training, root, "--resume") == 0
    assert len(calls) == EPOCHS * STEPS - epoch * STEPS - step, "no step is done twice"
    ours, theirs = (torch.load(one / CHECKPOINT, weights_only=True) for one in (straight, root))
    assert len(ours["progress"]["history"]) == EPOCHS
    same(ours, theirs)
    same(*(load_file(one / MODEL) for one in (straight, root)))
    tables = [(one / "Models" / NAME / "per_case.csv").read_bytes() for one in (straight, root)]
    assert tables[0] == tables[1]
    assert tool(["verify", str(root / "Models")]) == 0


def test_a_signal_between_two_epochs_keeps_the_epoch(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    at_call(monkeypatch, Tracker, "overlays", 1, send(signal.SIGTERM))
    assert run(training, root) == 143
    saved = torch.load(root / CHECKPOINT, weights_only=True)["progress"]
    assert (saved["epoch"], saved["under_way"]["step"], len(saved["history"])) == (1, 0, 1)


SLOW = """
import sys, time
import training
from lightning_fabric import Fabric
real = Fabric.backward
def slow(*arguments, **named):
    real(*arguments, **named)
    print("step", flush=True)
    for _ in range(int(sys.argv[1])):
        time.sleep(0.1)
Fabric.backward = slow
sys.exit(training.main(sys.argv[2:]))
"""


def start(root: Path, tenths: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SLOW, str(tenths), *flags(training, root), *more]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while "step" not in process.stdout.readline():
        assert process.poll() is None
    return process


def test_a_second_signal_ends_at_once(prepared: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    process = start(root, tenths=600)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None, "the first one waits for the step"
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=5) == -signal.SIGTERM
    assert not (root / CHECKPOINT).exists()


def test_several_processes_end_at_once_and_resume_from_their_last_epoch(prepared: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--"]
    command += [str(REPOSITORY / "training.py"), *flags(training, root), "--epochs", "500"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + 60
    while not (root / CHECKPOINT).exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=40)
    assert process.returncode != 0
    saved = torch.load(root / CHECKPOINT, weights_only=True)["progress"]
    assert 1 <= saved["epoch"] < 500 and saved["under_way"]["step"] == 0
    whole = saved["epoch"] + 1
    loaded = torch.load(root / CHECKPOINT, weights_only=True)
    loaded["settings"]["epochs"] = whole
    torch.save(loaded, root / CHECKPOINT)
    assert run(training, root, "--epochs", str(whole), "--resume") == 0
