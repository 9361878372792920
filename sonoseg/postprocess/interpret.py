"""From class probabilities to a finding. Evaluation (stage 3) and inference (stage 4) both end here."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.extent import extent
from sonoseg.geometry.fitting import fit_shapes
from sonoseg.geometry.shapes import Shape
from sonoseg.postprocess.anatomy import apply_rules
from sonoseg.postprocess.gaps import clean, full_masks
from sonoseg.postprocess.measure import Measured, measure
from sonoseg.schema.results import Range
from sonoseg.schema.task import Task
from sonoseg.types import Pixels, Points, Spacing


@dataclass(frozen=True)
class Findings:
    """What was found in one image, in its original geometry.

    labels: (H, W) uint8, 0 background and 1.. in task order.
    masks: (K, H, W) bool, each class whole, also where another lies over it.
    shapes: in task order; points in pixels.
    measurements: name -> value, None when absent.
    notes: measurement -> why it is absent, or what was assumed.
    marks: measurement -> the two points (2, 2) it was taken between.
    confidence: class -> mean probability of its own pixels, for classes that were found; empty for references.
    reasons: why a person should look; empty when the status is `ok`.
    suppressed: class -> the rule that removed it.
    probabilities: (1 + K, H, W) float32, background first, what all of the above was made from; None for references.
    """

    labels: Pixels
    masks: NDArray[np.bool_]
    shapes: list[Shape]
    measurements: dict[str, float | None]
    notes: dict[str, str]
    marks: dict[str, Points]
    confidence: dict[str, float] = field(default_factory=dict)
    status: Literal["ok", "flagged"] = "ok"
    reasons: list[str] = field(default_factory=list)
    suppressed: dict[str, str] = field(default_factory=dict)
    probabilities: NDArray[np.float32] | None = None


def interpret(probabilities: NDArray[np.float32], image: Pixels, task: Task, spacing: Spacing | None) -> Findings:
    """Return the findings from `(1 + K, H, W)` float32 class probabilities and the original image `(H, W)` uint8.

    In order: the most probable class of each pixel (of one class, those above its threshold), cleaning, anatomical
    rules, full masks, shapes, measurements, confidence, review. An image with nothing in it gives empty masks, no
    shapes and absent measurements.
    """
    labels = clean(class_map(probabilities, task), task)
    labels, suppressed = apply_rules(labels, task)
    masks, shapes, measured = _measured(labels, image, task, spacing)
    confidence = {}
    for index, name in enumerate(task.class_names, start=1):
        own = labels == index
        part = extent(own)
        if own[part].size:
            confidence[name] = float(probabilities[index][part][own[part]].mean(dtype=np.float64))
    reasons = review(task, masks, measured, confidence, suppressed)
    return Findings(
        labels=labels,
        masks=masks,
        shapes=shapes,
        measurements=measured.values,
        notes=measured.notes,
        marks=measured.marks,
        confidence=confidence,
        status="flagged" if reasons else "ok",
        reasons=reasons,
        suppressed=suppressed,
        probabilities=probabilities,
    )


def class_map(probabilities: NDArray[np.float32], task: Task) -> Pixels:
    """Return labels `(H, W)` uint8: the most probable class of each pixel; of one class, pixels above its threshold."""
    if task.is_binary:
        return (probabilities[1] > task.postprocessing.threshold).astype(np.uint8)
    # What `argmax` gives, the first of equal ones included; along the first axis it is slow.
    labels, best = np.zeros(probabilities.shape[1:], np.uint8), probabilities[0]
    for index, probability in enumerate(probabilities[1:], start=1):
        cv2.copyTo(np.full_like(labels, index), cv2.compare(probability, best, cv2.CMP_GT), labels)
        best = cv2.max(best, probability)
    return labels


def measure_labels(labels: Pixels, image: Pixels, task: Task, spacing: Spacing | None) -> Findings:
    """Return the findings of a reference label map `(H, W)` uint8: the same masks, shapes and measurements.

    A reference is the truth: nothing is cleaned or removed, nothing reviewed, and it has no confidence.
    """
    masks, shapes, measured = _measured(labels, image, task, spacing)
    return Findings(labels, masks, shapes, measured.values, measured.notes, measured.marks)


def review(
    task: Task,
    masks: NDArray[np.bool_],
    measured: Measured,
    confidence: dict[str, float],
    suppressed: dict[str, str],
) -> list[str]:
    """Return the reasons why a person should look at a result, none when it may pass."""
    reasons = list(suppressed.values())
    missing = [name for name in task.review.expected if name not in confidence and name not in suppressed]
    reasons += [f"{name} not found" for name in missing]
    for name, value in confidence.items():
        if value < task.review.min_confidence:
            reasons.append(f"{name}: confidence {value:.2f} is below {task.review.min_confidence:g}")
    for structure, mask in zip(task.structures, masks, strict=True):
        if structure.shape == "ellipse" and _touches_border(mask):
            reasons.append(f"{structure.name} touches the image border: its outline is incomplete")
    for name, limits in task.review.ranges.items():
        reasons += _outside(name, limits, measured, nothing_missing=not missing and not suppressed)
    return reasons


def _measured(
    labels: Pixels, image: Pixels, task: Task, spacing: Spacing | None
) -> tuple[NDArray[np.bool_], list[Shape], Measured]:
    masks = full_masks(labels, task)
    shapes: list[Shape] = []
    for structure, mask in zip(task.structures, masks, strict=True):
        shapes += fit_shapes(mask, structure.name, structure.shape, spacing)
    return masks, shapes, measure(shapes, image, task, spacing)


def _outside(name: str, limits: Range, measured: Measured, nothing_missing: bool) -> Sequence[str]:
    """Say why a measurement is implausible, or why it is absent although all that it needs was found."""
    value = measured.values.get(name)
    if value is None:
        # In pixels it would be there: only the spacing is unknown, which is no fault of the image.
        in_px = measured.values.get(name.removesuffix("_mm") + "_px")
        return (
            [f"{name}: {measured.notes[name]}"] if nothing_missing and in_px is None and name in measured.notes else []
        )
    low = -np.inf if limits.low is None else limits.low
    high = np.inf if limits.high is None else limits.high
    return [] if low <= value <= high else [f"{name}: {value:.1f} is outside {low:g} to {high:g}"]


def _touches_border(mask: NDArray[np.bool_]) -> bool:
    return bool(mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
