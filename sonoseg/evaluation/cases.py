"""One scored image: agreement of prediction and reference, in the geometry of the original image."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from sonoseg.evaluation.metrics import Agreement
from sonoseg.evaluation.shape_errors import ShapeError
from sonoseg.io.image_ref import ImageRef
from sonoseg.postprocess.measure import Measurement
from sonoseg.schema.quantity import Quantity
from sonoseg.schema.results import Evaluation

SCORES = ("dice", "iou", "surface_dice", "hd95", "hausdorff", "pixel_accuracy")
"""The fields of an Agreement that are averaged."""

LARGEST_ERROR = {"deg": 90.0, "pct": 100.0, "weeks": 42.0}
"""Unit -> error that a missed value counts as in the averages with missed ones; other units: `Case.largest_error`."""
CIRCUMFERENCES = ("hc", "circumference_error")
"""Names of quantities that are lengths of closed outlines."""
AREAS = ("px2", "mm2")


def signed_error(value: float, reference: float, quantity: Quantity) -> float:
    """Return value minus reference; the angle of a line, which has no direction, is at most 90 degrees off."""
    error = value - reference
    return (error + 90) % 180 - 90 if quantity.unit == "deg" else error


@dataclass(frozen=True)
class Case:
    """One scored image.

    agreement: class -> how well the masks agree; distances in `distance_unit`, `mm` or `px`, the same for all cases.
    measurements, reference_measurements: key -> Measurement of the prediction and of the reference.
    pixel_accuracy: share of the image's pixels, 0 to 1, that have the right class, background included.
    shape_errors: class -> key -> ShapeError, for classes that have a shape.
    image, mask: the files of the image and of its reference label map.
    prediction: the predicted label map as PNG bytes.
    status, reasons: `ok`, `check` or `reject`, and why, as inference would report them.
    quality: expected Dice; None when nothing was found, or without a quality model (`has_quality_model`).
    intervals: key of a measurement -> its interval.
    size: height and width of the image by unit: `px`, and `mm` where the spacing is known.
    """

    id: str
    patient: str
    image: ImageRef
    mask: Path
    agreement: dict[str, Agreement]
    measurements: dict[str, Measurement]
    distance_unit: str
    reference_measurements: dict[str, Measurement]
    pixel_accuracy: float
    shape_errors: dict[str, dict[str, ShapeError]] = field(default_factory=dict)
    prediction: bytes = b""
    status: str = "ok"
    reasons: list[str] = field(default_factory=list)
    quality: float | None = None
    has_quality_model: bool = False
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    size: dict[str, tuple[float, float]] = field(default_factory=dict)

    def measured(self, key: str) -> float | None:
        """Return a measurement of the prediction; None when it has no value."""
        measurement = self.measurements.get(key)
        return measurement.value if measurement else None

    def reference(self, key: str) -> float | None:
        """Return a measurement of the reference; None when it has no value."""
        measurement = self.reference_measurements.get(key)
        return measurement.value if measurement else None

    def largest_error(self, quantity: Quantity) -> float:
        """Return what a missed value counts as: no error of its unit is larger.

        Lengths: the image's diagonal; circumferences: the length of its border, as a convex outline within it is not
        longer; areas: its area.
        """
        if quantity.unit in LARGEST_ERROR:
            return LARGEST_ERROR[quantity.unit]
        height, width = self.size[quantity.unit.removesuffix("2")]
        if quantity.unit in AREAS:
            return height * width
        return 2 * (height + width) if quantity.name in CIRCUMFERENCES else math.hypot(height, width)

    @cached_property
    def errors(self) -> dict[str, float]:
        """Prediction minus reference, for the measurements that both have; an angle of a line is at most 90 off."""
        errors = {}
        for key, reference in self.reference_measurements.items():
            value = self.measured(key)
            if value is not None and reference.value is not None:
                errors[key] = signed_error(value, reference.value, reference.quantity)
        return errors

    @property
    def dice(self) -> float:
        """Mean Dice of the classes that the prediction or the reference shows; 1 when both show none."""
        scores = [
            agreement.dice
            for agreement in self.agreement.values()
            if not agreement.reference_empty or agreement.false_alarm
        ]
        return float(np.mean(scores)) if scores else 1.0

    def row(self) -> dict[str, Any]:
        """Return the case as a row of `per_case.csv`."""
        row: dict[str, Any] = {"id": self.id, "patient": self.patient, "status": self.status, "quality": self.quality}
        row |= {"reasons": "; ".join(self.reasons), "distance_unit": self.distance_unit}
        row["pixel_accuracy"] = self.pixel_accuracy
        for name, agreement in self.agreement.items():
            row |= {f"{name}_{score}": getattr(agreement, score) for score in SCORES}
            row |= {f"{name}_{key}": error.value for key, error in self.shape_errors.get(name, {}).items()}
        for key, reference in self.reference_measurements.items():
            row |= {key: self.measured(key), f"{key}_reference": reference.value}
            if key in self.intervals:
                row |= dict(zip((f"{key}_low", f"{key}_high"), self.intervals[key], strict=True))
        return row


def surface_tolerance(evaluation: Evaluation, unit: str) -> float:
    """Return the tolerance of the surface Dice in `mm` or `px`."""
    return evaluation.surface_tolerance_mm if unit == "mm" else evaluation.surface_tolerance_px
