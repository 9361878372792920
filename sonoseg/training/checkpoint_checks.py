"""What a checkpoint has to contain: types and ranges, and that it fits the training that resumes from it."""

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sonoseg.models.weights import tensor_problem, weights_problem
from sonoseg.training.optimizer import build_optimizer
from sonoseg.training.setup import TrainingSetup

MAX_COUNT = 10**9
"""Largest number of epochs, steps and images of a checkpoint that is taken."""

Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Values(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True)


class SavedTotals(_Values):
    """Totals of the epoch in progress, see `TrainingTotals`."""

    step: Count = 0
    sums: dict[str, Finite] = {}
    images: Count = 0
    seconds: NotNegative = 0.0
    waited_s: NotNegative = 0.0


class SavedProgress(_Values):
    """See `Progress`; `run` is the name of a folder, and nothing else."""

    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=200)
    epoch: Count
    best_dice: Finite
    best_epoch: int = Field(ge=-1, le=MAX_COUNT)
    best_state: dict[str, Tensor]
    history: list[dict[str, Finite]]
    under_way: SavedTotals = SavedTotals()  # not in checkpoints of version 0.1


class SavedOptimizer(_Values):
    """State of each parameter by its index; the options in `param_groups` are not used."""

    state: dict[int, dict[str, Tensor | float | None]]
    param_groups: list[Any]


class SavedState(_Values):
    """All of a checkpoint."""

    network: dict[str, Tensor]
    optimizer: SavedOptimizer
    scaler: dict[str, Any]
    progress: SavedProgress
    settings: dict[str, Any]
    average: dict[str, Tensor] = {}
    rng: Tensor
    rng_cuda: list[Tensor]


def check_state(state: SavedState, setup: TrainingSetup, settings: Mapping[str, Any]) -> None:
    """Raise ValueError unless a state is one that a training with this setup and these settings writes."""
    expected, progress = setup.network.state_dict(), state.progress
    _require(not (problem := weights_problem(state.network, expected)), f"network: {problem}")
    if setup.average:
        problem = weights_problem(state.average, setup.average.state_dict())
        _require(not problem, f"average: {problem}")
    _check_optimizer(state.optimizer.state, setup)
    _require(progress.epoch <= settings.get("epochs", MAX_COUNT), "progress.epoch: beyond the last epoch")
    _require(len(progress.history) == progress.epoch, "progress.history: expected a row per epoch")
    validates = len(setup.validation) > 0
    scalars = {"schedule/learning_rate", "schedule/hausdorff_weight"}
    if validates:
        scalars |= {"loss/validation", "dice/mean", *(f"dice/{name}" for name in setup.task.class_names)}
    for epoch, row in enumerate(progress.history, start=1):
        _require(scalars <= row.keys(), f"progress.history: epoch {epoch} lacks {', '.join(scalars - row.keys())}")
    if progress.epoch:
        _require(not (problem := weights_problem(progress.best_state, expected)), f"progress.best_state: {problem}")
        scores = [row["dice/mean"] if validates else -1 for row in progress.history]
        best = scores.index(max(scores)) if validates else progress.epoch - 1
        _require(progress.best_epoch == best, f"progress.best_epoch: expected {best}, the best of its history")
        _require(progress.best_dice == scores[best], "progress.best_dice: expected that of its history")
    else:
        _require(progress.best_epoch == -1 and not progress.best_state, "progress: a best epoch before the first")
    totals = progress.under_way
    if totals.step:
        _require(totals.step <= len(setup.training), "progress.under_way.step: beyond the last step")
        _require("total" in totals.sums and totals.seconds > 0, "progress.under_way: steps without a loss or time")


def _check_optimizer(state: Mapping[int, Mapping[str, Any]], setup: TrainingSetup) -> None:
    """Raise ValueError unless each entry is what the task's optimiser keeps of that parameter."""
    parameters, names = list(setup.network.parameters()), _state_names(setup)
    for index, values in state.items():
        where = f"optimizer.state.{index}"
        _require(0 <= index < len(parameters), f"{where}: there are {len(parameters)} parameters")
        _require(values.keys() == names, f"{where}: expected {', '.join(sorted(names)) or 'nothing'}")
        for name, value in values.items():
            expected = torch.zeros(()) if name == "step" else parameters[index]
            if value is not None:
                value = value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float32)
                problem = tensor_problem(value, expected)
                _require(not problem, f"{where}.{name} {problem}")


def _state_names(setup: TrainingSetup) -> set[str]:
    """Return what the task's optimiser keeps of each parameter, from a step with one that has no gradient."""
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = build_optimizer(setup.task.training.optimizer, [parameter])
    parameter.grad = torch.zeros(1)
    optimizer.step()
    return set(optimizer.state_dict()["state"].get(0, {}))


def _require(fits: bool, problem: str) -> None:
    if not fits:
        raise ValueError(problem)
