"""Order of images and learning rates: functions of seed and epoch alone."""

from itertools import chain

import pytest
import torch

from sonoseg.errors import UsageError
from sonoseg.schema.training import Optimizer
from sonoseg.training.datasets import ShuffledBatchSampler
from sonoseg.training.optimizer import build_optimizer, learning_rates, plateau_factor


def order(sampler: ShuffledBatchSampler, epoch: int) -> list[list[int]]:
    return list(sampler.epoch(epoch))


def test_every_image_once_in_an_order_that_seed_and_epoch_decide() -> None:
    batches = ShuffledBatchSampler(24, 4, seed=1)
    first, second = order(batches, 0), order(batches, 1)
    assert sorted(index for batch in first for index in batch) == list(range(24)) and len(batches) == 6
    assert first != second and first == order(ShuffledBatchSampler(24, 4, seed=1), 0)
    assert first != order(ShuffledBatchSampler(24, 4, seed=2), 0)


def test_the_last_batch_is_filled_from_the_start_of_the_epoch() -> None:
    batches = order(ShuffledBatchSampler(23, 4, seed=1), 0)
    assert [len(batch) for batch in batches] == [4] * 6 and batches[-1][-1] == batches[0][0]
    assert order(ShuffledBatchSampler(1, 4, seed=1), 0) == [[0, 0, 0, 0]]


def test_processes_share_every_batch() -> None:
    whole = order(ShuffledBatchSampler(23, 4, seed=1), 5)
    for world in (2, 4):
        ranks = [order(ShuffledBatchSampler(23, 4, seed=1, rank=rank, world=world), 5) for rank in range(world)]
        assert [list(chain(*parts)) for parts in zip(*ranks, strict=True)] == whole
    with pytest.raises(UsageError, match="a batch of 4 cannot be divided among 3 processes"):
        ShuffledBatchSampler(23, 4, seed=1, rank=0, world=3)


def rates_of(settings: Optimizer, epochs: int, steps: int) -> list[float]:
    return [rate for epoch in range(epochs) for rate in learning_rates(settings, epoch, epochs, steps, [])]


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [("constant", 1, 1), ("plateau", 1, 1), ("cosine", 1, 0.01), ("one_cycle", 0.04, 0.001)],
)
def test_schedules_start_and_end_where_they_should(schedule: str, first: float, last: float) -> None:
    rates = rates_of(Optimizer(learning_rate=2, schedule=schedule), epochs=5, steps=20)
    assert rates[0] == pytest.approx(2 * first) and rates[-1] == pytest.approx(2 * last)


def test_one_cycle_peaks_after_three_tenths() -> None:
    rates = rates_of(Optimizer(learning_rate=1, schedule="one_cycle"), epochs=1, steps=101)
    assert rates.index(max(rates)) == 30 and max(rates) == pytest.approx(1)
    assert rates[:31] == sorted(rates[:31]) and rates[30:] == sorted(rates[30:], reverse=True)


def test_a_warm_up_rises_in_a_straight_line_and_leaves_the_rest_to_the_schedule() -> None:
    rates = rates_of(Optimizer(learning_rate=1, schedule="cosine", warm_up_epochs=1.5), epochs=4, steps=10)
    assert rates[:15] == pytest.approx([(step + 1) / 15 for step in range(15)])
    assert rates[15] == 1 and rates[-1] == pytest.approx(0.01)
    with pytest.raises(ValueError, match="one_cycle begins with a warm-up of its own"):
        Optimizer(learning_rate=1, schedule="one_cycle", warm_up_epochs=1)


@pytest.mark.parametrize("patience", [0, 1, 3])
def test_a_plateau_lowers_the_rate_as_pytorch_does(patience: int) -> None:
    losses = [3, 2, 2, 2, 1.99999, 1, 1.5, 1.5, 1.5, 1.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    settings = Optimizer(learning_rate=1, schedule="plateau", plateau={"factor": 0.3, "patience": patience})
    weight = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.SGD([weight], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, factor=0.3, patience=patience, eps=0)
    for epoch, loss in enumerate(losses):
        assert learning_rates(settings, epoch, 20, 2, losses[:epoch]) == pytest.approx(
            [theirs.param_groups[0]["lr"]] * 2
        )
        reference.step(loss)
    assert plateau_factor(settings.plateau, losses) < 1


@pytest.mark.parametrize(("name", "kind"), [("adam", "Adam"), ("adamw", "AdamW"), ("sgd", "SGD")])
def test_optimisers_by_name(name: str, kind: str) -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = build_optimizer(Optimizer(name=name, learning_rate=0.1, momentum=0.5), [weight])
    assert type(optimizer).__name__ == kind and optimizer.param_groups[0].get("momentum", 0.5) == 0.5
    weight.grad = torch.ones(1)
    optimizer.step()
    assert weight.item() == pytest.approx(0.9, abs=1e-3)
