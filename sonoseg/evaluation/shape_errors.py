"""Errors of fitted shapes: ends and direction of lines, size and centre of ellipses, centre of rectangles."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sonoseg.geometry.points import Ellipse, angle_from_vertical_deg, scale_of
from sonoseg.geometry.shapes import Shape
from sonoseg.postprocess.measure import has_direction
from sonoseg.schema.annotations import Structure
from sonoseg.schema.quantity import Quantity
from sonoseg.sizes import Spacing
from sonoseg.types import Points


@dataclass(frozen=True)
class ShapeError:
    """One error of one structure in one image, never negative; `value` is None unless both sides have the shape."""

    quantity: Quantity
    value: float | None
    missed: bool = False
    false_alarm: bool = False


def shape_errors(
    predicted: Iterable[Shape],
    reference: Iterable[Shape],
    structures: Sequence[Structure],
    spacing: Spacing | None,
    in_mm: bool,
) -> dict[str, dict[str, ShapeError]]:
    """Return class -> key -> ShapeError, for every class whose shape has errors (`ERRORS`): all but regions.

    Lengths are in mm with `in_mm`, else in pixels; angles are taken in millimetres whenever the spacing is known. A
    structure with several shapes is compared by its first; where neither side has the shape, nothing is counted.
    Raises ValueError for `in_mm` without a spacing.
    """
    if in_mm and spacing is None:
        raise ValueError("errors in mm need a spacing")
    predictions, references = _first_of_each(predicted), _first_of_each(reference)
    result: dict[str, dict[str, ShapeError]] = {}
    for structure in structures:
        for kind in ERRORS[structure.shape]:
            error = kind.compare(
                predictions.get(structure.name), references.get(structure.name), structure, spacing, in_mm
            )
            result.setdefault(structure.name, {})[error.quantity.key] = error
    return result


def end_point_error(predicted: Points, reference: Points, spacing: Spacing | None) -> float:
    """Return the mean distance of a line's ends `(2, 2)` from the reference's, in the better of the two matchings.

    In mm with a spacing, else in pixels.
    """
    scale = scale_of(spacing)
    return min(
        float(np.linalg.norm((predicted - ends) * scale, axis=1).mean()) for ends in (reference, reference[::-1])
    )


def angle_error(predicted: Points, reference: Points, spacing: Spacing | None) -> float:
    """Return the angle in degrees, 0 to 90, between two lines `(2, 2)`."""
    first, second = (angle_from_vertical_deg(line[0], line[1], spacing) for line in (predicted, reference))
    turn = abs(first - second)
    return min(turn, 180 - turn)  # 89 and -89 degrees are two apart


def circumference_error(predicted: Points, reference: Points, spacing: Spacing | None) -> float:
    """Return the absolute difference of two ellipses' circumferences (Ramanujan's second approximation).

    Axis ends `(4, 2)`; in mm with a spacing, else in pixels.
    """
    first, second = (
        Ellipse.from_axis_ends(ends).scaled(scale_of(spacing)).circumference for ends in (predicted, reference)
    )
    return abs(first - second)


def centre_distance(predicted: Points, reference: Points, spacing: Spacing | None) -> float:
    """Return the distance between the means of two shapes' points `(N, 2)`, in mm with a spacing, else in pixels."""
    return float(np.linalg.norm((predicted.mean(axis=0) - reference.mean(axis=0)) * scale_of(spacing)))


@dataclass(frozen=True)
class ErrorKind:
    """A length or an angle between a predicted and a reference shape; `function` takes their points and a spacing."""

    name: str
    label: str
    function: Callable[[Points, Points, Spacing | None], float]
    is_angle: bool = False

    def compare(
        self,
        predicted: Points | None,
        reference: Points | None,
        structure: Structure,
        spacing: Spacing | None,
        in_mm: bool,
    ) -> ShapeError:
        """Return the error between two shapes' points; None: the shape is absent.

        For an angle, a line that is shorter than it is drawn thick has no direction and counts as absent.
        """
        unit = "deg" if self.is_angle else "mm" if in_mm else "px"
        quantity = Quantity(self.name, unit, self.label)
        if self.is_angle:
            predicted, reference = (
                line if line is not None and has_direction(line, structure) else None for line in (predicted, reference)
            )
        if predicted is None or reference is None:
            return ShapeError(quantity, None, missed=reference is not None, false_alarm=predicted is not None)
        return ShapeError(quantity, self.function(predicted, reference, None if unit == "px" else spacing))


_CENTRE = ErrorKind("centre_distance", "centre", centre_distance)
ERRORS: Mapping[str, tuple[ErrorKind, ...]] = {
    "line": (
        ErrorKind("end_point_error", "end points", end_point_error),
        ErrorKind("angle_error", "angle", angle_error, is_angle=True),
    ),
    "ellipse": (ErrorKind("circumference_error", "circumference", circumference_error), _CENTRE),
    "rectangle": (_CENTRE,),
    "region": (),
}
"""Shape of a structure -> its errors, in the order of tables and JSON files."""


def _first_of_each(shapes: Iterable[Shape]) -> dict[str, Points]:
    first: dict[str, Points] = {}
    for shape in shapes:
        first.setdefault(shape.structure, shape.points)
    return first
