"""Observations for a quality model."""

import pytest

from sonoseg.evaluation.cases import signed_error
from sonoseg.evaluation.quality.observe import measured_of
from sonoseg.schema.quantity import Quantity
from sonoseg.schema.task import Task


def test_the_error_of_an_angle_is_that_of_a_line_without_a_direction() -> None:
    angle, length = Quantity("angle", "deg", "angle"), Quantity("hc", "mm", "HC")
    assert signed_error(89, -89, angle) == pytest.approx(-2) and signed_error(89, -89, length) == 178


def test_intervals_depend_on_the_structures_that_are_measured(spine: Task, fetal_head: Task) -> None:
    measured = measured_of(spine)
    assert measured["skin_to_epi_px"].structures == ("EPI", "MID") and measured["skin_to_epi_px"].is_relative
    assert measured["midline_offset_mm"].structures == ("MID",) and not measured["midline_offset_mm"].is_relative
    assert "midline_offset_px" not in measured  # it depends on the image's size
    assert "gestational_age_weeks" not in measured_of(fetal_head)  # the spread of the formula is not in its errors
