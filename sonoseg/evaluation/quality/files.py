"""Observations and quality models as files: of each fold, and of a cross-validation as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from sonoseg.errors import SonoSegError
from sonoseg.evaluation.folds import FoldData
from sonoseg.evaluation.quality.observe import familiarity_of, measured_of
from sonoseg.io.reading import parse_json, read_regular
from sonoseg.models.model_header import MAX_BYTES, read_header
from sonoseg.quality.fit import Observation, fit_quality
from sonoseg.quality.model import QualityModel
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import (
    BEST_MODEL,
    CROSS_VALIDATION_FOLDER,
    QUALITY_DATA,
    QUALITY_MODEL,
)
from sonoseg.schema.task import Task

_OBSERVATIONS = TypeAdapter(list[Observation])


def write_observations(output: OutputFolder, observations: Sequence[Observation]) -> None:
    """Write the observations of a fold beside its model."""
    output.write_json(QUALITY_DATA, [asdict(one) for one in observations])


def read_observations(folder: Path) -> list[Observation]:
    """Return the observations beside a model; none where there is no such file, or one of another version."""
    try:
        return _OBSERVATIONS.validate_python(parse_json(read_regular(folder / QUALITY_DATA, MAX_BYTES)))
    except (OSError, ValueError):
        return []


def write_pooled_quality(
    output: OutputFolder, observations: Sequence[Observation], folds: Sequence[FoldData], task: Task
) -> QualityModel | None:
    """Write the quality model of all folds of a cross-validation together, which a refit takes over; return it."""
    familiarity, source = familiarity_of(folds[0]), f"{len(folds)} folds"
    quality = fit_quality(observations, task.review.acceptable_dice, familiarity, source, measured_of(task))
    if quality:
        output.write_json(
            QUALITY_MODEL, {**_made_from(task, folds[0].hashes), "quality": quality.model_dump(mode="json")}
        )
    return quality


def earlier_quality(models: Path, task: Task, data: FoldData) -> QualityModel | None:
    """Return the quality model that a refit takes over, None without one.

    No image is left out of a refit, so its own results say nothing about new images. Taken over is the quality model of
    a cross-validation in the task's folder of models, or else that of the model which the refit replaces, if it was
    made with the same settings from the same split.
    """
    expected = _made_from(task, data.hashes)
    try:
        stored = parse_json(read_regular(models / CROSS_VALIDATION_FOLDER / QUALITY_MODEL, MAX_BYTES))
        if {name: stored[name] for name in expected} == expected:
            return QualityModel.model_validate(stored["quality"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or not one of this version
    try:
        header = read_header(models / BEST_MODEL)
    except SonoSegError:
        return None
    return header.quality if _made_from(header.task, header.info.get("data", {})) == expected else None


def _made_from(task: Task, hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return what a quality model depends on, as JSON values: the length of a training may differ."""
    settings = task.without_codes().model_dump(mode="json", exclude={"review", "evaluation"})
    settings["training"].pop("epochs")
    return {"task": settings, "acceptable_dice": task.review.acceptable_dice, "data": dict(hashes)}
