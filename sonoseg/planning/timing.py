"""How long a training step takes on this machine."""

import statistics
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from sonoseg.evaluation.folds import FoldData
from sonoseg.runs.split_tables import Prepared
from sonoseg.schema.task import Task
from sonoseg.sizes import MAX_EPOCHS
from sonoseg.training.datasets import Loader, SegmentationDataset, ShuffledBatchSampler
from sonoseg.training.loop import train_epoch
from sonoseg.training.processes import start_fabric
from sonoseg.training.setup import build_training
from sonoseg.types import Pixels

WARM_UP, TIMED = 3, 20
"""Steps before the clock starts, and those that are timed."""
LATE = 2 * MAX_EPOCHS
"""An epoch after every warm-up, so that the loss has all its terms and images have their full size."""

NO_IMAGES = FoldData(fold=None, train=[], validation=[], test=[], samples=[], hashes={})
ROW = Prepared(id="", source_id="", patient="", fold=None, image_path=Path(), mask_path=Path(), augmentation="none")


class RandomImages(SegmentationDataset):
    """A data set of random images and masks in memory; copies are drawn as of prepared images."""

    def _read(self, index: int) -> tuple[Pixels, Pixels]:
        rng, size = np.random.default_rng(index), self._settings.size
        return rng.integers(0, 256, size, np.uint8), rng.integers(0, self._classes + 1, size, np.uint8)


def has_gpu() -> bool:
    """Return whether a training would run on a GPU here."""
    return torch.cuda.is_available()


def seconds_per_step(task: Task) -> float:
    """Return the median time of a step of stage 3 on random images, in seconds, with the drawing of augmented copies.

    It leaves the state of PyTorch's random numbers as it was.
    """
    with torch.random.fork_rng():
        setup = build_training(task, NO_IMAGES, start_fabric("auto", 1, "auto"))
        steps, batch = WARM_UP + TIMED, task.training.batch_size
        rows = [replace(ROW, source_id=str(index)) for index in range(steps * batch)]
        dataset = RandomImages(rows, task.input, len(task.structures), task.augmentation)
        setup.training = Loader(dataset, ShuffledBatchSampler(len(dataset), batch, seed=0))
        rates = [task.training.optimizer.learning_rate] * steps
        ends = [totals.seconds for totals in train_epoch(setup, LATE, rates)]
    return statistics.median(later - earlier for earlier, later in pairwise(ends[WARM_UP - 1 :]))
