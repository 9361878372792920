"""One scored image: how its prediction agrees with its reference, in the original geometry and in millimetres."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from sonoseg.evaluation.metrics import Agreement
from sonoseg.evaluation.shape_errors import ShapeError
from sonoseg.schema.task import Task

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


def surface_tolerance(task: Task, unit: str) -> float:
    """Return the tolerance of the surface Dice in `mm` or `px`."""
    return task.evaluation.surface_tolerance_mm if unit == "mm" else task.evaluation.surface_tolerance_px
