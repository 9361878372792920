"""Several processes train as one: same batches, same losses, one writer; either resumes where the other stopped."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import image_preprocessing
import train_test_data_preparation
import training
from sonoseg.training.processes import SynchronisedBatchNorm, synchronise_batch_norm
from tests.conftest import REPOSITORY
from tests.small import phantoms, small_task

NAME = "small_spine_demo"
EPOCHS = 3


def where(root: Path) -> list[str]:
    return ["--task", str(root / f"{NAME}.yaml"), "--workspace", str(root), "--device", "cpu", "--precision", "32-true"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("workspace")
    loss = {"hausdorff": {"start_epoch": 1, "ramp_epochs": 1, "max_weight": 0.5}}
    optimizer = {"name": "sgd", "learning_rate": 0.05}
    settings = {"epochs": EPOCHS, "batch_size": 4, "patience": None, "loss": loss, "optimizer": optimizer}
    settings |= {"ema_decay": 0.9, "gradient_clipping": 5.0}
    small_task("spine_demo", root, training=settings)
    data = phantoms("spine_demo", root)
    arguments = where(root)[:4]
    assert train_test_data_preparation.main([*arguments, "--data", str(data)]) == 0
    assert image_preprocessing.main([*arguments, "--jobs", "1"]) == 0
    return root


@pytest.fixture(scope="module")
def alone(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("alone") / "w"))
    assert training.main([*where(root), "--run", "one"]) == 0
    return root


def torchrun(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--"]
    command += [str(REPOSITORY / "training.py"), *where(root), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root)


def history(root: Path) -> list[dict[str, float]]:
    return torch.load(root / "Models" / NAME / "last.ckpt", weights_only=True)["progress"]["history"]


def assert_same_training(ours: list[dict[str, float]], theirs: list[dict[str, float]]) -> None:
    assert len(ours) == len(theirs) == EPOCHS
    for own, other in zip(ours, theirs, strict=True):
        for name in [name for name in other if name.startswith(("loss/", "dice/", "schedule/"))]:
            near = {"rel": 1e-4, "abs": 1e-4} if name.startswith("loss/") else {"abs": 1e-2}
            assert own[name] == pytest.approx(other[name], **near), name


def test_two_processes_have_the_losses_of_one_and_one_writes(alone: Path, prepared: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    ended = torchrun(root, "--run", "two")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert_same_training(history(root), history(alone))
    assert ended.stdout.count(f"epoch   {EPOCHS}/{EPOCHS}") == 1, "one process speaks"
    assert len(list((root / "logs" / NAME / "two").glob("events*"))) == 1, "and writes"
    assert len((root / "Models" / NAME / "evaluations.jsonl").read_text().splitlines()) == 1


def test_one_process_resumes_where_two_stopped(alone: Path, prepared: Path, tmp_path: Path, monkeypatch) -> None:
    import sonoseg.training.loop as loop

    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    real = loop.train_epoch

    def stop_in_the_third(*arguments: object) -> Iterator[object]:
        if arguments[1] == 2:
            raise KeyboardInterrupt
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "train_epoch", stop_in_the_third)
    assert training.main([*where(root), "--run", "cut"]) == 130
    assert len(history(root)) == 2
    ended = torchrun(root, "--resume")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert_same_training(history(root), history(alone))


LEAVE = """
import os, sys, torch
from torch.nn.parallel import DistributedDataParallel
from sonoseg.training.processes import process_group

def threads():
    names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
    return sum("gloo" in name for name in names)

def train():
    network = DistributedDataParallel(torch.nn.Linear(2, 1))
    network(torch.ones(3, 2)).sum().backward()
    cycle = [network]
    cycle.append(cycle)

torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[1]}", rank=0, world_size=1)
with process_group():
    train()
    assert threads() > 0
assert threads() == 0, threads()
"""


def test_the_threads_of_a_process_group_end_before_the_interpreter(tmp_path: Path) -> None:
    """Those that are left release tensors while Python ends, which aborts one of a dozen processes."""
    command = [sys.executable, "-c", LEAVE, str(tmp_path / "store")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=REPOSITORY, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_a_shared_batch_norm_of_one_process_is_the_plain_one(monkeypatch) -> None:
    torch.manual_seed(0)
    plain, shared = (torch.nn.Sequential(torch.nn.BatchNorm2d(3)) for _ in range(2))
    synchronise_batch_norm(shared, world=2)
    assert (
        type(shared[0]) is SynchronisedBatchNorm
        and type(synchronise_batch_norm(plain, world=1)[0]) is torch.nn.BatchNorm2d
    )
    monkeypatch.setattr("sonoseg.training.processes.all_reduce", lambda tensor: tensor)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 1)
    for _ in range(2):
        image = torch.randn(4, 3, 5, 6) * 3 + 1
        torch.testing.assert_close(shared(image), plain(image), rtol=1e-4, atol=1e-5)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value)
    torch.testing.assert_close(shared.eval()(image), plain.eval()(image))
