"""A training setup of any network, without images."""

from typing import Any

import torch
from lightning_fabric import Fabric

from sonoseg.schema.task_files import load_task
from sonoseg.training.progress import Progress
from sonoseg.training.setup import TrainingOptions, TrainingSetup


def setup_of(network: torch.nn.Module, fabric: Fabric) -> TrainingSetup:
    """Return a setup of a network and its optimizer, which is all that a checkpoint is about."""
    nothing: Any = None
    batches: Any = range(10)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    task = load_task("spine")
    return TrainingSetup(task, fabric, TrainingOptions(), 1, network, optimizer, nothing, batches, batches)


def scalars(dice: float = 0.5) -> dict[str, float]:
    """Return the scalars of an epoch with this validation Dice."""
    names = ("mean", "MID", "VTB", "EPI")
    schedule = {"schedule/learning_rate": 0.1, "schedule/hausdorff_weight": 0.0}
    return {"loss/validation": 1 - dice, **{f"dice/{name}": dice for name in names}, **schedule}


def progress_of(network: torch.nn.Module, epochs: int = 1) -> Progress:
    """Return the progress of a training after so many epochs, of which the first was the best."""
    progress = Progress("run")
    for _ in range(epochs):
        progress.finish_epoch(network, scalars())
    return progress
