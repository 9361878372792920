"""How a training was run, and what a model file says of its own making."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from sonoseg.evaluation.folds import TrainingData
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.provenance import run_record
from sonoseg.runs.versions import versions
from sonoseg.schema.task import Task
from sonoseg.training.checkpoint import Progress


def record_run(
    output: OutputFolder,
    name: str,
    command: Sequence[str],
    task: Task,
    settings: dict[str, Any],
    goes_on: bool = False,
) -> None:
    """Write how a run is made; of one that `goes_on` the records before it are kept, under `earlier`, first one first.

    `settings` are a checkpoint's, or only its `data`. See `core.provenance.run_record`.
    """
    flags: dict[str, Any] = {name: value for name, value in settings.items() if name not in ("task", "data")}
    flags["deterministic"] = torch.are_deterministic_algorithms_enabled()
    earlier, path = [], output.path(name)
    if goes_on and path.is_file():
        with suppress(ValueError, KeyError, AttributeError):  # a damaged one says nothing; no training needs it
            before = json.loads(path.read_text(encoding="utf-8"))
            earlier = [*before.pop("earlier"), before]
    output.write_json(path, {**run_record(command, task, flags, settings["data"]), "earlier": earlier})


def model_facts(progress: Progress, data: TrainingData, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what a model file says of its own making: versions, data hashes, settings, and the epoch chosen."""
    return {
        "versions": versions(),
        "data": data.hashes,
        "images": {"train": len(data.train), "validation": len(data.validation)},
        "fold": settings["fold"],
        "seed": settings["seed"],
        "best_epoch": progress.best_epoch + 1,
        "epochs": progress.epoch,
        "planned_epochs": settings["epochs"],
        "deterministic": settings.get("deterministic", False),
        "validation_dice": progress.best_dice,
        "use": "not for clinical use",
    }
