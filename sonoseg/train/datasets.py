"""Stage 2's images as tensors, and which of them come in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sonoseg.core.errors import DataError
from sonoseg.core.images import Pixels, read_image, read_mask
from sonoseg.core.manifest import Prepared
from sonoseg.core.task import Task
from sonoseg.core.workspace import Workspace
from sonoseg.preprocess.intensity import normalise

CACHE_BYTES = 3 * 2**30
"""Decoded pictures are kept when the whole set needs less than this; a laptop has room for it."""


@dataclass(frozen=True)
class Batch:
    """`images` (B, 1, h, w) float32, `labels` (B, 1, h, w) int64."""

    images: Tensor
    labels: Tensor


class SegmentationDataset(Dataset):
    """Item -> (image (1, h, w) float32, labels (1, h, w) uint8). Decoded pictures stay in memory when they all fit."""

    def __init__(self, rows: Sequence[Prepared], workspace: Workspace, task: Task):
        self.rows = list(rows)
        self._workspace = workspace
        self._task = task
        height, width = task.input.size
        self._cache: dict[int, tuple[Pixels, Pixels]] | None = (
            {} if 2 * height * width * len(rows) < CACHE_BYTES else None
        )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cached(self) -> bool:
        return self._cache is not None

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self._pictures(index)
        values = normalise(image, self._task.input.intensity)
        return torch.from_numpy(values)[None], torch.from_numpy(mask)[None]

    def _pictures(self, index: int) -> tuple[Pixels, Pixels]:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        row = self.rows[index]
        image = read_image(self._workspace.locate(row.image_path))
        mask = read_mask(self._workspace.locate(row.mask_path))
        for name, picture in ((row.image_path, image), (row.mask_path, mask)):
            if picture.shape != self._task.input.size:
                raise DataError(
                    f"{name}: {picture.shape} pixels, but the task says {self._task.input.size}; run stage 2 again"
                )
        if self._cache is not None:
            self._cache[index] = (image, mask)
        return image, mask


class EpochBatches(Sampler[list[int]]):
    """Batches of shuffled indices that depend on (seed, epoch) alone, so that a resumed run sees the same ones.

    With several processes each takes every `world`-th batch of the same order; the last, incomplete round is filled
    from the beginning so that all make the same number of steps.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        batches = -(-self.count // self.batch_size)
        return -(-batches // self.world)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count).tolist()
        batches = [order[start : start + self.batch_size] for start in range(0, self.count, self.batch_size)]
        rounds = islice(cycle(batches), len(self) * self.world)
        return islice(rounds, self.rank, None, self.world)


def collate(items: Sequence[tuple[Tensor, Tensor]]) -> Batch:
    """Stack items into one Batch."""
    images, labels = zip(*items, strict=True)
    return Batch(torch.stack(images), torch.stack(labels).long())


def loader(dataset: SegmentationDataset, batches: EpochBatches | int, workers: int | None = None) -> DataLoader:
    """Return a loader of `Batch`: shuffled by `EpochBatches`, or in order with a batch size.

    A dataset that is kept in memory is read in this process; one that is not gets worker processes.
    """
    count = (0 if dataset.cached else 2) if workers is None else workers
    if isinstance(batches, int):
        return DataLoader(dataset, batch_size=batches, collate_fn=collate, num_workers=count)
    return DataLoader(
        dataset, batch_sampler=batches, collate_fn=collate, num_workers=count, persistent_workers=count > 0
    )
