"""Batches and learning rates depend on seed and epoch alone."""

import pytest

from sonoseg.core.task_sections import Optimizer
from sonoseg.train.datasets import EpochBatches
from sonoseg.train.optimizer import rate_factor


def order(batches: EpochBatches, epoch: int) -> list[list[int]]:
    batches.epoch = epoch
    return list(batches)


def test_every_image_once_in_an_order_that_seed_and_epoch_decide() -> None:
    batches = EpochBatches(23, 4, seed=1)
    first, second = order(batches, 0), order(batches, 1)
    assert sorted(index for batch in first for index in batch) == list(range(23))
    assert [len(batch) for batch in first] == [4, 4, 4, 4, 4, 3] and len(batches) == 6
    assert first != second and first == order(EpochBatches(23, 4, seed=1), 0)
    assert first != order(EpochBatches(23, 4, seed=2), 0)


def test_two_processes_share_one_order_and_make_the_same_number_of_steps() -> None:
    ranks = [order(EpochBatches(23, 4, seed=1, rank=rank, world=2), 5) for rank in (0, 1)]
    assert len(ranks[0]) == len(ranks[1]) == 3
    together = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert together == order(EpochBatches(23, 4, seed=1), 5)
    many = [order(EpochBatches(10, 8, seed=1, rank=rank, world=8), 0) for rank in range(8)]
    assert all(len(batches) == 1 for batches in many), "more processes than batches: each still gets one"
    uneven = [order(EpochBatches(20, 4, seed=1, rank=rank, world=2), 0) for rank in (0, 1)]
    assert len(uneven[0]) == len(uneven[1]) == 3 and uneven[1][-1] == uneven[0][0]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("constant", [1, 1, 1]), ("cosine", [1, 0.505, 0.01]), ("one_cycle", [0.04, None, 0.001])],
)
def test_schedules_start_and_end_where_they_should(schedule: str, expected: list[float | None]) -> None:
    settings = Optimizer(learning_rate=1, schedule=schedule)
    for step, value in zip((0, 50, 100), expected, strict=True):
        if value is not None:
            assert rate_factor(settings, step, 101) == pytest.approx(value)


def test_one_cycle_peaks_after_three_tenths() -> None:
    settings = Optimizer(learning_rate=1, schedule="one_cycle")
    rates = [rate_factor(settings, step, 101) for step in range(101)]
    assert rates.index(max(rates)) == 30 and max(rates) == pytest.approx(1)
    assert rates[:31] == sorted(rates[:31]) and rates[30:] == sorted(rates[30:], reverse=True)
