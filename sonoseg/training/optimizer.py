"""Registries of optimisers and learning-rate schedules."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from sonoseg.schema.training import Optimizer, Plateau

ONE_CYCLE_RISE = 0.3
"""Fraction of a one-cycle run in which the rate rises (Smith and Topin 2018)."""

LEAST_GAIN = 1e-4
"""Relative decrease from the best validation loss that counts as an improvement."""


OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


def build_optimizer(settings: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the task's optimiser over `parameters`."""
    momentum: dict[str, Any] = {"momentum": settings.momentum} if settings.name == "sgd" else {}
    optimizer = OPTIMIZERS[settings.name]
    return optimizer(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, **momentum)


def learning_rates(
    settings: Optimizer, epoch: int, epochs: int, steps: int, validation_losses: Sequence[float]
) -> list[float]:
    """Return the learning rate of each of the `steps` of an epoch (from 0) of `epochs`.

    `validation_losses` are those of the epochs before; only the `plateau` schedule uses them. There is no other state,
    so that a resumed training has the same rates.
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
        reduction = plateau_factor(settings.plateau, validation_losses)
        rates = [rate * reduction for rate in rates]
    return rates


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


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "plateau": lambda done: 1.0,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}
"""Schedule -> factor of the learning rate as a function of the completed fraction of the training, 0 to 1."""
