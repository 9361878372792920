"""Stage 2's images as tensors, made ahead of the network, and which of them come in which order."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, cycle, islice

import numpy as np
import torch
from torch import Tensor

from sonoseg.errors import DataError, UsageError
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.preprocess.augment import apply, copy_generator, draw
from sonoseg.preprocess.intensity import normalise
from sonoseg.runs.split_tables import Prepared
from sonoseg.schema.task import Task
from sonoseg.training.distance import squared_distances
from sonoseg.training.losses import class_indices
from sonoseg.types import Pixels

CACHE_BYTES = 3 * 2**30
"""What is kept in memory when the whole set needs less than this; a laptop has room for it."""

THREADS, AHEAD = 2, 2
"""Threads that make batches, and how many batches they are ahead: decoding and warping leave Python's lock free."""


@dataclass(frozen=True)
class Batch:
    """`images` (B, 1, h, w) float32, `labels` (B, 1, h, w) int64.

    `squares` (B, K, h, w) float32 are squared distances to the boundary of each class, where the loss wants them.
    """

    images: Tensor
    labels: Tensor
    squares: Tensor | None = None


class SegmentationDataset:
    """The pictures of `rows` as they are trained on or validated. What was decoded stays in memory when all of it fits.

    A task that augments on the fly has each row 1 + copies times, with `augmented`: first as it is, then drawn anew in
    every epoch. Item `i` of an epoch depends on seed, epoch and `i` alone.
    """

    def __init__(
        self,
        rows: Sequence[Prepared],
        task: Task,
        augmented: bool = False,
        seed: int = 0,
        limits: ReadLimits = DEFAULT_LIMITS,
    ):
        self.rows = list(rows)
        self.versions = 1 + (task.augmentation.copies if augmented and task.augmentation.online else 0)
        self._task, self._seed, self._limits = task, seed, limits
        self.with_squares = False
        """Whether items carry the squared distances that the Hausdorff loss compares with."""

        pixels = int(np.prod(task.input.size)) * len(rows)
        self._cache: dict[int, tuple[Pixels, Pixels]] | None = {} if 2 * pixels < CACHE_BYTES else None
        wanted = 4 * len(task.structures) * pixels
        self._squares: dict[int, Tensor] | None = {} if self.versions == 1 and wanted < CACHE_BYTES else None

    def __len__(self) -> int:
        return len(self.rows) * self.versions

    def item(self, index: int, epoch: int = 0) -> Batch:
        """Return one item as a batch of one."""
        row, version = divmod(index, self.versions)
        image, mask = self._pictures(row)
        if version:
            rng = copy_generator(self.rows[row].source_id, self._seed, version, epoch)
            image, mask = apply(draw(self._task.augmentation, rng), image, mask)
        values = normalise(image, self._task.input.intensity)
        labels = torch.from_numpy(mask)[None, None].long()
        return Batch(torch.from_numpy(values)[None, None], labels, self._squares_of(row, labels))

    def _squares_of(self, row: int, labels: Tensor) -> Tensor | None:
        if not self.with_squares:
            return None
        if self._squares is not None and row in self._squares:
            return self._squares[row]
        squares = squared_distances(labels == class_indices(len(self._task.structures), labels))
        if self._squares is not None:
            self._squares[row] = squares
        return squares

    def _pictures(self, index: int) -> tuple[Pixels, Pixels]:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        row = self.rows[index]
        image = read_image(row.image_path, self._limits).pixels
        mask = read_mask(row.mask_path, self._limits)
        for path, picture in ((row.image_path, image), (row.mask_path, mask)):
            if picture.shape != self._task.input.size:
                raise DataError(
                    f"{path}: {picture.shape} pixels, but the task says {self._task.input.size}; run stage 2 again"
                )
        if self._cache is not None:
            self._cache[index] = (image, mask)
        return image, mask


class EpochBatches:
    """Batches of shuffled indices that depend on (seed, epoch) alone, so that a resumed run sees the same ones.

    All batches are full: the last one is filled from the beginning of the epoch's order. Of several processes each
    takes its part of every batch, so that together they make the same steps as one. Raises UsageError when a batch
    cannot be divided among them.
    """

    def __init__(self, count: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        if batch_size % world:
            raise UsageError(
                f"a batch of {batch_size} cannot be divided among {world} processes; use a number of processes that "
                "divides training.batch_size, or change that in the task file"
            )
        self.count, self.batch_size, self.seed, self.rank, self.world = count, batch_size, seed, rank, world
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.count).tolist()
        endless, share = cycle(order), self.batch_size // self.world
        for _ in range(len(self)):
            batch = list(islice(endless, self.batch_size))
            yield batch[self.rank * share : (self.rank + 1) * share]


class InOrder:
    """Batches of all indices in their order, the last one as small as it comes."""

    epoch = 0

    def __init__(self, count: int, batch_size: int):
        self.count, self.batch_size = count, batch_size

    def __len__(self) -> int:
        return -(-self.count // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, self.count, self.batch_size):
            yield list(range(start, min(start + self.batch_size, self.count)))


class Loader:
    """The batches of a dataset, made by threads while the network works on the ones before."""

    def __init__(self, dataset: SegmentationDataset, batches: EpochBatches | InOrder):
        self.dataset, self.batches = dataset, batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return self.after(0)

    def after(self, step: int) -> Iterator[Batch]:
        """Yield the batches of an epoch of which `step` have been taken already: those are not made again."""
        epoch = self.batches.epoch
        with ThreadPoolExecutor(THREADS, "batches") as pool:
            waiting: deque = deque()
            try:
                for indices in chain(islice(self.batches, step, None), [None] * AHEAD):
                    if indices is not None:
                        waiting.append([pool.submit(self.dataset.item, index, epoch) for index in indices])
                    if waiting and (len(waiting) > AHEAD or indices is None):
                        yield collate([item.result() for item in waiting.popleft()])
            finally:  # also when no more batches are asked for
                pool.shutdown(cancel_futures=True)


def collate(items: Sequence[Batch]) -> Batch:
    """Put batches behind one another as one."""
    squares = [item.squares for item in items if item.squares is not None]
    return Batch(
        torch.cat([item.images for item in items]),
        torch.cat([item.labels for item in items]),
        torch.cat(squares) if squares else None,
    )
