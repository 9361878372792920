"""Score trained networks on images they have never seen, in their original geometry and in millimetres."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sonoseg.evaluation.metrics import Agreement, agreement, diagonal
from sonoseg.evaluation.shape_errors import ShapeError, shape_errors
from sonoseg.io.images import encode_label_map, read_image, read_mask
from sonoseg.models.networks.heads import predict
from sonoseg.postprocess.interpret import interpret, measure_labels
from sonoseg.preprocess.fit import Fit
from sonoseg.preprocess.intensity import normalise
from sonoseg.runs.split_tables import Prepared, Sample
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task

RESAMPLES = 2000
"""Draws of the bootstrap."""

FEW_PATIENTS = 50
"""Below this many patients an interval is reported with a warning."""

SCORES = ("dice", "iou", "surface_dice", "hd95", "hausdorff", "pixel_accuracy")
"""The fields of an Agreement that are averaged."""

LARGEST_ERROR = {"deg": 90.0, "pct": 100.0, "weeks": 42.0}
"""What a missed value that is no length counts in the averages with missed ones."""


@dataclass(frozen=True)
class Case:
    """One scored image.

    agreement: class -> how well the masks agree; distances in `distance_unit`, `mm` or `px`, the same for all cases.
    pixel_accuracy: share of the image's pixels, 0 to 1, that have the right class, background included.
    measured, reference: measurement -> value, None when absent.
    shape_errors: class -> error -> ShapeError, for classes that have a shape.
    image_path, mask_path: as in the split table, relative to the workspace.
    prediction: the predicted label map as PNG bytes.
    status, reasons: `ok`, or `flagged` and why, as a user would be told.
    diagonal: unit (`px`, and `mm` where the spacing is known) -> the image's diagonal.
    """

    id: str
    patient: str
    agreement: dict[str, Agreement]
    measured: dict[str, float | None]
    distance_unit: str
    reference: dict[str, float | None]
    pixel_accuracy: float
    shape_errors: dict[str, dict[str, ShapeError]] = field(default_factory=dict)
    image_path: str = ""
    mask_path: str = ""
    prediction: bytes = b""
    status: str = "ok"
    reasons: list[str] = field(default_factory=list)
    diagonal: dict[str, float] = field(default_factory=dict)

    def worst_error(self, name: str) -> float:
        """Return what a missed value counts: no error of its unit is larger. Lengths: the image's diagonal."""
        unit = name.rsplit("_", 1)[-1]
        return LARGEST_ERROR[unit] if unit in LARGEST_ERROR else self.diagonal[unit]

    @cached_property
    def errors(self) -> dict[str, float]:
        """Prediction minus reference, for the measurements that both have; an angle of a line is at most 90 off."""
        pairs = {name: (self.measured.get(name), value) for name, value in self.reference.items()}
        both = {
            name: ours - theirs for name, (ours, theirs) in pairs.items() if ours is not None and theirs is not None
        }
        return {name: (error + 90) % 180 - 90 if name.endswith("_deg") else error for name, error in both.items()}

    @property
    def dice(self) -> float:
        """Mean Dice of the classes that the prediction or the reference shows; 1 when both show none."""
        shown = [one.dice for one in self.agreement.values() if not one.reference_empty or one.false_alarm]
        return float(np.mean(shown)) if shown else 1.0

    def row(self) -> dict[str, Any]:
        """Return the case as one row of `per_case.csv`."""
        row: dict[str, Any] = {"id": self.id, "patient": self.patient, "status": self.status}
        row |= {"reasons": "; ".join(self.reasons), "distance_unit": self.distance_unit}
        row["pixel_accuracy"] = self.pixel_accuracy
        for name, one in self.agreement.items():
            row |= {f"{name}_{score}": getattr(one, score) for score in SCORES}
            row |= {f"{name}_{error}": found.value for error, found in self.shape_errors.get(name, {}).items()}
        for name, value in self.reference.items():
            row |= {name: self.measured.get(name), f"{name}_reference": value}
        return row


@torch.inference_mode()
def score(
    networks: Sequence[nn.Module],
    rows: Sequence[Prepared],
    samples: Sequence[Sample],
    workspace: Workspace,
    task: Task,
    device: torch.device,
    in_mm: bool | None = None,
) -> Iterator[Case]:
    """Yield a Case per prepared image: the result a user would get, against the mask at the image's own size.

    Several networks of one task, at least one, are an ensemble: their probabilities are averaged at the network's size.
    References are measured on the reference mask by the same code as the prediction; a value that the metadata table
    gives for an image replaces the measured one. `in_mm` is the unit of all distances, by default mm when every one of
    these images has a spacing; rows that are summarised together need the same.
    """
    by_id = {sample.id: sample for sample in samples}
    # One unit for all: an average of millimetres and pixels would mean nothing.
    if in_mm is None:
        in_mm = all(by_id[row.source_id].spacing for row in rows)
    for network in networks:
        network.eval()
    for row in rows:
        sample = by_id[row.source_id]
        prepared = read_image(workspace.locate(row.image_path))
        values = torch.from_numpy(normalise(prepared, task.input.intensity))[None, None].to(device)
        probabilities = _mean_prediction(networks, values, task)[0].cpu().numpy()
        yield _case(probabilities, sample, workspace, task, in_mm)


def _mean_prediction(networks: Sequence[nn.Module], images: Tensor, task: Task) -> Tensor:
    return torch.stack([predict(network, images, task) for network in networks]).mean(dim=0)


def _case(probabilities: np.ndarray, sample: Sample, workspace: Workspace, task: Task, in_mm: bool) -> Case:
    """Compare the finding in `(1 + K, h, w)` float32 probabilities at the network's size with the reference mask."""
    image = read_image(workspace.locate(sample.image_path))
    found = interpret(Fit.of(image.shape, task.input).invert(probabilities), image, task, sample.spacing)
    reference = read_mask(workspace.locate(sample.mask_path))
    truth = measure_labels(reference, image, task, sample.spacing)
    return Case(
        id=sample.id,
        patient=sample.patient,
        agreement={
            name: agreement(
                found.labels == index,
                reference == index,
                sample.spacing if in_mm else None,
                surface_tolerance(task, "mm" if in_mm else "px"),
            )
            for index, name in enumerate(task.class_names, start=1)
        },
        pixel_accuracy=float(np.mean(found.labels == reference)),
        measured=found.measurements,
        distance_unit="mm" if in_mm else "px",
        reference={**truth.measurements, **_comparable(sample)},
        shape_errors=shape_errors(found.shapes, truth.shapes, task, sample.spacing, in_mm),
        image_path=sample.image_path,
        mask_path=sample.mask_path,
        prediction=encode_label_map(found.labels, task.colors),
        status=found.status,
        reasons=list(found.reasons),
        diagonal={"px": diagonal(image.shape, None)}
        | ({"mm": diagonal(image.shape, sample.spacing)} if sample.spacing else {}),
    )


def _comparable(sample: Sample) -> dict[str, float | None]:
    """Return the table's references that a measurement can meet: without a spacing none is made in millimetres."""
    return {name: value for name, value in sample.reference.items() if sample.spacing or not name.endswith("_mm")}


def surface_tolerance(task: Task, unit: str) -> float:
    """Return the tolerance of the surface Dice in `mm` or `px`."""
    return task.evaluation.surface_tolerance_mm if unit == "mm" else task.evaluation.surface_tolerance_px


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
    summary["mean_dice_interval_95"] = _mean_with_interval(means, patients)["interval_95"]
    summary["pixel_accuracy"] = _spread([case.pixel_accuracy for case in cases], patients)
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
    summary: dict[str, Any] = {score: _spread([getattr(one, score) for one in found], patients) for score in SCORES}
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
        summary["mean_with_missed"] = _mean_with_interval(values, [case.patient for _, case in counted])
    return summary | (_spread([value for value, _ in both], [patient for _, patient in both]) if both else {})


def _measurement(name: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Summarise one measurement's errors, and count where only one side has a value."""
    both = [case for case in cases if name in case.errors]
    wanted = [case for case in cases if case.reference.get(name) is not None]
    extra = [case for case in cases if case.reference.get(name) is None and case.measured.get(name) is not None]
    summary: dict[str, Any] = {"n": len(both), "n_missed": len(wanted) - len(both), "n_false_alarm": len(extra)}
    if wanted:
        values = [abs(case.errors[name]) if name in case.errors else case.worst_error(name) for case in wanted]
        patients = [case.patient for case in wanted]
        summary["mean_absolute_error_with_missed"] = _mean_with_interval(values, patients)
    if both:
        errors, patients = [case.errors[name] for case in both], [case.patient for case in both]
        absolute = [abs(error) for error in errors]
        summary["mean_absolute_error"] = _mean_with_interval(absolute, patients)
        summary["median_absolute_error"] = float(np.median(_patient_means(absolute, patients)))
        summary["bias"] = _mean_with_interval(errors, patients)
        summary["limits_of_agreement"] = limits_of_agreement(errors)
    return summary


def limits_of_agreement(errors: Sequence[float]) -> list[float | None]:
    """Return mean -/+ 1.96 standard deviations (n - 1) of all images' errors; None twice for a single one.

    Bland and Altman 1986. Between these limits lie 95 % of the errors when they are normally distributed.
    """
    if len(errors) < 2:
        return [None, None]
    return [float(np.mean(errors) + sign * 1.96 * np.std(errors, ddof=1)) for sign in (-1, 1)]


def _patient_means(values: Sequence[float], patients: Sequence[str]) -> np.ndarray:
    return pd.Series(values, dtype=float).groupby(list(patients), sort=False).mean().to_numpy()


def _mean_with_interval(values: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """Return the mean over patients of their own means, with a 95 % percentile interval by resampling patients."""
    means = _patient_means(values, patients)
    draws = np.random.default_rng(0).choice(means, (RESAMPLES, len(means))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"mean": float(means.mean()), "interval_95": [float(low), float(high)] if len(means) > 1 else None}


def _spread(values: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """Return `_mean_with_interval`, and the median and standard deviation (n - 1) of the patients' means."""
    means = _patient_means(values, patients)
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return _mean_with_interval(values, patients) | {"median": float(np.median(means)), "standard_deviation": deviation}
