"""Model files and checkpoints: they round-trip, nothing in them is executed, and damaged ones are refused."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_fabric import Fabric
from safetensors.torch import load_file

from sonoseg.errors import ModelError
from sonoseg.io.files import sha256_of
from sonoseg.models.model_header import read_header
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from sonoseg.training.checkpoint import load_checkpoint, save_checkpoint
from sonoseg.training.progress import Progress, TrainingTotals
from tests.models.unchecked import save_unchecked
from tests.training.setups import progress_of, scalars, setup_of

FABRIC = Fabric(accelerator="cpu", devices=1)


def test_a_model_file_carries_task_and_facts(tmp_path: Path, spine: Task) -> None:
    state = {"weight": torch.randn(3, 4), "steps": torch.tensor(7)}
    digest = sha256_of(save_unchecked(tmp_path / "m.safetensors", state, spine, {"best_epoch": 3}))
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
    with pytest.raises(ModelError, match=str(path)):
        if reader == "model":
            read_header(path)
        else:
            load_checkpoint(path, setup_of(torch.nn.Linear(2, 2), FABRIC), {})
    assert not traces.exists()


@pytest.mark.parametrize("keep", [0, 10, 500])
def test_a_truncated_model_is_refused(tmp_path: Path, spine: Task, keep: int) -> None:
    path = tmp_path / "m.safetensors"
    save_unchecked(path, {"weight": torch.randn(300)}, spine, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="not a SonoSeg model"):
        read_header(path)


def test_errors_of_missing_files_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"run stage 3 \(training\.py\) first"):
        read_header(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="no checkpoint to resume from; train from the beginning"):
        load_checkpoint(tmp_path / "none.ckpt", setup_of(torch.nn.Linear(2, 2), FABRIC), {})


def test_a_checkpoint_restores_the_whole_state(tmp_path: Path) -> None:
    setup, other = (setup_of(torch.nn.Linear(2, 2), FABRIC) for _ in range(2))
    setup.network(torch.ones(1, 2)).sum().backward()
    setup.optimizer.step()
    progress = progress_of(setup.network)
    progress.current_epoch = TrainingTotals(step=3, sums={"total": 1.0}, seconds=1.0)
    save_checkpoint(OutputFolder(tmp_path, "stage3"), setup, progress, {"seed": 1})
    loaded = load_checkpoint(tmp_path / "last.ckpt", other, {"seed": 1})
    assert loaded.epoch == 1 and loaded.best_dice == 0.5 and loaded.history == [scalars()]
    assert loaded.current_epoch == TrainingTotals(step=3, sums={"total": 1.0}, seconds=1.0)
    assert torch.equal(setup.network.weight, other.network.weight)
    moments = [training.optimizer.state_dict()["state"][0]["exp_avg"] for training in (setup, other)]
    assert torch.equal(*moments)
    with pytest.raises(ModelError, match=r"other settings \(seed\)"):
        load_checkpoint(tmp_path / "last.ckpt", other, {"seed": 2})


def test_a_checkpoint_with_a_key_of_version_0_1_is_resumed(tmp_path: Path) -> None:
    setup, task = setup_of(torch.nn.Linear(2, 2), FABRIC), load_task("fetal_head").model_dump(mode="json")
    section = next(section for section in task["measurements"] if section["kind"] == "head_biometry")
    old_section = {name: value for name, value in section.items() if name != "outline_width_fraction"}
    old_section["pen_width"] = section["outline_width_fraction"]
    saved = {"task": with_section(task, old_section)}
    save_checkpoint(OutputFolder(tmp_path, "stage3"), setup, progress_of(setup.network, epochs=2), saved)
    assert load_checkpoint(tmp_path / "last.ckpt", setup, {"task": task}).epoch == 2
    other_ranges = {**task, "review": {**task["review"], "ranges": {}}}
    assert load_checkpoint(tmp_path / "last.ckpt", setup, {"task": other_ranges}).epoch == 2, "they decide no weight"
    for changed in ({**task, "title": "other"}, with_section(task, {**section, "outline_width_fraction": 0.04})):
        with pytest.raises(ModelError, match=r"other settings \(task\)"):
            load_checkpoint(tmp_path / "last.ckpt", setup, {"task": changed})


def with_section(task: dict[str, Any], section: dict[str, Any]) -> dict[str, Any]:
    return {**task, "measurements": [section]}


def test_progress_keeps_the_best_epoch_and_stalls_after_the_patience() -> None:
    network, progress = torch.nn.Linear(1, 1), Progress()
    kept = []
    for dice in (0.1, 0.6, 0.3, 0.6):
        with torch.no_grad():
            network.weight.fill_(dice)
        kept.append(progress.finish_epoch(network, {"dice/mean": dice}))
    assert kept == [True, True, False, False] and progress.best_epoch == 1
    assert float(progress.best_state["weight"]) == pytest.approx(0.6)
    assert progress.has_stalled(2) and not progress.has_stalled(3) and not progress.has_stalled(None)
