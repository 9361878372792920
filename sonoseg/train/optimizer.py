"""Optimisers and learning-rate schedules by name."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from sonoseg.core.task_sections import Optimizer

WARM_UP = 0.3
"""Part of a one-cycle run in which the rate rises (Smith and Topin 2018)."""


def build_optimizer(settings: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the task's optimiser over `parameters`."""
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.name]
    return kind(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)


def rate_factor(settings: Optimizer, step: int, steps: int) -> float:
    """Return the factor on the learning rate at `step` of `steps` (from 0); after the last step it stays as it was."""
    done = min(1.0, step / max(1, steps - 1))
    return SCHEDULES[settings.schedule](done)


def _cosine(done: float) -> float:
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def _one_cycle(done: float) -> float:
    if done < WARM_UP:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * done / WARM_UP)) / 2
    return 1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * (done - WARM_UP) / (1 - WARM_UP))) / 2


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}
