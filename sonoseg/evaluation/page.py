"""`evaluation.html`: what a network reached, for people: numbers, figures, and the cases that show where it fails."""

from collections.abc import Sequence
from itertools import count
from typing import Any

from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.summary import in_one_unit
from sonoseg.io.images import decode_label_map, read_image, read_mask
from sonoseg.reporting.charts import (
    CHART_WIDTH_PX,
    PREDICTION_COLOR,
    REFERENCE_COLOR,
    bland_altman,
    dice_distribution,
    outlines,
    title_of,
    unit_of,
)
from sonoseg.reporting.pages import figure_uri, picture_uri, render
from sonoseg.reporting.training_curves import curves_figure
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task

SHOWN = 6
"""Cases shown of the worst, and of those around the median."""

THUMBNAIL_PX = 360

FEWEST_PAIRS = 3
"""A Bland-Altman plot of fewer shows nothing that the table does not."""

_ERROR_NAMES = {
    "end_point_error": "end points",
    "angle_error": "angle",
    "circumference_error": "circumference",
    "centre_distance": "centre",
}


def evaluation_page(
    summary: dict[str, Any],
    cases: Sequence[Case],
    task: Task,
    workspace: Workspace,
    history: Sequence[dict[str, float]] = (),
) -> str:
    """Return the page of an evaluation, HTML text that needs no other file.

    `summary` is what goes into `evaluation.json`; images and masks are read again from where the cases name them.
    """
    number = count(1)
    worst, typical = worst_and_typical(cases)
    best_epoch = summary["model"].get("best_epoch", 0)
    return render(
        "evaluation.html.j2",
        task=task,
        summary=summary,
        missed=sum(one["n_missed"] for one in summary["classes"].values()),
        wanted=sum(one["n"] - one["n_empty_reference"] for one in summary["classes"].values()),
        false_alarms=sum(one["n_false_alarm"] for one in summary["classes"].values()),
        absent=sum(one["n_empty_reference"] for one in summary["classes"].values()),
        flagged=sum(case.status != "ok" for case in cases),
        shape_errors=_shape_error_rows(summary),
        measurements=[
            {"title": title_of(name, task.class_names), "unit": unit_of(name), **summary["measurements"][name]}
            for name in summary["measurements"]
            if name in in_one_unit(summary["measurements"]) or not _has_pairs(name, summary)
        ],
        distribution=figure_uri(
            dice_distribution({name: [case.agreement[name].dice for case in cases] for name in task.class_names})
        ),
        distribution_number=next(number),
        plots=[{**plot, "number": next(number)} for plot in _bland_altman_plots(summary, cases, task)],
        chart_width=CHART_WIDTH_PX,
        worst=[_picture(case, workspace) for case in worst],
        worst_number=next(number),
        typical=[_picture(case, workspace) for case in typical],
        typical_number=next(number) if typical else 0,
        colors={"reference": REFERENCE_COLOR, "prediction": PREDICTION_COLOR},
        curves=figure_uri(curves_figure(history, task, best_epoch - 1)) if history else "",
        curves_number=next(number),
        scoring=summary.get("scored_before", -1) + 1,
    )


def worst_and_typical(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases of lowest Dice, worst first, and those around the median that are not among them."""
    ranked = sorted(cases, key=lambda case: (case.dice, -max(one.hd95 for one in case.agreement.values()), case.id))
    first = max(SHOWN, len(ranked) // 2 - SHOWN // 2)
    return ranked[:SHOWN], ranked[first : first + SHOWN]


def _has_pairs(name: str, summary: dict[str, Any]) -> bool:
    """Tell whether a measurement, or its twin in the other unit of length, has both sides somewhere."""
    stem = name.removesuffix("_mm").removesuffix("_px")
    return any(summary["measurements"].get(twin, {}).get("n") for twin in (name, f"{stem}_mm", f"{stem}_px"))


def _shape_error_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"structure": name, "title": _ERROR_NAMES.get(error.rpartition("_")[0], error), "unit": unit_of(error), **one}
        for name, scores in summary["classes"].items()
        for error, one in scores.get("shape_errors", {}).items()
    ]


def _bland_altman_plots(summary: dict[str, Any], cases: Sequence[Case], task: Task) -> list[dict[str, Any]]:
    plots = []
    for name in in_one_unit(summary["measurements"]):
        both = [case for case in cases if name in case.errors]
        if len(both) >= FEWEST_PAIRS:
            theirs = [float(case.reference[name] or 0.0) for case in both]
            ours = [value + case.errors[name] for value, case in zip(theirs, both, strict=True)]
            title, patients = title_of(name, task.class_names), len({case.patient for case in both})
            limits = summary["measurements"][name]["limits_of_agreement"]
            uri = figure_uri(bland_altman(name, title, ours, theirs, limits))
            plots.append({"uri": uri, "title": title, "patients": patients, "n": len(both)})
    return plots


def _picture(case: Case, workspace: Workspace) -> dict[str, Any]:
    image = read_image(workspace.locate(case.image_path))
    reference = read_mask(workspace.locate(case.mask_path))
    plain, drawn = outlines(image, reference, decode_label_map(case.prediction), THUMBNAIL_PX)
    shown = {name: one for name, one in case.agreement.items() if not one.reference_empty or one.false_alarm}
    return {
        "case": case,
        "plain": picture_uri(plain, "jpeg"),
        "drawn": picture_uri(drawn, "jpeg"),
        "classes": shown,
    }
