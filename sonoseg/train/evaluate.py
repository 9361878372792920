"""Score a trained network on images it has never seen, in their original geometry and in millimetres."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from sonoseg.core.images import read_image, read_mask
from sonoseg.core.manifest import Prepared, Sample
from sonoseg.core.task import Task
from sonoseg.core.workspace import Workspace
from sonoseg.postprocess.interpret import interpret, measure_labels
from sonoseg.preprocess.fit import Fit
from sonoseg.preprocess.intensity import normalise
from sonoseg.train.metrics import Agreement, agreement
from sonoseg.train.networks import activate

RESAMPLES = 2000
"""Draws of the bootstrap."""

FEW_PATIENTS = 50
"""Below this many patients an interval is reported with a warning."""


@dataclass(frozen=True)
class Case:
    """One scored image. `errors` are prediction minus reference, for measurements that both have."""

    id: str
    patient: str
    agreement: dict[str, Agreement]
    measured: dict[str, float | None]
    distance_unit: str
    reference: dict[str, float | None]

    @property
    def errors(self) -> dict[str, float]:
        pairs = {name: (self.measured.get(name), value) for name, value in self.reference.items()}
        return {
            name: ours - theirs for name, (ours, theirs) in pairs.items() if ours is not None and theirs is not None
        }

    def row(self) -> dict[str, Any]:
        """Return the case as one row of `per_case.csv`."""
        row: dict[str, Any] = {"id": self.id, "patient": self.patient, "distance_unit": self.distance_unit}
        for name, one in self.agreement.items():
            row |= {f"{name}_dice": one.dice, f"{name}_iou": one.iou, f"{name}_hd95": one.hd95}
        for name, value in self.reference.items():
            row |= {name: self.measured.get(name), f"{name}_reference": value}
        return row


@torch.inference_mode()
def score(
    network: nn.Module,
    rows: Sequence[Prepared],
    samples: Sequence[Sample],
    workspace: Workspace,
    task: Task,
    device: torch.device,
) -> Iterator[Case]:
    """Yield a Case per prepared image: the result a user would get, against the mask at the image's own size.

    References are measured on the reference mask by the same code as the prediction; a value that the metadata table
    gives for an image replaces the measured one.
    """
    by_id = {sample.id: sample for sample in samples}
    # One unit for all: an average of millimetres and pixels would mean nothing.
    in_mm = all(by_id[row.source_id].spacing for row in rows)
    network.eval()
    for row in rows:
        sample = by_id[row.source_id]
        prepared = read_image(workspace.locate(row.image_path))
        values = torch.from_numpy(normalise(prepared, task.input.intensity))[None, None].to(device)
        probabilities = activate(network(values))[0].cpu().numpy()
        image = read_image(workspace.locate(sample.image_path))
        original = Fit.of(image.shape, task.input).invert(probabilities)
        found = interpret(original, image, task, sample.spacing)
        reference = read_mask(workspace.locate(sample.mask_path))
        measured = measure_labels(reference, image, task, sample.spacing).measurements
        yield Case(
            id=sample.id,
            patient=sample.patient,
            agreement={
                name: agreement(found.labels == index, reference == index, sample.spacing if in_mm else None)
                for index, name in enumerate(task.class_names, start=1)
            },
            measured=found.measurements,
            distance_unit="mm" if in_mm else "px",
            reference={**measured, **sample.reference},
        )


def summarise(cases: Sequence[Case], task: Task) -> dict[str, Any]:
    """Return the evaluation of at least one case: per class and per measurement, over patients.

    Values are averaged within a patient first, so that one with many images does not count more.
    """
    patients = [case.patient for case in cases]
    summary: dict[str, Any] = {"images": len(cases), "patients": len(set(patients))}
    summary |= {"distance_unit": cases[0].distance_unit, "classes": {}, "measurements": {}}
    if summary["patients"] < FEW_PATIENTS:
        count = summary["patients"]
        summary["warning"] = f"{count} patient{'s' if count > 1 else ''}: intervals are wide and themselves uncertain"
    for name in task.class_names:
        found = [case.agreement[name] for case in cases]
        summary["classes"][name] = {
            "dice": _mean_with_interval([one.dice for one in found], patients),
            "iou": _mean_with_interval([one.iou for one in found], patients),
            "hd95": _mean_with_interval([one.hd95 for one in found], patients),
            "n": len(found),
            "n_empty_reference": sum(one.reference_empty for one in found),
            "n_missed": sum(one.missed for one in found),
            "n_false_alarm": sum(one.false_alarm for one in found),
        }
    summary["mean_dice"] = float(np.mean([one["dice"]["mean"] for one in summary["classes"].values()]))
    for name in sorted({name for case in cases for name in case.reference}):
        summary["measurements"][name] = _measurement(name, cases)
    return summary


def _measurement(name: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Summarise one measurement's errors, and count where only one side has a value."""
    both = [case for case in cases if name in case.errors]
    wanted = [case for case in cases if case.reference.get(name) is not None]
    extra = [case for case in cases if case.reference.get(name) is None and case.measured.get(name) is not None]
    summary: dict[str, Any] = {"n": len(both), "n_missed": len(wanted) - len(both), "n_false_alarm": len(extra)}
    if both:
        errors, patients = [case.errors[name] for case in both], [case.patient for case in both]
        summary["mean_absolute_error"] = _mean_with_interval([abs(error) for error in errors], patients)
        summary["bias"] = _mean_with_interval(errors, patients)
        summary["limits_of_agreement"] = [
            float(np.mean(errors) + sign * 1.96 * np.std(errors, ddof=1)) if len(errors) > 1 else None
            for sign in (-1, 1)
        ]
    return summary


def _mean_with_interval(values: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """Return the mean over patients of their own means, with a 95 % percentile interval by resampling patients."""
    means = pd.Series(values).groupby(list(patients), sort=False).mean().to_numpy()
    draws = np.random.default_rng(0).choice(means, (RESAMPLES, len(means))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"mean": float(means.mean()), "interval_95": [float(low), float(high)] if len(means) > 1 else None}
