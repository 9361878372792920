"""Scores and errors of many cases, over patients: the content of `evaluation.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from sonoseg.evaluation.cases import SCORES, Case, surface_tolerance
from sonoseg.evaluation.intervals import (
    FEWEST_PATIENTS,
    MANY_PATIENTS,
    RULE,
    SHARE,
    SIZE,
    bland_altman,
    mean_with_interval,
    patient_means,
    spread,
)
from sonoseg.io.names import patient_key
from sonoseg.postprocess.gestational_age import ERROR_NOTE
from sonoseg.schema.quantity import Quantity, prefer_mm
from sonoseg.schema.results import Evaluation

WHERE_PRESENT = "dice_where_present"
"""Key of the Dice over the images whose reference has the class: a rightly empty mask counts 1 in `dice`, which for a
rare class is mostly that of its absence."""

NOTES = {"gestational_age": ERROR_NOTE}
"""Name of a quantity -> what its errors mean, where that is not evident."""

RANGES = {"hd95": SIZE, "hausdorff": SIZE}
"""Possible values of the SCORES that are no shares."""


def summarise(
    cases: Sequence[Case], class_names: Sequence[str], evaluation: Evaluation, threshold: float | None
) -> dict[str, Any]:
    """Return the evaluation of at least one case: per class and per measurement, over patients.

    threshold: of a single class; None with several classes.

    Values are averaged within a patient first, so that patients count equally, however many images they have.
    `dice_where_present` of a class, and the mean of them, is None when no reference has it.
    """
    patients = [case.patient for case in cases]
    count, unit = len(set(map(patient_key, patients))), cases[0].distance_unit
    summary: dict[str, Any] = {"images": len(cases), "patients": count}
    summary["rule"] = RULE
    summary |= {"distance_unit": unit, "surface_tolerance": surface_tolerance(evaluation, unit)}
    if threshold is not None:
        summary["threshold"] = threshold
    if count < FEWEST_PATIENTS:
        summary["warning"] = f"{count} patient{'s' if count > 1 else ''}: too few for intervals"
    elif count < MANY_PATIENTS:
        summary["warning"] = f"{count} patients: intervals are wide and themselves uncertain"
    summary |= {"classes": {name: _class(name, cases) for name in class_names}, "measurements": {}}
    for score in ("dice", "iou"):
        summary[f"mean_{score}"] = float(np.mean([scores[score]["mean"] for scores in summary["classes"].values()]))
    means = [float(np.mean([agreement.dice for agreement in case.agreement.values()])) for case in cases]
    present = [scores[WHERE_PRESENT]["mean"] for scores in summary["classes"].values() if scores[WHERE_PRESENT]]
    summary[f"mean_{WHERE_PRESENT}"] = float(np.mean(present)) if present else None
    interval = mean_with_interval(means, patients, SHARE)
    summary |= {f"mean_dice_{name}": interval[name] for name in ("interval_95", "interval_method")}
    summary["pixel_accuracy"] = spread([case.pixel_accuracy for case in cases], patients, SHARE)
    quantities = {key: item.quantity for case in cases for key, item in case.reference_measurements.items()}
    for key in sorted(quantities):
        summary["measurements"][key] = _measurement(quantities[key], cases)
    return summary


def quantity_of(entry: Mapping[str, Any]) -> Quantity:
    """Return the quantity of an entry of a summary: of one measurement, or of one error of a shape."""
    return Quantity(entry["name"], entry["unit"], entry["label"])


def in_one_unit(measurements: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the keys of a summary's measurements that have pairs, without lengths in px that are there in mm."""
    return [quantity.key for quantity in prefer_mm(quantity_of(entry) for entry in measurements.values() if entry["n"])]


def score_means(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the means of a summary's scores of classes, for `interval_note`."""
    means = [scores.get(score) for scores in summary["classes"].values() for score in (*SCORES, WHERE_PRESENT)]
    return [mean for mean in means if mean]


def error_means(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the mean errors and biases of a summary's measurements, for `interval_note`."""
    paired = [entry for entry in summary["measurements"].values() if entry["n"]]
    return [entry[error] for entry in paired for error in ("mean_absolute_error", "bias")]


def notes_of(summary: Mapping[str, Any]) -> list[str]:
    """Return the notes on the measurements of a summary that have pairs."""
    return [entry["note"] for entry in summary["measurements"].values() if entry["n"] and "note" in entry]


def _class(name: str, cases: Sequence[Case]) -> dict[str, Any]:
    table = pd.DataFrame([asdict(case.agreement[name]) for case in cases])
    patients = [case.patient for case in cases]
    summary: dict[str, Any] = {score: spread(table[score], patients, RANGES.get(score, SHARE)) for score in SCORES}
    summary |= {
        "n": len(table),
        "n_empty_reference": int(table["reference_empty"].sum()),
        "n_missed": int(table["missed"].sum()),
        "n_false_alarm": int(table["false_alarm"].sum()),
    }
    present = [(case.agreement[name].dice, case.patient) for case in cases if not case.agreement[name].reference_empty]
    summary[WHERE_PRESENT] = None
    if present:
        dice, owners = zip(*present, strict=True)
        summary[WHERE_PRESENT] = spread(dice, owners, SHARE) | {"n": len(present)}
    errors = cases[0].shape_errors.get(name, {})
    if errors:
        summary["shape_errors"] = {key: _shape_error(name, error.quantity, cases) for key, error in errors.items()}
    return summary


def _shape_error(name: str, quantity: Quantity, cases: Sequence[Case]) -> dict[str, Any]:
    """Summarise one error of one class's shape, and count where only one side has the shape."""
    errors = [(case.shape_errors[name][quantity.key], case) for case in cases]
    defined = [(error.value, case.patient) for error, case in errors if error.value is not None]
    summary: dict[str, Any] = {**asdict(quantity), "n": len(defined)}
    summary["n_missed"] = sum(error.missed for error, _ in errors)
    summary["n_false_alarm"] = sum(error.false_alarm for error, _ in errors)
    counted = [(error.value, case) for error, case in errors if error.value is not None or error.missed]
    if counted:
        values = [case.largest_error(quantity) if value is None else value for value, case in counted]
        summary["mean_with_missed"] = mean_with_interval(values, [case.patient for _, case in counted], SIZE)
    if defined:
        summary |= spread([value for value, _ in defined], [patient for _, patient in defined], SIZE)
    return summary


def _measurement(quantity: Quantity, cases: Sequence[Case]) -> dict[str, Any]:
    """Summarise one measurement's errors, and count where only one side has a value."""
    key = quantity.key
    paired = [case for case in cases if key in case.errors]
    expected = [case for case in cases if case.reference(key) is not None]
    n_extra = sum(case.reference(key) is None and case.measured(key) is not None for case in cases)
    summary: dict[str, Any] = {**asdict(quantity), "n": len(paired)}
    summary |= {"n_missed": len(expected) - len(paired), "n_false_alarm": n_extra}
    if quantity.name in NOTES:
        summary["note"] = NOTES[quantity.name]
    if expected:
        values = [abs(case.errors[key]) if key in case.errors else case.largest_error(quantity) for case in expected]
        patients = [case.patient for case in expected]
        summary["mean_absolute_error_with_missed"] = mean_with_interval(values, patients, SIZE)
    if paired:
        errors, patients = [case.errors[key] for case in paired], [case.patient for case in paired]
        absolute = [abs(error) for error in errors]
        summary["mean_absolute_error"] = mean_with_interval(absolute, patients, SIZE)
        summary["median_absolute_error"] = float(np.median(patient_means(absolute, patients)))
        summary |= bland_altman(errors, patients)
    return summary
