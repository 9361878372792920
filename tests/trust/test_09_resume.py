"""Check 9: six epochs, or three, a kill and a resume: every tensor and every row of scores is the same (CPU)."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import image_preprocessing
import train_test_data_preparation
import training
from tests.conftest import REPOSITORY
from tests.small import phantoms, small_task

NAME = "small_spine"
EPOCHS = 6

KILLED = """
import os, signal, sys
import torch
import sonoseg.training.loop as loop
import training

real = loop.train_epoch

def killed_in_the_fourth(*arguments):
    yield from real(*arguments)
    if arguments[1] == 3:
        os.kill(os.getpid(), signal.SIGKILL)

loop.train_epoch = killed_in_the_fourth
sys.exit(training.main(sys.argv[1:]))
"""


def where(root: Path) -> list[str]:
    return ["--task", str(root / f"{NAME}.yaml"), "--workspace", str(root)]


def flags(root: Path) -> list[str]:
    return [*where(root), "--device", "cpu", "--precision", "32-true", "--run", "run"]


def same(ours: Any, theirs: Any, at: str = "state") -> None:
    """Compare everything that a checkpoint holds, to the last bit; only what is a time may differ."""
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), at
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), at
        for key in ours:
            if not str(key).startswith("time/"):
                same(ours[key], theirs[key], f"{at}.{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(theirs), at
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            same(one, other, f"{at}[{number}]")
    else:
        assert ours == theirs, at


@pytest.mark.parametrize("refit", [[], ["--refit"]])
def test_killed_and_resumed(refit: list[str], tmp_path: Path) -> None:
    root = tmp_path / "straight"
    root.mkdir()
    loss = {"hausdorff": {"start_epoch": 2, "ramp_epochs": 2, "max_gradient_ratio": 0.5}}
    settings: dict[str, Any] = {"batch_size": 4, "patience": None, "loss": loss}
    settings |= {"epochs": EPOCHS, "optimizer": {"learning_rate": 0.005, "schedule": "one_cycle"}}
    settings |= {"gradient_clipping": 1.0, "ema_decay": 0.9}
    settings |= {"progressive_resizing": {"size": [32, 48], "fraction": 0.6}}  # changes where the run is killed
    network = {"name": "unet", "channels": [8, 16, 16], "strides": [2, 2], "residual_units": 1, "dropout": 0.2}
    network |= {"deep_supervision": [0.5]}
    online = {"online": True, "copies": 1}
    small_task("spine", root, training=settings, augmentation=online, enhancement={"denoise": None}, network=network)
    data = phantoms("spine", root, 10)
    assert train_test_data_preparation.main([*where(root), "--data", str(data)]) == 0
    assert image_preprocessing.main([*where(root), "--jobs", "1"]) == 0
    other = Path(shutil.copytree(root, tmp_path / "killed"))

    assert training.main([*flags(root), *refit]) == 0
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *flags(other), *refit], cwd=REPOSITORY, timeout=300, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    checkpoint = Path("Models") / NAME / "last.ckpt"
    assert torch.load(other / checkpoint, weights_only=True)["progress"]["epoch"] == 3
    assert not (other / "Models" / NAME / "best_model.safetensors").exists()
    assert training.main([*flags(other), *refit, "--resume"]) == 0

    ours, theirs = (torch.load(one / checkpoint, weights_only=True) for one in (root, other))
    assert len(ours["progress"]["history"]) == EPOCHS
    same(ours, theirs)
    models = [load_file(one / "Models" / NAME / "best_model.safetensors") for one in (root, other)]
    same(models[0], models[1])
    tables = [(one / "Models" / NAME / "per_case.csv").read_bytes() for one in (root, other)]
    assert tables[0] == tables[1]
