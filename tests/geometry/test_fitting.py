"""Shapes fitted to their own drawings, against the numbers they were drawn from."""

import math

import numpy as np
import pytest

from sonoseg.geometry.capsule import solve
from sonoseg.geometry.ellipse_fit import fit_ellipse
from sonoseg.geometry.line_fit import _PIXELS, fit_line
from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.rectangle import fit_rectangle
from sonoseg.geometry.region import fit_regions
from sonoseg.geometry.shapes import fit_shapes
from tests.geometry import drawn_shapes as drawn

SHAPE = (300, 320)


def line_ends(length: float, angle_deg: float, centre: tuple[float, float]) -> np.ndarray:
    half = np.array([math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))]) * length / 2
    return np.array([np.array(centre) - half, np.array(centre) + half])


def end_distance(fitted: np.ndarray, expected: np.ndarray) -> float:
    """Return the largest distance of an end from the expected end, in the better order."""
    return min(np.linalg.norm(fitted - ends, axis=1).max() for ends in (expected, expected[::-1]))


@pytest.mark.parametrize("thickness", [10, 16])
@pytest.mark.parametrize("angle", [0, 7, 30, 45, 61, 90, 118, 135, 170])
def test_drawn_lines_come_back_within_half_a_pixel(thickness, angle):
    for length, centre in ((40, (150, 150)), (97.3, (148.4, 151.7)), (200, (155.5, 149))):
        expected = line_ends(length, angle, centre)
        fitted = fit_shapes(drawn.line(SHAPE, *expected, thickness), "MID", "line")[0].points
        assert end_distance(fitted, expected) < 0.5


def test_lines_of_any_angle_and_length_are_a_tenth_of_a_pixel_off_on_average():
    """The worst, 0.6 pixels along the line, is a horizontal line 8 thick: its length depends on few pixels."""
    errors = []
    for angle in range(0, 180, 5):
        for thickness, length, centre in ((8, 200, (150, 150)), (10, 60.7, (148.4, 151.7)), (12, 120, (150.5, 149))):
            expected = line_ends(length, angle, centre)
            fitted = fit_shapes(drawn.line(SHAPE, *expected, thickness), "MID", "line")[0].points
            errors.append(end_distance(fitted, expected))
    assert np.mean(errors) < 0.12 and max(errors) < 0.7


def test_a_line_starts_at_its_upper_end_and_a_level_one_at_the_left():
    upright = fit_shapes(drawn.line(SHAPE, (100, 250), (90, 40)), "MID", "line")[0].points
    level = fit_shapes(drawn.line(SHAPE, (250, 90), (40, 100)), "EPI", "line")[0].points
    assert upright[0, 1] < upright[1, 1] and level[0, 0] < level[1, 0]


def test_line_with_a_gap_and_a_stray_pixel():
    expected = line_ends(200, 85, (150, 150))
    mask = drawn.line(SHAPE, *expected)
    mask[145:158] = False
    mask[5, 5] = True
    assert end_distance(fit_shapes(mask, "MID", "line")[0].points, expected) < 1


def test_a_very_thick_line_is_fitted_on_some_of_its_pixels_and_as_well():
    start, end = (150.0, 120.0), (420.0, 300.0)
    mask = drawn.line((420, 560), start, end, thickness=160)
    assert mask.sum() > 5 * _PIXELS[-1]
    assert end_distance(fit_line(mask), np.array([start, end])) < 0.5


def test_rectangle_is_exact_and_ignores_protrusions():
    mask = drawn.rectangle(SHAPE, 60, 100, 180, 140)
    assert fit_rectangle(mask).tolist() == [[60, 100], [180, 140]]
    mask[120, 181:300] = True  # longer than half the rectangle, one pixel high
    mask[20:100, 70:73] = True
    assert fit_rectangle(mask).tolist() == [[60, 100], [180, 140]]


@pytest.mark.parametrize("angle", range(0, 180, 20))
def test_ellipses_come_back_within_half_a_pixel(angle):
    for major, minor in ((60, 40), (150, 118), (240, 190.5)):
        expected = Ellipse(158.3, 149.6, major, minor, angle)
        fitted = fit_ellipse(drawn.ellipse(SHAPE, expected))
        assert abs(fitted.major - major) < 0.5 and abs(fitted.minor - minor) < 0.5
        assert math.hypot(fitted.x - expected.x, fitted.y - expected.y) < 0.25


def test_circumference_has_no_bias_of_a_pixel():
    """A contour through pixel centres would be short by one pixel of diameter, 3.1 of circumference."""
    errors = []
    for step in range(30):
        expected = Ellipse(150 + step / 30, 151 - step / 41, 200 + step * 0.37, 160 + step * 0.21, step * 6)
        errors.append(fit_ellipse(drawn.ellipse(SHAPE, expected)).circumference - expected.circumference)
    assert abs(np.mean(errors)) < 0.2


@pytest.mark.parametrize("spacing", [(0.1, 0.25), (0.3, 0.2)])
def test_anisotropic_pixels_give_the_ellipse_in_millimetres(spacing):
    scale = np.array(spacing[::-1])
    expected = Ellipse(160 * scale[0], 150 * scale[1], 24, 18, 35)
    fitted = fit_ellipse(drawn.ellipse(SHAPE, expected, tuple(scale)), spacing).scaled(scale)
    assert fitted.major == pytest.approx(expected.major, abs=0.5 * max(spacing))
    assert fitted.minor == pytest.approx(expected.minor, abs=0.5 * max(spacing))
    assert fitted.angle_deg == pytest.approx(35, abs=1)


def test_scaling_turns_the_axes_as_it_must():
    stretched = Ellipse(10, 20, 8, 8, 0).scaled(np.array([1.0, 3.0]))
    assert (stretched.major, stretched.minor) == pytest.approx((24, 8))
    assert stretched.angle_deg == pytest.approx(90) and (stretched.x, stretched.y) == pytest.approx((10, 60))


def test_ellipse_with_a_hole_and_one_cut_by_the_image_border():
    expected = Ellipse(150, 150, 160, 120, 20)
    mask = drawn.ellipse(SHAPE, expected)
    mask[140:160, 140:160] = False
    assert fit_ellipse(mask).major == pytest.approx(160, abs=0.5)
    cut = Ellipse(150, 40, 160, 120, 0)  # reaches 20 pixels above the image
    assert fit_ellipse(drawn.ellipse(SHAPE, cut)).minor == pytest.approx(120, abs=1)


def test_the_ellipse_of_edge_points_almost_on_a_line_is_the_same_each_time():
    """OpenCV adds random noise to them; a strip along the image's border has them on one side only."""
    mask = np.zeros((120, 160), bool)
    mask[:, 159] = True
    assert len({fit_ellipse(mask) for _ in range(5)}) == 1


def test_regions_come_one_per_component_largest_first():
    mask = drawn.rectangle(SHAPE, 10, 10, 20, 20) | drawn.rectangle(SHAPE, 50, 50, 90, 80)
    mask[200, 200] = True
    first, second, dot = fit_regions(mask)
    assert {tuple(point) for point in first} == {(50, 50), (90, 50), (90, 80), (50, 80)}
    assert {tuple(point) for point in second} == {(10, 10), (20, 10), (20, 20), (10, 20)}
    assert len(dot) == 4 and dot.mean(axis=0).tolist() == [200, 200]


@pytest.mark.parametrize("kind", ["line", "rectangle", "ellipse", "region"])
def test_empty_and_one_pixel_masks(kind):
    mask = np.zeros(SHAPE, bool)
    assert fit_shapes(mask, "X", kind) == []
    mask[40, 60] = True
    shapes = fit_shapes(mask, "X", kind)
    if kind == "ellipse":
        assert shapes == []  # one pixel has no axes
    else:
        assert len(shapes) == 1 and shapes[0].points.mean(axis=0).tolist() == [60, 40]


@pytest.mark.parametrize("seed", range(12))
def test_a_ragged_line_never_leaves_its_own_pixels(seed):
    """A prediction with gaps, ends at the image's border, and stray pixels: nothing may send an end far away."""
    rng = np.random.default_rng(seed)
    mask = drawn.line(SHAPE, (150 + rng.uniform(-20, 20), -5), (150, 290))
    mask &= rng.random(SHAPE) < rng.uniform(0.2, 0.9)
    mask[rng.integers(60, 120) : rng.integers(140, 260)] = False
    (shape,) = fit_shapes(mask, "MID", "line")
    rows, columns = np.nonzero(mask)
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()])
    assert (shape.points >= low).all() and (shape.points <= high).all()


def test_a_region_one_pixel_wide_gets_no_area_it_does_not_have():
    mask = np.eye(60, dtype=bool)
    (polygon,) = fit_regions(mask)
    x, y = polygon.T
    assert abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2 < 2 * 60 * math.sqrt(2)


def test_steps_solve_their_equations_and_leave_parameters_without_influence() -> None:
    rng = np.random.default_rng(0)
    slopes = rng.normal(size=(40, 5))
    normal, right = slopes.T @ slopes, rng.normal(size=5)
    assert np.allclose(solve(normal, right), np.linalg.solve(normal, right), atol=1e-12)
    twice = np.column_stack([slopes[:, :4], slopes[:, 3]])  # the last two do the same
    fitted = solve(twice.T @ twice, twice.T @ np.ones(40))
    assert fitted[4] == 0 and np.allclose(fitted[:4], np.linalg.lstsq(slopes[:, :4], np.ones(40))[0])
    unfelt = np.diag([1.0, 2.0, 1e-18, 4.0, 5.0])
    assert np.allclose(solve(unfelt, np.array([1.0, 2.0, 0.0, 4.0, 5.0])), [1, 1, 0, 1, 1])
