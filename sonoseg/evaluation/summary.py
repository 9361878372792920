"""Scores and errors of many cases, over patients: what `evaluation.json` contains."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sonoseg.evaluation.cases import SCORES, Case, surface_tolerance
from sonoseg.evaluation.intervals import RESAMPLES, limits_of_agreement, mean_with_interval, patient_means, spread
from sonoseg.schema.task import Task

FEW_PATIENTS = 50
"""Below this many patients an interval is reported with a warning."""


def summarise(cases: Sequence[Case], task: Task) -> dict[str, Any]:
    """Return the evaluation of at least one case: per class and per measurement, over patients.

    Values are averaged within a patient first, so that one with many images does not count more.
    """
    patients = [case.patient for case in cases]
    count, unit = len(set(patients)), cases[0].distance_unit
    summary: dict[str, Any] = {"images": len(cases), "patients": count}
    summary["rule"] = (
        "means are taken within each patient, then over patients; intervals hold 95 % of the means of "
        f"{RESAMPLES} bootstrap samples of the patients"
    )
    summary |= {"distance_unit": unit, "surface_tolerance": surface_tolerance(task, unit)}
    if task.is_binary:
        summary["threshold"] = task.postprocessing.threshold
    if count < FEW_PATIENTS:
        summary["warning"] = f"{count} patient{'s' if count > 1 else ''}: intervals are wide and themselves uncertain"
    summary |= {"classes": {name: _class(name, cases) for name in task.class_names}, "measurements": {}}
    for name in ("dice", "iou"):
        summary[f"mean_{name}"] = float(np.mean([one[name]["mean"] for one in summary["classes"].values()]))
    means = [float(np.mean([one.dice for one in case.agreement.values()])) for case in cases]
    summary["mean_dice_interval_95"] = mean_with_interval(means, patients)["interval_95"]
    summary["pixel_accuracy"] = spread([case.pixel_accuracy for case in cases], patients)
    for name in sorted({name for case in cases for name in case.reference}):
        summary["measurements"][name] = _measurement(name, cases)
    return summary


def in_one_unit(measurements: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the measurements of a summary that have pairs, without those in pixels that are there in millimetres."""
    paired = [name for name, one in measurements.items() if one["n"]]
    twins = {name.removesuffix("_mm") + "_px" for name in paired if name.endswith("_mm")}
    return [name for name in paired if name not in twins]


def _class(name: str, cases: Sequence[Case]) -> dict[str, Any]:
    found, patients = [case.agreement[name] for case in cases], [case.patient for case in cases]
    summary: dict[str, Any] = {score: spread([getattr(one, score) for one in found], patients) for score in SCORES}
    summary |= {
        "n": len(found),
        "n_empty_reference": sum(one.reference_empty for one in found),
        "n_missed": sum(one.missed for one in found),
        "n_false_alarm": sum(one.false_alarm for one in found),
    }
    errors = cases[0].shape_errors.get(name, {})
    if errors:
        summary["shape_errors"] = {error: _shape_error(name, error, cases) for error in errors}
    return summary


def _shape_error(name: str, error: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Summarise one error of one class's shape, and count where only one side has the shape."""
    found = [case.shape_errors[name][error] for case in cases]
    both = [(one.value, case.patient) for one, case in zip(found, cases, strict=True) if one.value is not None]
    summary: dict[str, Any] = {"n": len(both), "n_missed": sum(one.missed for one in found)}
    summary["n_false_alarm"] = sum(one.false_alarm for one in found)
    counted = [(one.value, case) for one, case in zip(found, cases, strict=True) if one.value is not None or one.missed]
    if counted:
        values = [case.worst_error(error) if value is None else value for value, case in counted]
        summary["mean_with_missed"] = mean_with_interval(values, [case.patient for _, case in counted])
    return summary | (spread([value for value, _ in both], [patient for _, patient in both]) if both else {})


def _measurement(name: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Summarise one measurement's errors, and count where only one side has a value."""
    both = [case for case in cases if name in case.errors]
    wanted = [case for case in cases if case.reference.get(name) is not None]
    extra = [case for case in cases if case.reference.get(name) is None and case.measured.get(name) is not None]
    summary: dict[str, Any] = {"n": len(both), "n_missed": len(wanted) - len(both), "n_false_alarm": len(extra)}
    if wanted:
        values = [abs(case.errors[name]) if name in case.errors else case.worst_error(name) for case in wanted]
        patients = [case.patient for case in wanted]
        summary["mean_absolute_error_with_missed"] = mean_with_interval(values, patients)
    if both:
        errors, patients = [case.errors[name] for case in both], [case.patient for case in both]
        absolute = [abs(error) for error in errors]
        summary["mean_absolute_error"] = mean_with_interval(absolute, patients)
        summary["median_absolute_error"] = float(np.median(patient_means(absolute, patients)))
        summary["bias"] = mean_with_interval(errors, patients)
        summary["limits_of_agreement"] = limits_of_agreement(errors)
    return summary
