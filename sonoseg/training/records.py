"""Records of a training: its settings, how it was run, and the facts that the model file contains."""

import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from sonoseg.evaluation.folds import FoldData
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.provenance import run_record
from sonoseg.runs.versions import versions
from sonoseg.schema.task import Task
from sonoseg.training.progress import Progress
from sonoseg.training.setup import TrainingSetup, digest_of_init


def training_settings(setup: TrainingSetup, data: FoldData) -> dict[str, Any]:
    """Return what decides the weights of a training; it can be resumed with equal settings only."""
    settings: dict[str, Any] = {
        "task": setup.task.without_codes().model_dump(mode="json"),
        "fold": data.fold,
        "seed": setup.options.seed,
        "epochs": setup.epochs,
        "data": data.hashes,
        "precision": setup.fabric.strategy.precision.precision,
    }
    if setup.task.network.init:
        settings["init_sha256"] = digest_of_init(setup.task.network.init)
    return settings | ({"deterministic": True} if torch.are_deterministic_algorithms_enabled() else {})


def write_run_record(
    output: OutputFolder,
    name: str,
    command: Sequence[str],
    task: Task,
    settings: dict[str, Any],
    resumed: bool = False,
) -> None:
    """Write the record of a run; when `resumed`, those of the runs before it are kept under `earlier`, oldest first.

    settings: those of the training, or only its `data`. See `runs.provenance.run_record`.
    """
    flags: dict[str, Any] = {name: value for name, value in settings.items() if name not in ("task", "data")}
    flags["deterministic"] = torch.are_deterministic_algorithms_enabled()
    earlier, path = [], output.path(name)
    if resumed and path.is_file():
        with suppress(ValueError, KeyError, AttributeError):  # a damaged record is left out; nothing depends on it
            before = json.loads(path.read_text(encoding="utf-8"))
            earlier = [*before.pop("earlier"), before]
    output.write_json(path, {**run_record(command, task, flags, settings["data"]), "earlier": earlier})


def model_facts(progress: Progress, data: FoldData, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that a model file contains: versions, data hashes, settings, and the chosen epoch (from 1).

    A refit has no `fold` and no `validation_dice`: null. `validation_without` are the classes that `validation_dice`
    leaves out, because the fold does not show them; without such classes there is no such key.
    """
    absent = data.absent_from_validation([structure["name"] for structure in settings["task"]["structures"]])
    facts = {
        "versions": versions(),
        "data": data.hashes,
        "images": {"train": len(data.train), "validation": len(data.validation)},
        "fold": settings["fold"],
        "seed": settings["seed"],
        "best_epoch": progress.best_epoch + 1,
        "epochs": progress.epoch,
        "planned_epochs": settings["epochs"],
        "deterministic": settings.get("deterministic", False),
        "validation_dice": None if data.fold is None else progress.best_dice,
        "use": "not for clinical use",
    }
    return facts | ({"validation_without": absent} if absent else {})
