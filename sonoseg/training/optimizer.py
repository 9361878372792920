"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from sonoseg.schema.training import Optimizer, Plateau

ONE_CYCLE_RISE = 0.3
"""Part of a one-cycle run in which the rate rises (Smith and Topin 2018)."""

LEAST_GAIN = 1e-4
"""A validation loss has fallen when it is lower than the best one by this part of it."""


def build_optimizer(settings: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the task's optimiser over `parameters`."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    own: dict[str, Any] = {"momentum": settings.momentum} if settings.name == "sgd" else {}
    return kinds[settings.name](parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, **own)


def learning_rates(
    settings: Optimizer, epoch: int, epochs: int, steps: int, validation_losses: Sequence[float]
) -> list[float]:
    """Return the rate of each of the `steps` of an epoch (from 0) of `epochs`.

    `validation_losses` are those of the epochs before; the `plateau` schedule alone looks at them. Nothing else is
    remembered between epochs, so that a resumed run has the same rates.
    """
    warm_up = round(settings.warm_up_epochs * steps)
    rates = []
    for step in range(epoch * steps, (epoch + 1) * steps):
        if step < warm_up:
            factor = (step + 1) / warm_up
        else:
            done = min(1.0, (step - warm_up) / max(1, epochs * steps - warm_up - 1))
            factor = SCHEDULES[settings.schedule](done)
        rates.append(settings.learning_rate * factor)
    if settings.schedule == "plateau":
        fallen = plateau_factor(settings.plateau, validation_losses)
        rates = [rate * fallen for rate in rates]
    return rates


def plateau_factor(settings: Plateau, losses: Sequence[float]) -> float:
    """Return the product of all reductions so far; the same rule as PyTorch's ReduceLROnPlateau with its defaults."""
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


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "plateau": lambda done: 1.0,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}
"""Factor on the learning rate by the part of the run that is done, 0 to 1."""
