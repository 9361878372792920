"""From class probabilities to masks, shapes, measurements and a status, in evaluation and in inference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.extent import extent
from sonoseg.geometry.shapes import Shape, fit_shapes
from sonoseg.postprocess.anatomy import apply_rules
from sonoseg.postprocess.class_map import class_map
from sonoseg.postprocess.features import quality_features
from sonoseg.postprocess.gaps import clean, full_masks
from sonoseg.postprocess.measure import Measurement, measure
from sonoseg.postprocess.shape_masks import with_ellipses
from sonoseg.schema.annotations import Structure
from sonoseg.schema.results import Range, Review
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing
from sonoseg.types import Pixels


@dataclass(frozen=True)
class Findings:
    """The result for one image, in its original geometry.

    labels: (H, W) uint8, 0 background and 1.. in task order.
    masks: (K, H, W) bool, each class in full, also where another class covers it.
    With `postprocessing.shape_mask`, ellipses are filled ellipses in both; all else follows from the network's masks.
    shapes: in task order; points in pixels.
    measurements: key, such as `hc_mm`, -> Measurement, in the order of the task's quantities.
    confidence: class -> mean probability of its own pixels, for classes with a pixel; empty for references.
    shape_agreement: class -> intersection over union of its mask and its shape, for ellipses and rectangles; empty for
    references.
    features: class -> quality feature -> value, see `quality_features`; empty for references.
    status: `ok`; `check`: usable, to be reviewed; `reject`: not to be used as it is. reasons: why it is not `ok`.
    quality: expected Dice, 0 to 1, the mean of the classes that were found; None, with the reason in `quality_note`.
    intervals: key of a measurement -> interval that is expected to contain the true value in 9 of 10 images.
    suppressed: class -> the anatomical rule that removed it.
    probabilities: (1 + K, H, W) float32, background first, from which the result was made; None for references.
    """

    labels: Pixels
    masks: NDArray[np.bool_]
    shapes: list[Shape]
    measurements: dict[str, Measurement]
    confidence: dict[str, float] = field(default_factory=dict)
    shape_agreement: dict[str, float] = field(default_factory=dict)
    features: dict[str, dict[str, float]] = field(default_factory=dict)
    status: Literal["ok", "check", "reject"] = "ok"
    reasons: list[str] = field(default_factory=list)
    suppressed: dict[str, str] = field(default_factory=dict)
    probabilities: NDArray[np.float32] | None = None
    quality: float | None = None
    quality_note: str = ""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)


def interpret(probabilities: NDArray[np.float32], image: Pixels, task: Task, spacing: Spacing | None) -> Findings:
    """Return the findings from `(1 + K, H, W)` float32 class probabilities and the original image `(H, W)` uint8.

    In order: label map (threshold of a single class, most probable of several), cleaning, anatomical rules, full masks,
    shapes, measurements, confidence, review; then filled ellipses, with `postprocessing.shape_mask`. An image without
    structures gives empty masks, no shapes, and measurements without a value.
    """
    labels = clean(class_map(probabilities, task.postprocessing.threshold), task.structures, task.postprocessing)
    labels, suppressed = apply_rules(labels, task.structures, task.postprocessing.rules)
    findings = measure_labels(labels, image, task, spacing)
    confidence = {}
    for index, name in enumerate(task.class_names, start=1):
        own = labels == index
        part = extent(own)
        if own[part].size:
            confidence[name] = float(probabilities[index][part][own[part]].mean(dtype=np.float64))
    agreement = _shape_agreement(findings, task.structures, task.review)
    seen = findings.masks, findings.shapes, agreement, confidence
    findings = replace(
        findings,
        confidence=confidence,
        shape_agreement=agreement,
        features=quality_features(*seen, probabilities, task.structures),
        suppressed=suppressed,
        probabilities=probabilities,
    )
    reasons = review_reasons(findings, task.structures, task.review)
    measurements = _with_notes(findings.measurements, task.review)
    findings = replace(findings, measurements=measurements, reasons=reasons, status="check" if reasons else "ok")
    if task.postprocessing.shape_mask:
        labels, masks = with_ellipses(labels, findings.masks, findings.shapes, task.structures)
        findings = replace(findings, labels=labels, masks=masks)
    return findings


def measure_labels(
    labels: Pixels, image: Pixels, task: Task, spacing: Spacing | None, skin_row: float | None = None
) -> Findings:
    """Return masks, shapes and measurements of a label map `(H, W)` uint8, such as a reference, as it is.

    Nothing is cleaned, removed or reviewed, and there is no confidence. skin_row: where the midline meets the skin, in
    pixels; None: it is searched in the image.
    """
    masks = full_masks(labels, task.structures, task.postprocessing)
    shapes: list[Shape] = []
    for structure, mask in zip(task.structures, masks, strict=True):
        shapes += fit_shapes(mask, structure.name, structure.shape, spacing)
    measurements = measure(shapes, image, spacing, task.structures, task.measurements, skin_row)
    return Findings(labels, masks, shapes, measurements)


def review_reasons(findings: Findings, structures: Sequence[Structure], review: Review) -> list[str]:
    """Return the reasons why a person should review a result, none when there is nothing to review."""
    confidence, suppressed = findings.confidence, findings.suppressed
    reasons = list(suppressed.values())
    missing = [name for name in review.expected if name not in confidence and name not in suppressed]
    reasons += [f"{name} not found" for name in missing]
    for name, value in confidence.items():
        if value < review.min_confidence:
            reasons.append(f"{name}: confidence {value:.2f} is below {review.min_confidence:g}")
    for structure, mask in zip(structures, findings.masks, strict=True):
        agreement, limit = findings.shape_agreement.get(structure.name), _least_agreement(structure, review)
        if agreement is not None and limit is not None and agreement < limit:
            reason = f"mask and {structure.shape} agree by {agreement:.2f} (IoU), below {limit:g}"
            reasons.append(f"{structure.name}: {reason}")
        if SHAPE_KINDS[structure.shape].needs_whole_outline and _touches_border(mask):
            reasons.append(f"{structure.name} touches the image border: its outline is incomplete")
    reasons += measurement_reasons(findings.measurements, review, explained=bool(missing or suppressed))
    return reasons


def measurement_reasons(measurements: Mapping[str, Measurement], review: Review, explained: bool) -> list[str]:
    """Return the reasons to review a result that lie in its measurements.

    explained: whether a missing structure is a reason already, so that a missing value needs none of its own.
    """
    reasons = []
    for key, limits in review.ranges.items():
        measurement = measurements[key]
        if measurement.value is not None:
            reasons += _outside(measurement, limits)
        elif not explained and not measurement.is_undefined:
            reasons.append(f"{key}: {measurement.note}")
    doubts = (measurement.doubt for measurement in measurements.values() if measurement.doubt)
    return [*reasons, *dict.fromkeys(doubts)]


def _outside(measurement: Measurement, limits: Range) -> list[str]:
    low = -np.inf if limits.low is None else limits.low
    high = np.inf if limits.high is None else limits.high
    value, key = measurement.value, measurement.quantity.key
    if value is None or low <= value <= high:
        return []
    return [f"{key}: {value:.1f} is outside {low:g} to {high:g}"]


def _with_notes(measurements: Mapping[str, Measurement], review: Review) -> dict[str, Measurement]:
    """Return the measurements, with a note where a value lies outside its usual range."""
    noted = dict(measurements)
    for key, limits in review.ranges.items():
        measurement, usual = measurements[key], limits.usual
        if usual and measurement.value is not None and not usual[0] <= measurement.value <= usual[1]:
            note = f"{measurement.value:.1f} is outside the usual {usual[0]:g} to {usual[1]:g}"
            noted[key] = replace(measurement, note="; ".join(filter(None, (measurement.note, note))))
    return noted


def _shape_agreement(findings: Findings, structures: Sequence[Structure], review: Review) -> dict[str, float]:
    """Return class -> agreement of its mask and its shape, for the kinds of shape that have a limit."""
    points = {shape.structure: shape.points for shape in findings.shapes}
    return {
        structure.name: SHAPE_KINDS[structure.shape].agreement(points[structure.name], mask)
        for structure, mask in zip(structures, findings.masks, strict=True)
        if structure.name in points and _least_agreement(structure, review) is not None
    }


def _least_agreement(structure: Structure, review: Review) -> float | None:
    limit: float | None = getattr(review.shape_agreement, structure.shape, None)
    return limit


def _touches_border(mask: NDArray[np.bool_]) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
