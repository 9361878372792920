"""Data sets and loader: images are read once, augmented copies drawn in every epoch, batches made by threads."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from sonoseg.io.masks import write_label_map
from sonoseg.io.png import write_image
from sonoseg.runs.split_tables import Prepared
from sonoseg.schema.task import Task
from sonoseg.training import datasets
from sonoseg.training.datasets import Batch, Loader, SegmentationDataset, SequentialBatchSampler, ShuffledBatchSampler
from sonoseg.training.distance import squared_distances

SIZE = (32, 48)


@pytest.fixture
def task(spine: Task) -> Task:
    whole = spine.model_dump()
    whole["input"]["size"] = SIZE
    whole["network"] |= {"channels": [4, 8], "strides": [2]}
    whole["augmentation"] |= {"copies": 2, "online": True}
    return Task.model_validate(whole)


@pytest.fixture
def rows(tmp_path: Path, task: Task) -> list[Prepared]:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(5):
        labels = np.zeros(SIZE, np.uint8)
        labels[4 + number : 14, 10:20] = 1
        labels[20:30, 5:40] = 2
        write_image(tmp_path / f"{number}.png", rng.integers(0, 255, SIZE, dtype=np.uint8))
        write_label_map(tmp_path / f"{number}_mask.png", labels, task.colors)
        image, mask = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        rows.append(Prepared(str(number), str(number), "p", 0, image, mask, "none"))
    return rows


def dataset_of(rows: list[Prepared], task: Task, augmented: bool = True, seed: int = 0) -> SegmentationDataset:
    return SegmentationDataset(rows, task.input, len(task.structures), task.augmentation if augmented else None, seed)


def same(first: Batch, second: Batch) -> bool:
    return torch.equal(first.images, second.images) and torch.equal(first.labels, second.labels)


def test_copies_are_drawn_anew_in_every_epoch_and_the_same_every_time(
    task: Task, rows: list[Prepared], tmp_path: Path
) -> None:
    made = [dataset_of(rows, task, seed=1) for _ in range(2)]
    assert len(made[0]) == 15
    for index in range(15):
        assert same(made[0].item(index, 3), made[1].item(index, 3))
    original, first, second = (made[0].item(index, 0) for index in (3, 4, 5))
    assert same(original, made[0].item(3, 9)), "the first version is the image itself, in every epoch"
    drawn = [made[0].item(4, epoch) for epoch in range(4)]
    assert any(not same(drawn[0], other) for other in drawn[1:]) and not (same(original, first) and same(first, second))
    other = dataset_of(rows, task, seed=2)
    assert any(not same(other.item(index, 0), made[0].item(index, 0)) for index in range(15))
    assert len(dataset_of(rows, task, augmented=False)) == 5, "validation has no copies"


def test_smaller_items_are_the_same_images(task: Task, rows: list[Prepared]) -> None:
    dataset = dataset_of(rows, task, augmented=False)
    dataset.with_squared_distances = True
    full = dataset.item(0)
    dataset.size = (16, 24)
    small = dataset.item(0)
    assert small.images.shape == small.labels.shape == (1, 1, 16, 24)
    assert torch.equal(small.labels[0, 0, 2:7, 5:10], torch.ones(5, 5, dtype=torch.int64)), (
        "rows 4 to 14, columns 10 to 20"
    )
    assert int((small.labels == 1).sum()) == 25 == int((full.labels == 1).sum()) // 4
    means = torch.nn.functional.avg_pool2d(full.images, 2)
    assert float((small.images - means).abs().max()) < 0.01, "of 2x2 pixels, rounded to grey levels"
    torch.testing.assert_close(
        small.squared_distances, squared_distances(small.labels == torch.arange(1, 4).view(1, 3, 1, 1))
    )
    dataset.size = SIZE
    assert same(dataset.item(0), full) and torch.equal(dataset.item(0).squared_distances, full.squared_distances)


@pytest.mark.parametrize("augmented", [True, False])
def test_squared_distances_are_those_of_the_labels(
    augmented: bool, task: Task, rows: list[Prepared], tmp_path: Path
) -> None:
    dataset = dataset_of(rows, task, augmented)
    assert dataset.item(1, 0).squared_distances is None
    dataset.with_squared_distances = True
    for epoch in (0, 1, 1):
        item = dataset.item(1, epoch)
        classes = torch.arange(1, 4).view(1, 3, 1, 1)
        torch.testing.assert_close(item.squared_distances, squared_distances(item.labels == classes))


def test_batches_come_in_order_and_are_made_by_other_threads(
    task: Task, rows: list[Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = dataset_of(rows, task)
    threads = set()
    real = dataset.item
    monkeypatch.setattr(dataset, "item", lambda *which: (threads.add(threading.get_ident()), real(*which))[1])
    sampler = ShuffledBatchSampler(len(dataset), 4, seed=1)
    loader = Loader(dataset, sampler)
    batches = list(loader.epoch(2))
    assert len(batches) == len(loader) == 4 and threading.get_ident() not in threads
    for batch, indices in zip(batches, sampler.epoch(2), strict=True):
        assert same(batch, datasets.collate([real(index, 2) for index in indices]))
    assert [len(batch.images) for batch in Loader(dataset, SequentialBatchSampler(15, 4))] == [4, 4, 4, 3]


def test_a_loader_that_is_not_exhausted_ends_its_threads(task: Task, rows: list[Prepared], tmp_path: Path) -> None:
    before = threading.active_count()
    for _ in Loader(dataset_of(rows, task, augmented=False), SequentialBatchSampler(5, 1)):
        break
    assert threading.active_count() == before


def test_threads_of_opencv_do_not_compete_with_the_loader(task: Task, rows: list[Prepared]) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        batches = iter(Loader(dataset_of(rows, task, augmented=False), SequentialBatchSampler(5, 1)))
        next(batches)
        assert cv2.getNumThreads() == 1
        batches.close()
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(threads)


def test_an_error_in_a_thread_is_raised(task: Task, rows: list[Prepared], tmp_path: Path) -> None:
    (tmp_path / "3.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"3\.png"):
        list(Loader(dataset_of(rows, task, augmented=False), SequentialBatchSampler(5, 2)))
