"""Lengths, angles and ellipses against values computed by hand."""

import math

import numpy as np
import pytest

from sonoseg.geometry.points import Ellipse, angle_from_vertical_deg, length


def test_length_in_pixels_and_millimetres():
    start, end = np.array([1.0, 2]), np.array([4.0, 6])
    assert length(start, end) == 5
    assert length(start, end, (0.5, 2.0)) == pytest.approx(math.hypot(3 * 2, 4 * 0.5))
    assert length(start, start) == 0


@pytest.mark.parametrize(
    ("end", "spacing", "expected"),
    [
        ((0, 10), None, 0),
        ((10, 10), None, 45),
        ((-10, 10), None, -45),
        ((10, -10), None, -45),
        ((10, 0), None, 90),
        ((-10, 0), None, 90),
        ((10, 10), (1.0, math.sqrt(3)), 60),
    ],
)
def test_angle_from_vertical(end, spacing, expected):
    assert angle_from_vertical_deg(np.zeros(2), np.array(end, dtype=float), spacing) == pytest.approx(expected)


def test_circumference():
    assert Ellipse(0, 0, 20, 20, 0).circumference == pytest.approx(20 * math.pi)
    # Axes 10 and 6: the elliptic integral gives 25.526998863398124.
    assert Ellipse(0, 0, 10, 6, 30).circumference == pytest.approx(25.526998863398124, rel=1e-6)
    assert Ellipse(0, 0, 0, 0, 0).circumference == 0


@pytest.mark.parametrize("angle", [0, 30, 90, 179])
def test_ellipse_and_its_axis_ends(angle):
    ellipse = Ellipse(12, 7, 20, 10, angle)
    back = Ellipse.from_axis_ends(ellipse.axis_ends())
    assert (back.x, back.y, back.major, back.minor, back.angle_deg) == pytest.approx((12, 7, 20, 10, angle))


def test_minor_axis_first():
    back = Ellipse.from_axis_ends(np.array([[0.0, -3], [0, 3], [-5, 0], [5, 0]]))
    assert (back.major, back.minor, back.angle_deg) == pytest.approx((10, 6, 0))
