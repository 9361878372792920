"""How far a fitted shape is from the reference's: ends and direction of lines, size and place of the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sonoseg.geometry.fitting import scaled
from sonoseg.geometry.points import angle_from_vertical_deg, ellipse_from_axis_ends, scale_of
from sonoseg.geometry.shapes import Shape
from sonoseg.postprocess.measure import has_direction
from sonoseg.schema.annotations import Structure
from sonoseg.schema.task import Task
from sonoseg.types import Points, Spacing

Sides = tuple[Points | None, Points | None]
"""A shape's points in the prediction and in the reference, None where it is absent."""


@dataclass(frozen=True)
class ShapeError:
    """One error of one structure in one image, never negative; `value` is None unless both sides have the shape."""

    value: float | None
    missed: bool = False
    false_alarm: bool = False


def shape_errors(
    found: Sequence[Shape], reference: Sequence[Shape], task: Task, spacing: Spacing | None, in_mm: bool
) -> dict[str, dict[str, ShapeError]]:
    """Return class -> error -> ShapeError, for every class but those annotated as regions.

    line: `end_point_error`, the mean distance of its ends from the reference's, in the better of the two matchings,
    and `angle_error_deg`, 0 to 90. ellipse: `circumference_error`, absolute, of the outlines of the two masks by
    Ramanujan's second approximation, and `centre_distance`. rectangle: `centre_distance`. Lengths end in `_mm`, which
    needs a spacing, or in `_px`; angles are taken in millimetres whenever the spacing is known.

    A line that is shorter than it is drawn thick has no direction, as in the measurements; an image where neither side
    has the shape counts nowhere.
    """
    if in_mm and spacing is None:
        raise ValueError("errors in mm need a spacing")
    ours, theirs = _first_of_each(found), _first_of_each(reference)
    errors = {}
    for structure in task.structures:
        if structure.shape != "region":
            sides = ours.get(structure.name), theirs.get(structure.name)
            errors[structure.name] = _errors(structure, sides, spacing, in_mm)
    return errors


def _errors(structure: Structure, sides: Sides, spacing: Spacing | None, in_mm: bool) -> dict[str, ShapeError]:
    unit, lengths = ("mm", spacing) if in_mm else ("px", None)
    if structure.shape == "line":
        one, other = (line if line is not None and has_direction(line, structure) else None for line in sides)
        return {
            f"end_point_error_{unit}": _compare(sides, lambda one, other: _end_point_error(one, other, lengths)),
            "angle_error_deg": _compare((one, other), lambda one, other: _angle_error(one, other, spacing)),
        }
    errors = {f"centre_distance_{unit}": _compare(sides, lambda one, other: _centre_distance(one, other, lengths))}
    if structure.shape == "ellipse":
        difference = _compare(
            sides, lambda one, other: abs(_circumference(one, lengths) - _circumference(other, lengths))
        )
        errors = {f"circumference_error_{unit}": difference, **errors}
    return errors


def _compare(sides: Sides, error: Callable[[Points, Points], float]) -> ShapeError:
    one, other = sides
    if one is not None and other is not None:
        return ShapeError(error(one, other))
    return ShapeError(None, missed=other is not None, false_alarm=one is not None)


def _first_of_each(shapes: Sequence[Shape]) -> dict[str, Points]:
    first: dict[str, Points] = {}
    for shape in shapes:
        first.setdefault(shape.structure, shape.points)
    return first


def _end_point_error(one: Points, other: Points, spacing: Spacing | None) -> float:
    scale = scale_of(spacing)
    return min(float(np.linalg.norm((one - ends) * scale, axis=1).mean()) for ends in (other, other[::-1]))


def _angle_error(one: Points, other: Points, spacing: Spacing | None) -> float:
    turn = abs(angle_from_vertical_deg(one[0], one[1], spacing) - angle_from_vertical_deg(other[0], other[1], spacing))
    return min(turn, 180 - turn)  # a line has no direction: 89 and -89 degrees are two apart


def _centre_distance(one: Points, other: Points, spacing: Spacing | None) -> float:
    return float(np.linalg.norm((one.mean(axis=0) - other.mean(axis=0)) * scale_of(spacing)))


def _circumference(ends: Points, spacing: Spacing | None) -> float:
    return scaled(ellipse_from_axis_ends(ends), scale_of(spacing)).circumference
