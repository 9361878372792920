"""Cross-validation: each fold scored by the model that was not trained on it, and the test split by all models."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonoseg.errors import ModelError
from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.folds import FoldData
from sonoseg.evaluation.quality.files import read_observations, write_pooled_quality
from sonoseg.evaluation.quality.validation import judge_observations
from sonoseg.evaluation.results import remove_fold_scores, write_evaluation, write_model_evaluation
from sonoseg.evaluation.scoring import Scoring, read_trained_model
from sonoseg.evaluation.summary import WHERE_PRESENT
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import (
    ANY_FOLD,
    BEST_MODEL,
    CROSS_VALIDATION,
    ENSEMBLE,
    OUT_OF_FOLD,
    Workspace,
    fold_folder,
)
from sonoseg.schema.task import Task

FOLD_SCORES = ("dice", "iou", "surface_dice", "hd95")
"""Scores whose spread over the folds is reported."""


def check_folds(folder: Path, folds: Sequence[int | None]) -> None:
    """Raise ModelError when `folder` has models of other folds than these: they would join the ensemble."""
    expected = {fold_folder(fold) for fold in folds}
    others = sorted(path.name for path in folder.glob(ANY_FOLD) if path.name not in expected)
    if others:
        raise ModelError(
            f"{folder}: {', '.join(others)} left from a cross-validation with other folds, whose models would join the "
            "ensemble; remove them, or move them elsewhere"
        )


def cross_validation_scorings(folder: Path, folds: Sequence[FoldData], task: Task) -> list[Scoring]:
    """Return the scoring of each fold by its own model, in order, and as the last one that of the test split by all.

    Raises ModelError for a model that was not trained on these folds, or not with the settings of the others.
    """
    models = [read_trained_model(folder / fold_folder(data.fold) / BEST_MODEL, data, task) for data in folds]
    for name in ("seed", "planned_epochs"):
        if len({model.info.get(name) for model in models}) > 1:
            raise ModelError(f"{folder}: its models differ in {name}; train all folds again from the beginning")
    in_mm = all(sample.spacing for sample in folds[0].samples if sample.fold is not None)
    scorings = [
        Scoring(f"fold {data.fold}", "validation", [model], data.validation_samples, in_mm, data.limits)
        for data, model in zip(folds, models, strict=True)
    ]
    return [*scorings, Scoring("test", "test", models, folds[0].test_samples, limits=folds[0].limits)]


def write_cross_validation(
    output: OutputFolder,
    scorings: Sequence[Scoring],
    cases: Sequence[Sequence[Case]],
    folds: Sequence[FoldData],
    workspace: Workspace,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Write the evaluations of `cross_validation_scorings`; return the summary of all folds, and of the ensemble.

    Writes an evaluation per fold beside its model, the quality model of all folds together, `out_of_fold/`, `ensemble/`
    unless the test split is empty, and last `cross_validation.json`.
    """
    remove_fold_scores(output)
    summaries: list[dict[str, Any]] = []
    pooled: list[Case] = []
    for data, scoring, fold_cases in zip(folds, scorings[:-1], cases[:-1], strict=True):
        fold_output = output.subfolder(fold_folder(data.fold))
        summary = write_model_evaluation(fold_output, scoring, fold_cases, data, workspace)
        summaries += [summary] if summary else []
        pooled += fold_cases

    ensemble = scorings[-1]
    samples = [sample for scoring in scorings[:-1] for sample in scoring.samples]
    together = Scoring("out-of-fold", "out-of-fold", ensemble.models, samples, limits=ensemble.limits)
    observations = [one for data in folds for one in read_observations(output.subfolder(fold_folder(data.fold)).folder)]
    write_pooled_quality(output, observations, folds, ensemble.task)
    judged = judge_observations(observations, ensemble.task)
    out_of_fold = write_evaluation(output.subfolder(OUT_OF_FOLD), together, pooled, workspace, judged=judged)
    test = write_evaluation(output.subfolder(ENSEMBLE), ensemble, cases[-1], workspace) if cases[-1] else None
    result = summarise_folds(summaries, out_of_fold, [model.sha256 for model in ensemble.models])
    output.write_json(CROSS_VALIDATION, result)
    return result, test


def summarise_folds(
    summaries: Sequence[Mapping[str, Any]], out_of_fold: Mapping[str, Any], members: Sequence[str]
) -> dict[str, Any]:
    """Return `cross_validation.json` from the evaluation of each fold (in order) and of all cases together.

    The spread is the standard deviation over folds (n - 1), null for a single fold. `out_of_fold` has the interval over
    patients: every training patient once, each by the model that was not trained on it. The fold also chose the epoch
    of that model, so these scores are slightly optimistic; those of the ensemble on the test split are not.
    """
    first = summaries[0]
    classes = {
        name: {
            **{score: _spread([one["classes"][name][score]["mean"] for one in summaries]) for score in FOLD_SCORES},
            WHERE_PRESENT: _spread_where_present([one["classes"][name][WHERE_PRESENT] for one in summaries]),
        }
        for name in first["classes"]
    }
    errors = {}
    for name in sorted({name for summary in summaries for name in summary["measurements"]}):
        entries = [summary["measurements"].get(name, {}) for summary in summaries]
        spread = _spread_where_present([entry.get("mean_absolute_error") for entry in entries])
        if spread:
            errors[name] = spread
    return {
        "use": "not for clinical use",
        "note": "no model was trained on the fold it is scored on, but that fold chose its epoch",
        "folds": len(summaries),
        "distance_unit": first["distance_unit"],
        "mean_dice": _spread([summary["mean_dice"] for summary in summaries]),
        "classes": classes,
        "mean_absolute_error": errors,
        "out_of_fold": dict(out_of_fold),
        "models": list(members),
    }


def _spread_where_present(scores: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    """Return the spread over the folds that have a score; `folds` is None for the others. None when no fold has."""
    values = [score["mean"] if score else None for score in scores]
    defined = [value for value in values if value is not None]
    return _spread(defined) | {"folds": values} if defined else None


def _spread(values: Sequence[float]) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "standard_deviation": deviation, "folds": list(values)}
