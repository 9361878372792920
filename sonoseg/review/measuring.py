"""Measurements of shapes that a person has drawn, as texts and numbers for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sonoseg.geometry.shapes import Shape
from sonoseg.postprocess.interpret import measurement_reasons
from sonoseg.postprocess.measure import Measurement, measure
from sonoseg.schema.quantity import Quantity, prefer_mm
from sonoseg.schema.task import Task
from sonoseg.sizes import Region, Spacing
from sonoseg.types import Pixels

DIGITS = 1
"""Decimals of a measurement, as on the overlays."""

Entry = dict[str, Any]
Marks = Mapping[str, list[list[float]]]
"""Key of a quantity -> the two points `[x, y]` between which it is measured, in pixels of the frame."""


def measured(
    shapes: Sequence[Shape], image: Pixels, task: Task, spacing: Spacing | None, region: Region | None = None
) -> tuple[list[Entry], list[str]]:
    """Return the measurements of shapes, and the reasons why a person should look at them.

    image: `(H, W)` uint8, the region's pixels where the frame has one; shapes: in pixels of the whole frame. There are
    no intervals: they are those of predictions.
    """
    found = _measure(shapes, image, task, spacing, region)
    present = {shape.structure for shape in shapes}
    missing = [name for name in task.review.expected if name not in present]
    reasons = [f"{name} not found" for name in missing]
    reasons += measurement_reasons(found, task.review, explained=bool(missing))
    values = {key: measurement.value for key, measurement in found.items()}
    notes = {key: measurement.note for key, measurement in found.items() if measurement.note}
    return entries(task.quantities, values, {}, notes, _marks(found)), reasons


def measured_marks(
    shapes: Sequence[Shape], image: Pixels, task: Task, spacing: Spacing | None, region: Region | None = None
) -> Marks:
    """Return the points between which shapes are measured; arguments as of `measured`."""
    return _marks(_measure(shapes, image, task, spacing, region))


def _marks(found: Mapping[str, Measurement]) -> Marks:
    return {key: one.marks.tolist() for key, one in found.items() if one.marks is not None}


def _measure(
    shapes: Sequence[Shape], image: Pixels, task: Task, spacing: Spacing | None, region: Region | None
) -> dict[str, Measurement]:
    """Return the measurements; `marks` are in pixels of the whole frame, as the shapes are."""
    left, top = (region.left, region.top) if region else (0, 0)
    own = [shape.moved(-left, -top) for shape in shapes]
    found = measure(own, image, spacing, task.structures, task.measurements)
    return {
        key: one if one.marks is None else replace(one, marks=one.marks + np.array([left, top]))
        for key, one in found.items()
    }


def entries(
    quantities: Sequence[Quantity],
    values: Mapping[str, float | None],
    intervals: Mapping[str, Sequence[float]],
    notes: Mapping[str, str],
    marks: Marks,
) -> list[Entry]:
    """Return the measurements for the page: lengths in mm where they are known, otherwise in pixels."""
    known = {quantity.name for quantity in quantities if values.get(quantity.key) is not None}
    shown = prefer_mm(quantity for quantity in quantities if values.get(quantity.key) is not None)
    absent = [quantity for quantity in quantities if quantity.name not in known]
    shown += prefer_mm(absent)
    order = {quantity.key: place for place, quantity in enumerate(quantities)}
    return [
        {
            **_entry(quantity, values.get(quantity.key), intervals.get(quantity.key)),
            **{"note": notes.get(quantity.key, ""), "mark": marks.get(quantity.key)},
        }
        for quantity in sorted(shown, key=lambda quantity: order[quantity.key])
    ]


def _entry(quantity: Quantity, value: float | None, interval: Sequence[float] | None) -> Entry:
    low, high = (float(interval[0]), float(interval[1])) if interval and value is not None else (None, None)
    ends = f" ({low:.{DIGITS}f} to {high:.{DIGITS}f})" if low is not None else ""
    space = "" if quantity.unit == "deg" else " "
    text = "" if value is None else f"{value:.{DIGITS}f}{ends}{space}{quantity.symbol}"
    return {
        **{"key": quantity.key, "label": quantity.label, "value": value, "unit": quantity.unit, "text": text},
        **{"low": low, "high": high},
    }
