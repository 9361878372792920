"""The checkpoint `last.ckpt`: everything that a training needs to resume after its last epoch, or after a step."""

import io
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from sonoseg.errors import ModelError, TaskError, printable
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import CHECKPOINT
from sonoseg.schema.task_files import parse_task
from sonoseg.training.checkpoint_checks import SavedState, check_state
from sonoseg.training.progress import Progress, TrainingTotals
from sonoseg.training.setup import TrainingSetup

MAX_REASON = 200
"""Longest reason in a message, in letters: parts of it come from the file."""


def save_checkpoint(output: OutputFolder, setup: TrainingSetup, progress: Progress, settings: dict[str, Any]) -> Path:
    """Write the state of a training and return the path of the file.

    settings: of the training, such as task, fold, seed and data; it can be resumed with equal settings only.
    """
    state = {
        "network": setup.network.state_dict(),
        "optimizer": setup.optimizer.state_dict(),
        "scaler": setup.fabric.strategy.precision.state_dict(),
        "progress": _progress_values(progress),
        "settings": settings,
        "rng": torch.get_rng_state(),
        "rng_cuda": torch.cuda.get_rng_state_all(),
    }
    if setup.average:
        state["average"] = setup.average.state_dict()
    stream = io.BytesIO()
    torch.save(state, stream)
    return output.write_bytes(CHECKPOINT, stream.getvalue())


def load_checkpoint(path: Path, setup: TrainingSetup, settings: dict[str, Any]) -> Progress:
    """Load a checkpoint into network and optimizer of `setup`, restore the random state, and return the progress.

    Only tensors and plain values are read; nothing in the file is executed. Raises ModelError when the file is missing
    or damaged, belongs to a training with other settings, or contains anything that such a training does not write.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no checkpoint to resume from; train from the beginning")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged archive raises many kinds, and none of it is read any further
        raise ModelError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); train from the beginning"
        ) from error
    try:
        state = SavedState.model_validate(values)
        saved, current = _without_review(_in_current_keys(state.settings, path)), _without_review(settings)
        changed = sorted(name for name in current.keys() | saved.keys() if current.get(name) != saved.get(name))
        if not changed:
            check_state(state, setup, settings)
            _restore(state, setup)
    except Exception as error:  # of any kind for values that were edited, however deep
        raise ModelError(
            f"{path}: not a checkpoint of this training ({_first_problem(error)}); restore it from a copy, or train "
            "from the beginning"
        ) from error
    if changed:
        raise ModelError(
            f"{path}: made with other settings ({printable(', '.join(changed))}); repeat them, or train from the "
            "beginning"
        )
    progress = state.progress.model_dump(exclude={"under_way"})
    return Progress(**progress, current_epoch=TrainingTotals(**state.progress.under_way.model_dump()))


def _restore(state: SavedState, setup: TrainingSetup) -> None:
    """Load a state into network, optimizer and random generators. Raises what torch raises."""
    setup.network.load_state_dict(state.network)
    if setup.average:
        setup.average.load_state_dict(state.average)
    # The optimizer's options are those of the task; its learning rate is set at each step.
    groups = setup.optimizer.state_dict()["param_groups"]
    setup.optimizer.load_state_dict({"state": state.optimizer.state, "param_groups": groups})
    setup.fabric.strategy.precision.load_state_dict(state.scaler)
    torch.set_rng_state(state.rng)
    if len(state.rng_cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state.rng_cuda)


def _first_problem(error: Exception) -> str:
    """Return field and reason of the first fault of a checkpoint, in one line."""
    if not isinstance(error, ValidationError):
        text = str(error) if isinstance(error, ValueError) else type(error).__name__
        return printable(" ".join(text.split()))[:MAX_REASON]
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part)[:50] for part in first["loc"]) or "the file"
    return printable(f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}")[:MAX_REASON]


def _in_current_keys(settings: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the settings of a checkpoint with their task as this version writes it, also from keys of version 0.1."""
    with suppress(KeyError, TaskError):  # another task than the present one: it differs, and is reported as such
        return {**settings, "task": parse_task(settings["task"], str(path)).model_dump(mode="json")}
    return settings


def _without_review(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings without the task's section `review`, which decides no weight."""
    task = settings.get("task")
    if not isinstance(task, dict):
        return settings
    return {**settings, "task": {name: section for name, section in task.items() if name != "review"}}


def _progress_values(progress: Progress) -> dict[str, Any]:
    """Return the progress as plain values; the totals of the epoch in progress have the key `under_way`."""
    values = vars(progress) | {"under_way": vars(progress.current_epoch)}
    del values["current_epoch"]
    return values
