"""What several folds say together: the mean over them, and how far they spread."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from sonoseg.errors import ModelError
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import RUN_OF_SCORING

SCORES = ("dice", "iou", "surface_dice", "hd95")


def forget_results(output: OutputFolder) -> None:
    """Remove the results of an earlier cross-validation, which are not those of the models that replace its models."""
    output.remove("cross_validation.json", RUN_OF_SCORING)
    for name in ("out_of_fold", "ensemble"):
        output.remove(*output.path(name).glob("*"))


def refuse_other_folds(folder: Path, folds: Sequence[int]) -> None:
    """Raise ModelError when `folder` holds models of folds that there are no longer: they would join the ensemble."""
    wanted = {f"fold_{fold}" for fold in folds}
    others = sorted(path.name for path in folder.glob("fold_*") if path.name not in wanted)
    if others:
        raise ModelError(
            f"{folder}: {', '.join(others)} left from a cross-validation with other folds, whose models would join the "
            "ensemble; remove them, or move them elsewhere"
        )


def summarise_folds(
    summaries: Sequence[Mapping[str, Any]], out_of_fold: Mapping[str, Any], members: Sequence[str]
) -> dict[str, Any]:
    """Return `cross_validation.json` from the evaluation of each fold (in order) and of all cases together.

    Spread is the standard deviation over folds (n - 1), null for a single fold. The interval over patients stands in
    `out_of_fold`: every training patient once, each by the model that was not trained on it. The fold also chose that
    model's epoch, so these scores are a little too good; the ensemble's on the test split are not.
    """
    first = summaries[0]
    classes = {
        name: {score: _spread([one["classes"][name][score]["mean"] for one in summaries]) for score in SCORES}
        for name in first["classes"]
    }
    errors = {}
    for name in sorted({name for one in summaries for name in one["measurements"]}):
        found = [one["measurements"][name] for one in summaries if name in one["measurements"]]
        values = [one["mean_absolute_error"]["mean"] for one in found if "mean_absolute_error" in one]
        if values:
            errors[name] = _spread(values)
    return {
        "use": "not for clinical use",
        "note": "no model was trained on the fold it is scored on, but that fold chose its epoch",
        "folds": len(summaries),
        "distance_unit": first["distance_unit"],
        "mean_dice": _spread([one["mean_dice"] for one in summaries]),
        "classes": classes,
        "mean_absolute_error": errors,
        "out_of_fold": dict(out_of_fold),
        "models": list(members),
    }


def folds_table(result: Mapping[str, Any]) -> Table:
    """Return the scores of `summarise_folds` as a table for the terminal."""
    whole, folds = result["out_of_fold"], result["folds"]
    title = f"cross-validation: mean ± standard deviation of {folds} folds"
    table = Table(caption=result["note"], title=f"{title}\n{whole['images']} images of {whole['patients']} patients")
    for column in ("class", "Dice", "IoU", "surface Dice", f"HD95, {result['distance_unit']}", "Dice of each fold"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, scores in result["classes"].items():
        each = " ".join(f"{value:.3f}" for value in scores["dice"]["folds"])
        table.add_row(name, *(_plus_minus(scores[score]) for score in SCORES), each)
    return table


def _spread(values: Sequence[float]) -> dict[str, Any]:
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "standard_deviation": deviation, "folds": list(values)}


def _plus_minus(one: Mapping[str, Any]) -> str:
    deviation = one["standard_deviation"]
    return f"{one['mean']:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")
