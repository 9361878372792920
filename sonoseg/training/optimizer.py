"""Registries of optimisers and learning-rate schedules, and the moving average of the weights."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from sonoseg.schema.training import Optimizer, Plateau

ONE_CYCLE_RISE = 0.3
"""Fraction of a one-cycle run in which the rate rises (Smith and Topin 2018)."""

LEAST_GAIN = 1e-4
"""Relative decrease from the best validation loss that counts as an improvement."""


OPTIMIZERS: dict[str, tuple[Callable[..., torch.optim.Optimizer], tuple[str, ...]]] = {
    "adam": (torch.optim.Adam, ()),
    "adamw": (torch.optim.AdamW, ()),
    "sgd": (torch.optim.SGD, ("momentum",)),
}
"""Optimiser -> its class, and the settings that it takes besides learning rate and weight decay."""


def build_optimizer(settings: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the task's optimiser over `parameters`."""
    optimizer, names = OPTIMIZERS[settings.name]
    others = {name: getattr(settings, name) for name in names}
    return optimizer(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, **others)


def learning_rates(
    settings: Optimizer, epoch: int, epochs: int, steps: int, validation_losses: Sequence[float]
) -> list[float]:
    """Return the learning rate of each of the `steps` of an epoch (from 0) of `epochs`.

    `validation_losses` are those of the epochs before; only the `plateau` schedule uses them. There is no other state,
    so that a resumed training has the same rates.
    """
    schedule, warm_up = SCHEDULES[settings.schedule], round(settings.warm_up_epochs * steps)
    rates = []
    for step in range(epoch * steps, (epoch + 1) * steps):
        if step < warm_up:
            factor = (step + 1) / warm_up
        else:
            done = min(1.0, (step - warm_up) / max(1, epochs * steps - warm_up - 1))
            factor = schedule.factor(done)
        rates.append(settings.learning_rate * factor)
    reduction = schedule.reduction(settings.plateau, validation_losses)
    return [rate * reduction for rate in rates]


def plateau_factor(settings: Plateau, losses: Sequence[float]) -> float:
    """Return the product of all reductions so far; the rule of PyTorch's ReduceLROnPlateau with its defaults."""
    factor, best, waited = 1.0, math.inf, 0
    for loss in losses:
        if loss < best * (1 - LEAST_GAIN):
            best, waited = loss, 0
        else:
            waited += 1
        if waited > settings.patience:
            factor, waited = factor * settings.factor, 0
    return factor


def _cosine(done: float) -> float:
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _one_cycle(done: float) -> float:
    if done < ONE_CYCLE_RISE:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * done / ONE_CYCLE_RISE)) / 2
    return 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * (done - ONE_CYCLE_RISE) / (1 - ONE_CYCLE_RISE))) / 2


def _constant(done: float) -> float:
    return 1.0


def _no_reduction(settings: Plateau, losses: Sequence[float]) -> float:
    return 1.0


@dataclass(frozen=True)
class Schedule:
    """The two factors of a learning rate.

    factor: of the completed fraction of the training, 0 to 1. reduction: of the validation losses of the epochs before.
    """

    factor: Callable[[float], float]
    reduction: Callable[[Plateau, Sequence[float]], float] = _no_reduction


SCHEDULES = {
    "constant": Schedule(_constant),
    "plateau": Schedule(_constant, plateau_factor),
    "cosine": Schedule(_cosine),
    "one_cycle": Schedule(_one_cycle),
}


def averaged(network: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    """Return the average of a network's weights and statistics on `device`, to be updated after each step.

    Its first update copies the network. The decay rises from 0.18 to `decay` in the course of the steps, so that the
    initial weights are soon forgotten; the module with the averaged weights is `.module`.
    """
    return AveragedModel(network, device, multi_avg_fn=_moving_average(decay), use_buffers=True)


def _moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        rising = min(decay, (1 + int(count)) / (10 + int(count)))  # the warm-up of TensorFlow's moving average
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(values), 1 - rising)
        else:  # numbers of batches
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)

    return update
