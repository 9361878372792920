"""What a training consists of, built from a task: network, optimizer, loss, and the batches of both sets of images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.optim.swa_utils import AveragedModel

from sonoseg.evaluation.folds import FoldData
from sonoseg.models.model_file import initial_state
from sonoseg.models.model_header import read_header
from sonoseg.models.networks import build_network
from sonoseg.models.registry import registered_model, resolve
from sonoseg.schema.task import Task
from sonoseg.training.datasets import Loader, SegmentationDataset, SequentialBatchSampler, ShuffledBatchSampler
from sonoseg.training.losses import SegmentationLoss
from sonoseg.training.optimizer import averaged, build_optimizer
from sonoseg.training.processes import synchronise_batch_norm
from sonoseg.training.progress import scored_classes

SANITY_CHECK_BATCHES = 2
_LISTED = 3
"""Names of tensors in a message."""


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training that are not part of the task.

    seed: of weights and order. epochs: None for the task's. compiled: compile the network. sanity_check: one epoch of
    two batches, with the boundary loss at its full weight, to see that shapes fit and the loss is a finite number.
    """

    seed: int = 42
    epochs: int | None = None
    compiled: bool = False
    sanity_check: bool = False


@dataclass
class TrainingSetup:
    """Everything that the steps of a training use; the same on a CPU, a GPU, or in each of several processes.

    epochs: number of epochs at most. network: Fabric's wrapper; the plain module is `network.module`. average: of its
    weights, for tasks with an `ema_decay`. absent: classes that no validation image shows. remarks: on initial
    weights that were taken from a model.
    """

    task: Task
    fabric: Fabric
    options: TrainingOptions
    epochs: int
    network: Any
    optimizer: torch.optim.Optimizer
    loss: SegmentationLoss
    training: Loader
    validation: Loader
    average: AveragedModel | None = None
    absent: Sequence[str] = ()
    remarks: Sequence[str] = ()

    @property
    def scored(self) -> list[str]:
        """The classes whose mean Dice chooses the epoch."""
        return scored_classes(self.task.class_names, self.absent)

    @property
    def validated(self) -> nn.Module:
        """The plain module that is validated and saved: the network, or the average of its weights."""
        module: nn.Module = self.average.module if self.average else self.network.module
        return module


def build_training(
    task: Task, data: FoldData, fabric: Fabric, options: TrainingOptions = TrainingOptions()
) -> TrainingSetup:
    """Return the setup of a new training; initial weights and the order of images depend on the seed alone.

    Raises UsageError when a batch cannot be divided among the processes.
    """
    fabric.seed_everything(options.seed, workers=True, verbose=False)
    network = build_network(task)
    remarks = (
        [start_from(network, task.network.init), *seen_images(task.network.init, data)] if task.network.init else []
    )
    network = synchronise_batch_norm(network, fabric.world_size)
    optimizer = build_optimizer(task.training.optimizer, network.parameters())
    decay = task.training.ema_decay
    average = averaged(network, decay, fabric.device) if decay else None
    if options.compiled:
        network.compile()  # in place: its weights keep their names
    network, optimizer = fabric.setup(network, optimizer)

    size, classes = task.training.batch_size, len(task.structures)
    training = SegmentationDataset(data.train, task.input, classes, task.augmentation, options.seed, data.limits)
    validation = SegmentationDataset(data.validation, task.input, classes, limits=data.limits)
    sampler = ShuffledBatchSampler(len(training), size, options.seed, fabric.global_rank, fabric.world_size)
    limit = SANITY_CHECK_BATCHES if options.sanity_check else None
    return TrainingSetup(
        task=task,
        fabric=fabric,
        options=options,
        epochs=1 if options.sanity_check else options.epochs or task.training.epochs,
        network=network,
        optimizer=optimizer,
        loss=SegmentationLoss(
            task.training.loss, task.is_binary, not options.sanity_check, task.network.coarser_weights
        ),
        training=Loader(training, sampler, limit),
        validation=Loader(validation, SequentialBatchSampler(len(validation), size), limit),
        average=average,
        absent=data.absent_from_validation(task.class_names),
        remarks=remarks,
    )


def seen_images(init: str, data: FoldData) -> list[str]:
    """Return a warning where initial weights were trained on images that validate or test, byte for byte; else none."""
    entry = registered_model(init)
    parts = {"test": data.test_samples, "validation": data.validation_samples} if entry else {}
    seen = {
        part: sum(entry.trained_on_file(sample.sha256) for sample in samples)
        for part, samples in parts.items()
        if entry
    }
    counts = [f"{count} of the {len(parts[part])} {part} images" for part, count in seen.items() if count]
    if not counts:
        return []
    return [
        f"warning: the initial weights were trained on {' and '.join(counts)}: these scores will be too good; leave "
        "network.init out for a score that can be trusted"
    ]


def start_from(network: nn.Module, init: str) -> str:
    """Give a network the weights of a model where name and shape fit, and return a line on what was taken.

    init: a name in the registry, or the path of a model file. Raises ModelError for a model that is missing or damaged,
    and for one of which nothing fits.
    """
    header = read_header(resolve(init))
    state, drawn = initial_state(network, header)
    network.load_state_dict(state)
    listed = ", ".join(drawn[:_LISTED]) + (f" and {len(drawn) - _LISTED} more" if len(drawn) > _LISTED else "")
    rest = f"; drawn at random: {listed}" if drawn else ""
    taken = f"{len(state) - len(drawn)} of {len(state)} tensors"
    return f"initial weights: {taken} from {init} (task {header.task.name}){rest}"


def digest_of_init(init: str) -> str:
    """Return the SHA-256 of the model file that gives the initial weights. Raises ModelError as `start_from` does."""
    return read_header(resolve(init)).sha256
