"""What a training is made of, put together: network, optimiser, loss, and the batches of both kinds of images."""

from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric

from sonoseg.evaluation.folds import TrainingData
from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task
from sonoseg.training.datasets import EpochBatches, InOrder, Loader, SegmentationDataset
from sonoseg.training.losses import SegmentationLoss
from sonoseg.training.optimizer import build_optimizer
from sonoseg.training.processes import share_statistics


@dataclass
class Parts:
    """The same ones on a CPU, a GPU, or several under torchrun. `order` decides the batches of `training`.

    `network` is Fabric's wrapper of the plain one, which is its `module`.
    """

    network: Any
    optimizer: torch.optim.Optimizer
    loss: SegmentationLoss
    order: EpochBatches
    training: Loader
    validation: Loader


def build_parts(
    task: Task,
    data: TrainingData,
    fabric: Fabric,
    seed: int,
    compiled: bool = False,
    warm_up: bool = True,
) -> Parts:
    """Return the parts of a new training; weights and order depend on `seed` alone. See SegmentationLoss for `warm_up`.

    Raises UsageError when a batch cannot be divided among the processes.
    """
    fabric.seed_everything(seed, workers=True, verbose=False)
    network = share_statistics(build_network(task), fabric.world_size)
    optimizer = build_optimizer(task.training.optimizer, network.parameters())
    if compiled:
        network.compile()  # in place: its weights keep their names
    network, optimizer = fabric.setup(network, optimizer)
    loss = SegmentationLoss(task.training.loss, task.is_binary, warm_up)
    size = task.training.batch_size
    images = SegmentationDataset(data.train, task, augmented=True, seed=seed, limits=data.limits)
    held_out = SegmentationDataset(data.validation, task, limits=data.limits)
    order = EpochBatches(len(images), size, seed, fabric.global_rank, fabric.world_size)
    validation = Loader(held_out, InOrder(len(held_out), size))
    return Parts(network, optimizer, loss, order, Loader(images, order), validation)
