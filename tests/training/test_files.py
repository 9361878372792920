"""Model files and checkpoints: whole, safe to read, and refused when they are something else."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from sonoseg.errors import ModelError
from sonoseg.models.model_file import save_model
from sonoseg.models.model_header import read_header
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.task import Task
from sonoseg.training.checkpoint import Progress, load_checkpoint, save_checkpoint

FABRIC = Fabric(accelerator="cpu", devices=1)


def test_a_model_file_carries_task_and_facts(tmp_path: Path, spine: Task) -> None:
    state = {"weight": torch.randn(3, 4), "steps": torch.tensor(7)}
    digest = save_model(tmp_path / "m.safetensors", state, spine, {"best_epoch": 3})
    loaded = read_header(tmp_path / "m.safetensors")
    assert loaded.task == spine and loaded.info == {"best_epoch": 3} and loaded.sha256 == digest
    assert all(torch.equal(load_file(tmp_path / "m.safetensors")[name], tensor) for name, tensor in state.items())


class Explosive:
    """Unpickling this makes a file, which shows that something was executed."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("reader", ["model", "checkpoint"])
def test_a_pickle_is_refused_and_not_executed(tmp_path: Path, reader: str) -> None:
    path, traces = tmp_path / "best_model.safetensors", tmp_path / "executed"
    path.write_bytes(pickle.dumps(Explosive(traces)))
    network = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match=str(path)):
        if reader == "model":
            read_header(path)
        else:
            load_checkpoint(path, FABRIC, network, torch.optim.Adam(network.parameters()), {})
    assert not traces.exists()


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_cut_model_is_refused(tmp_path: Path, spine: Task, keep: int) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, {"weight": torch.randn(300)}, spine, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="not a SonoSeg model"):
        read_header(path)


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    with pytest.raises(ModelError, match=r"run training\.py first"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="without --resume"):
        load_checkpoint(tmp_path / "none.ckpt", FABRIC, network, torch.optim.Adam(network.parameters()), {})


def test_a_checkpoint_gives_everything_back(tmp_path: Path) -> None:
    network, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    optimizer, fresh = (torch.optim.Adam(one.parameters(), lr=0.1) for one in (network, other))
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    progress = Progress()
    progress.finish_epoch(network, {"dice/mean": 0.5})
    save_checkpoint(OutputFolder(tmp_path, "stage3"), FABRIC, network, optimizer, progress, {"seed": 1})
    back = load_checkpoint(tmp_path / "last.ckpt", FABRIC, other, fresh, {"seed": 1})
    assert back.epoch == 1 and back.best_dice == 0.5 and back.history == [{"dice/mean": 0.5}]
    assert torch.equal(network.weight, other.weight)
    assert torch.equal(optimizer.state_dict()["state"][0]["exp_avg"], fresh.state_dict()["state"][0]["exp_avg"])
    with pytest.raises(ModelError, match=r"other settings \(seed\)"):
        load_checkpoint(tmp_path / "last.ckpt", FABRIC, other, fresh, {"seed": 2})


def test_progress_keeps_the_best_epoch_and_knows_when_to_stop() -> None:
    network, progress = torch.nn.Linear(1, 1), Progress()
    kept = []
    for dice in (0.1, 0.6, 0.3, 0.6):
        with torch.no_grad():
            network.weight.fill_(dice)
        kept.append(progress.finish_epoch(network, {"dice/mean": dice}))
    assert kept == [True, True, False, False] and progress.best_epoch == 1
    assert float(progress.best_state["weight"]) == pytest.approx(0.6)
    assert progress.has_stalled(2) and not progress.has_stalled(3) and not progress.has_stalled(None)
