"""The prepared images as tensors: data sets, batch samplers, and a loader that prefetches in threads."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, cycle, islice

import cv2
import numpy as np
import torch
from torch import Tensor

from sonoseg.errors import DataError, UsageError
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.preprocess.augmentation import apply, copy_generator, draw_parameters
from sonoseg.preprocess.intensity import normalise
from sonoseg.runs.split_tables import RUN_STAGE_2_AGAIN, Prepared
from sonoseg.schema.images import Augmentation, Input
from sonoseg.sizes import Size
from sonoseg.training.distance import squared_distances
from sonoseg.training.losses import class_indices
from sonoseg.types import Pixels

CACHE_BYTES = 3 * 2**30
"""Decoded images are cached when all of them need less than this, which a laptop has."""

THREADS, AHEAD = 2, 2
"""Number of loader threads, and of prefetched batches. Decoding and warping release Python's global lock."""


@dataclass(frozen=True)
class Batch:
    """`images` (B, 1, h, w) float32, `labels` (B, 1, h, w) int64.

    `squared_distances` (B, K, h, w) float32 are those to the boundary of each class, in pixels; None where the loss has
    no use for them.
    """

    images: Tensor
    labels: Tensor
    squared_distances: Tensor | None = None


class SegmentationDataset:
    """The images of `rows` for training or validation. Decoded images stay in memory when all of them fit.

    With an `augmentation` that is `online` there are 1 + copies items of each row: the image itself, then its augmented
    copies, drawn anew in every epoch. Item `i` of an epoch depends on seed, epoch and `i` alone.
    """

    def __init__(
        self,
        rows: Sequence[Prepared],
        settings: Input,
        classes: int,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        limits: ReadLimits = DEFAULT_LIMITS,
    ):
        """classes: number of structures. augmentation: None for validation, whose images are never augmented."""
        self.rows = list(rows)
        self.items_per_image = 1 + (augmentation.copies if augmentation and augmentation.online else 0)
        self._settings, self._classes, self._limits = settings, classes, limits
        self._augmentation, self._seed = augmentation, seed
        self.with_squared_distances = False
        """Whether items contain the squared distances of the Hausdorff loss."""
        self.size: Size = settings.size
        """Height and width of the items, smaller than the task's in the first epochs of progressive resizing."""

        pixels = int(np.prod(settings.size)) * len(rows)
        self._cache: dict[int, tuple[Pixels, Pixels]] | None = {} if 2 * pixels < CACHE_BYTES else None
        needed = 4 * classes * pixels
        self._squared_distances: dict[tuple[int, Size], Tensor] | None = (
            {} if self.items_per_image == 1 and needed < CACHE_BYTES else None
        )

    def __len__(self) -> int:
        return len(self.rows) * self.items_per_image

    def item(self, index: int, epoch: int = 0) -> Batch:
        """Return an item of an epoch as a batch of one."""
        row, copy = divmod(index, self.items_per_image)
        image, mask = self._read(row)
        if copy and self._augmentation:
            rng = copy_generator(self.rows[row].source_id, self._seed, copy, epoch)
            image, mask = apply(draw_parameters(self._augmentation, rng), image, mask)
        if self.size != self._settings.size:
            image = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)
            mask = cv2.resize(mask, self.size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        values = normalise(image, self._settings.intensity)
        labels = torch.from_numpy(mask)[None, None].long()
        return Batch(torch.from_numpy(values)[None, None], labels, self._squared_distances_of(row, labels))

    def _squared_distances_of(self, row: int, labels: Tensor) -> Tensor | None:
        if not self.with_squared_distances:
            return None
        key = row, self.size
        if self._squared_distances is not None and key in self._squared_distances:
            return self._squared_distances[key]
        distances = squared_distances(labels == class_indices(self._classes, labels))
        if self._squared_distances is not None:
            self._squared_distances[key] = distances
        return distances

    def _read(self, index: int) -> tuple[Pixels, Pixels]:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        row = self.rows[index]
        image, mask = read_image(row.image_path, self._limits).pixels, read_mask(row.mask_path, self._limits)
        for path, picture in ((row.image_path, image), (row.mask_path, mask)):
            if picture.shape != self._settings.size:
                raise DataError(
                    f"{path}: {picture.shape} pixels; expected the task's {self._settings.size}; {RUN_STAGE_2_AGAIN}"
                )
        if self._cache is not None:
            self._cache[index] = (image, mask)
        return image, mask


class ShuffledBatchSampler:
    """Batches of shuffled indices that depend on (seed, epoch) alone, so that a resumed training has the same ones.

    All batches are full: the last one is filled from the beginning of the epoch's order. Each of several processes
    (`rank` of `world`) takes its share of every batch, so that together they make the same steps as a single one.
    Raises UsageError when a batch cannot be divided among them.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        if batch_size % world:
            raise UsageError(
                f"a batch of {batch_size} cannot be divided among {world} processes; use a number of processes that "
                "divides training.batch_size, or change that in the task file"
            )
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def epoch(self, number: int) -> Iterator[list[int]]:
        """Yield this process's indices of each batch of an epoch (from 0)."""
        order = np.random.default_rng([self.seed, number]).permutation(self.count).tolist()
        endless, share = cycle(order), self.batch_size // self.world
        for _ in range(len(self)):
            batch = list(islice(endless, self.batch_size))
            yield batch[self.rank * share : (self.rank + 1) * share]


class SequentialBatchSampler:
    """Batches of all indices in order, the same in every epoch; the last batch may be smaller."""

    def __init__(self, count: int, batch_size: int):
        self.count, self.batch_size = count, batch_size

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def epoch(self, number: int) -> Iterator[list[int]]:
        for start in range(0, self.count, self.batch_size):
            yield list(range(start, min(start + self.batch_size, self.count)))


class Loader:
    """The batches of a data set, made by threads while the network works on earlier ones; iterable as epoch 0.

    limit: number of batches of an epoch at most.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        batch_sampler: ShuffledBatchSampler | SequentialBatchSampler,
        limit: int | None = None,
    ):
        self.dataset, self.batch_sampler, self.limit = dataset, batch_sampler, limit

    def __len__(self) -> int:
        return len(self.batch_sampler) if self.limit is None else min(self.limit, len(self.batch_sampler))

    def __iter__(self) -> Iterator[Batch]:
        return self.epoch(0)

    def epoch(self, number: int, skip: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch (from 0) without the first `skip`, which are not made."""
        batches = islice(self.batch_sampler.epoch(number), skip, self.limit)
        with ThreadPoolExecutor(THREADS, "batches") as pool:
            waiting: deque = deque()
            threads = cv2.getNumThreads()
            cv2.setNumThreads(1)  # the loader's threads are enough; OpenCV's own would compete with several trainings
            try:
                for indices in chain(batches, [None] * AHEAD):
                    if indices is not None:
                        waiting.append([pool.submit(self.dataset.item, index, number) for index in indices])
                    if waiting and (len(waiting) > AHEAD or indices is None):
                        yield collate([item.result() for item in waiting.popleft()])
            finally:  # also when no more batches are asked for
                pool.shutdown(cancel_futures=True)
                cv2.setNumThreads(threads)


def collate(items: Sequence[Batch]) -> Batch:
    """Concatenate batches along the batch dimension."""
    distances = [item.squared_distances for item in items if item.squared_distances is not None]
    return Batch(
        torch.cat([item.images for item in items]),
        torch.cat([item.labels for item in items]),
        torch.cat(distances) if distances else None,
    )
