"""`evaluation.html`: scores, figures, and the cases of lowest Dice."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.intervals import interval_note
from sonoseg.evaluation.summary import error_means, in_one_unit, notes_of, quantity_of, score_means
from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import decode_label_map, read_mask
from sonoseg.io.names import patient_key
from sonoseg.io.readers import read_image
from sonoseg.reporting.charts import (
    CHART_WIDTH_PX,
    PREDICTION_COLOR,
    REFERENCE_COLOR,
    bland_altman,
    dice_distribution,
    outlines,
    risk_coverage,
)
from sonoseg.reporting.pages import figure_uri, picture_uri, render
from sonoseg.reporting.training_curves import curves_figure
from sonoseg.schema.task import Task

SHOWN = 6
"""Number of cases shown: of lowest Dice, and around the median."""
MIN_FOR_TYPICAL = 3 * SHOWN
"""Of fewer cases, those after the worst are no longer around the median, but up to the best."""

THUMBNAIL_PX = 360

FEWEST_PAIRS = 3
"""Below this many pairs a Bland-Altman plot adds nothing to the table."""


def evaluation_page(
    summary: dict[str, Any],
    cases: Sequence[Case],
    task: Task,
    limits: ReadLimits,
    history: Sequence[dict[str, float]] = (),
) -> str:
    """Return the page of an evaluation, HTML text that needs no other file.

    `summary` is the content of `evaluation.json`; images and masks are read again from the paths of the cases.
    """
    number = count(1)
    worst, typical = worst_and_typical(cases)
    best_epoch = summary["model"].get("best_epoch", 0)
    classes, shape_errors = summary["classes"].values(), _shape_error_rows(summary)
    names = ("n", "n_missed", "n_empty_reference", "n_false_alarm")
    counts = {name: sum(scores[name] for scores in classes) for name in names}
    return render(
        "evaluation.html.j2",
        task=task,
        summary=summary,
        missed=counts["n_missed"],
        present=counts["n"] - counts["n_empty_reference"],
        false_alarms=counts["n_false_alarm"],
        absent=counts["n_empty_reference"],
        to_check=sum(case.status == "check" for case in cases),
        rejected=sum(case.status == "reject" for case in cases),
        shape_errors=shape_errors,
        measurements=_measurement_rows(summary["measurements"]),
        intervals={
            "scores": interval_note(score_means(summary)),
            "measurements": interval_note(error_means(summary)),
            "shapes": interval_note(entry for entry in shape_errors if entry["n"]),
        },
        notes=notes_of(summary),
        distribution=figure_uri(
            dice_distribution({name: [case.agreement[name].dice for case in cases] for name in task.class_names})
        ),
        distribution_number=next(number),
        plots=[{**plot, "number": next(number)} for plot in _bland_altman_plots(summary, cases)],
        chart_width=CHART_WIDTH_PX,
        **_quality_section(summary, number),
        worst=[_picture(case, limits) for case in worst],
        worst_number=next(number),
        typical=[_picture(case, limits) for case in typical],
        typical_number=next(number) if typical else 0,
        around_median=len(cases) >= MIN_FOR_TYPICAL,
        colors={"reference": REFERENCE_COLOR, "prediction": PREDICTION_COLOR},
        curves=figure_uri(curves_figure(history, task.structures, task.training.loss, best_epoch - 1))
        if history
        else "",
        curves_number=next(number),
        scoring=summary.get("scored_before", -1) + 1,
    )


def worst_and_typical(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Return the cases of lowest Dice, worst first, and those around the median that are not among them.

    Below `MIN_FOR_TYPICAL` cases, the latter are those that follow the worst.
    """
    ranked = sorted(cases, key=_rank)
    first = max(SHOWN, len(ranked) // 2 - SHOWN // 2)
    return ranked[:SHOWN], ranked[first : first + SHOWN]


def _rank(case: Case) -> tuple[float, float, str]:
    return case.dice, -max(agreement.hd95 for agreement in case.agreement.values()), case.id


def _measurement_rows(measurements: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the table: lengths in one unit, but in both where no image has a pair in either."""
    paired = {entry["name"] for entry in measurements.values() if entry["n"]}
    shown = in_one_unit(measurements)
    return [
        {**entry, "title": quantity_of(entry).title, "symbol": quantity_of(entry).symbol}
        for key, entry in measurements.items()
        if key in shown or entry["name"] not in paired
    ]


def _quality_section(summary: dict[str, Any], number: Iterator[int]) -> dict[str, Any]:
    """Return the values of the section on the quality score; `quality` None without a quality model."""
    quality = summary.get("quality")
    if not quality:
        return {"quality": None}
    shown = [key for key in in_one_unit(summary["measurements"]) if key in quality["intervals"]]
    quantities = {key: quantity_of(summary["measurements"][key]) for key in shown}
    rows = [
        {**quality["intervals"][key], "title": quantity.title, "symbol": quantity.symbol}
        for key, quantity in quantities.items()
    ]
    risk = quality["risk"]
    figure = risk_coverage(quality["coverage"], risk["quality"], risk["oracle"], quality["aurc"]["random"])
    plot = {"uri": figure_uri(figure), "number": next(number)}
    return {"quality": quality, "measured_intervals": rows, "risk_plot": plot}


def _shape_error_rows(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {**entry, "structure": name, "symbol": quantity_of(entry).symbol}
        for name, scores in summary["classes"].items()
        for entry in scores.get("shape_errors", {}).values()
    ]


def _bland_altman_plots(summary: dict[str, Any], cases: Sequence[Case]) -> list[dict[str, Any]]:
    plots = []
    for key in in_one_unit(summary["measurements"]):
        entry = summary["measurements"][key]
        paired = [case for case in cases if key in case.errors]
        if len(paired) >= FEWEST_PAIRS:
            quantity = quantity_of(entry)
            references = [float(case.reference(key) or 0.0) for case in paired]
            predictions = [value + case.errors[key] for value, case in zip(references, paired, strict=True)]
            lines = entry["bias"]["mean"], entry["limits_of_agreement"]
            figure = bland_altman(quantity.title, quantity.symbol, predictions, references, *lines)
            patients = len({patient_key(case.patient) for case in paired})
            plots.append({"uri": figure_uri(figure), "title": quantity.title, "patients": patients, "n": len(paired)})
    return plots


def _picture(case: Case, limits: ReadLimits) -> dict[str, Any]:
    image, reference = read_image(case.image, limits).pixels, read_mask(case.mask, limits)
    plain, drawn = outlines(image, reference, decode_label_map(case.prediction), THUMBNAIL_PX)
    shown = {
        name: agreement
        for name, agreement in case.agreement.items()
        if not agreement.reference_empty or agreement.false_alarm
    }
    return {
        "case": case,
        "plain": picture_uri(plain, "jpeg"),
        "drawn": picture_uri(drawn, "jpeg"),
        "classes": shown,
    }
