"""Errors of shapes against hand arithmetic."""

import math
from typing import get_args

import numpy as np
import pytest

from sonoseg.evaluation.shape_errors import ERRORS, ShapeError, shape_errors
from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.shapes import KindName, Shape
from sonoseg.schema.annotations import Structure
from sonoseg.schema.quantity import Quantity
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing

ANGLE = Quantity("angle_error", "deg", "angle")


def shape(structure: str, kind: KindName, *points: tuple[float, float]) -> Shape:
    return Shape(structure, kind, np.array(points, dtype=float))


def compared(
    predicted: list[Shape], reference: list[Shape], task: Task, spacing: Spacing | None = None
) -> dict[str, dict[str, ShapeError]]:
    return shape_errors(predicted, reference, task.structures, spacing, in_mm=spacing is not None)


def test_a_line_moved_and_turned(spine: Task) -> None:
    reference = shape("MID", "line", (50, 0), (50, 100))
    errors = compared([shape("MID", "line", (53, 4), (153, 4))], [reference], spine)["MID"]
    # ends 5 and hypot(103, 96) apart, or the other way round hypot(3, 96) and hypot(103, 4)
    straight, crossed = (5 + math.hypot(103, 96)) / 2, (math.hypot(3, 96) + math.hypot(103, 4)) / 2
    assert errors["end_point_error_px"].value == pytest.approx(min(straight, crossed))
    assert errors["angle_error_deg"].value == pytest.approx(90)
    turned = compared([shape("MID", "line", (50, 100), (50, 0))], [reference], spine)["MID"]
    assert turned["end_point_error_px"].value == 0 and turned["angle_error_deg"].value == 0


def test_angles_have_no_direction_and_are_taken_in_millimetres(spine: Task) -> None:
    left, right = shape("EPI", "line", (0, 1), (100, 0)), shape("EPI", "line", (0, 0), (100, 1))
    errors = compared([left], [right], spine)["EPI"]["angle_error_deg"].value
    assert errors == pytest.approx(2 * math.degrees(math.atan(0.01)))
    upright, slanted = shape("MID", "line", (0, 0), (0, 100)), shape("MID", "line", (0, 0), (100, 100))
    errors = compared([slanted], [upright], spine, (1.0, 0.5))["MID"]
    assert errors["angle_error_deg"].value == pytest.approx(math.degrees(math.atan(0.5)))
    assert errors["end_point_error_mm"].value == pytest.approx((0 + 50) / 2)
    # Where some other image has no spacing lengths are in pixels, but this image's angle is still known.
    mixed = shape_errors([slanted], [upright], spine.structures, (1.0, 0.5), in_mm=False)["MID"]
    assert mixed["end_point_error_px"].value == pytest.approx(50)
    assert mixed["angle_error_deg"].value == pytest.approx(math.degrees(math.atan(0.5)))


def test_an_ellipse(fetal_head: Task) -> None:
    predicted, reference = Ellipse(53, 44, 100, 100, 0), Ellipse(50, 40, 80, 80, 0)
    shapes = [[Shape("HEAD", "ellipse", ellipse.axis_ends())] for ellipse in (predicted, reference)]
    errors = compared(*shapes, fetal_head)["HEAD"]
    assert errors["circumference_error_px"].value == pytest.approx(20 * math.pi)
    assert errors["centre_distance_px"].value == pytest.approx(5)
    turned = compared(*shapes[::-1], fetal_head)["HEAD"]
    assert turned["circumference_error_px"].value == pytest.approx(20 * math.pi)
    in_mm = compared(*shapes, fetal_head, (0.5, 0.1))["HEAD"]
    assert in_mm["centre_distance_mm"].value == pytest.approx(math.hypot(3 * 0.1, 4 * 0.5))
    # Half-axes 25 and 5 mm against 20 and 4 mm: the same form, a quarter larger.
    small = Ellipse(0, 0, 40, 8, 0).circumference
    assert in_mm["circumference_error_mm"].value == pytest.approx(small / 4)


def test_a_rectangle(spine: Task) -> None:
    errors = compared(
        [shape("VTB", "rectangle", (10, 20), (30, 40))], [shape("VTB", "rectangle", (6, 20), (28, 46))], spine
    )
    assert errors["VTB"] == {
        "centre_distance_px": ShapeError(Quantity("centre_distance", "px", "centre"), pytest.approx(math.hypot(3, 3)))
    }


def test_a_shape_on_one_side_has_no_error_and_is_counted(spine: Task) -> None:
    line = shape("MID", "line", (50, 0), (50, 100))
    missed, alarm, nothing = compared([], [line], spine), compared([line], [], spine), compared([], [], spine)
    for quantity in (Quantity("end_point_error", "px", "end points"), ANGLE):
        assert missed["MID"][quantity.key] == ShapeError(quantity, None, missed=True)
        assert alarm["MID"][quantity.key] == ShapeError(quantity, None, false_alarm=True)
        assert nothing["MID"][quantity.key] == ShapeError(quantity, None)
    assert list(nothing) == ["MID", "VTB", "EPI"]


def test_a_blob_has_a_position_and_no_direction(spine: Task) -> None:
    blob, line = shape("MID", "line", (50, 50), (50, 54)), shape("MID", "line", (50, 0), (50, 100))
    errors = compared([blob], [line], spine)["MID"]
    assert errors["end_point_error_px"].value == pytest.approx((50 + 46) / 2)
    assert errors["angle_error_deg"] == ShapeError(ANGLE, None, missed=True)


def test_millimetres_need_a_spacing(spine: Task) -> None:
    with pytest.raises(ValueError, match="spacing"):
        shape_errors([], [], spine.structures, None, in_mm=True)


def test_every_kind_of_shape_has_its_errors() -> None:
    assert set(ERRORS) == set(get_args(Structure.model_fields["shape"].annotation))
