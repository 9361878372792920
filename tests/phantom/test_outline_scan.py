"""Outlines and arrays: distances, drawn lines and beams with known answers."""

import numpy as np
import pytest

from sonoseg.phantom.canvas import ArrayCanvas
from sonoseg.phantom.outline import Outline, draw_waves
from sonoseg.phantom.scan import CurvedArray, LinearArray

SECTOR = CurvedArray((300, 400), 0.2, axis_mm=40.0, face_mm=2.0, radius_mm=30.0, half_deg=30.0, depth_mm=55.0)


def test_distance_to_a_circle_is_exact():
    circle = Outline(10.0, 5.0, 4.0, 4.0, angle_deg=30.0)
    x, z = np.array([10.0, 13.0, 10.0, 16.0]), np.array([8.0, 5.0, 9.0, 5.0])
    np.testing.assert_allclose(circle.inside_mm(x, z), [1.0, 1.0, 0.0, -2.0], atol=1e-9)


def test_a_turned_ellipse_lies_clockwise():
    ellipse = Outline(0.0, 0.0, 10.0, 4.0, angle_deg=90.0)
    assert ellipse.inside_mm(np.array(0.0), np.array(10.0)) == pytest.approx(0.0, abs=1e-9)
    assert ellipse.reach() == pytest.approx((4.0, 10.0))
    ellipse = Outline(0.0, 0.0, 10.0, 1.0, angle_deg=20.0)
    x, z = ellipse.to_image(np.array(10.0), np.array(0.0))
    assert x > 0 and z > 0 and ellipse.inside_mm(x, z) == pytest.approx(0.0, abs=1e-9)


def test_mask_has_the_area_of_the_ellipse():
    mask = Outline(20.0, 15.0, 10.0, 6.0, 25.0).mask((300, 400), 0.1)
    assert set(np.unique(mask)) == {0, 255} and mask.dtype == np.uint8
    assert (mask > 0).sum() * 0.01 == pytest.approx(np.pi * 60.0, rel=0.005)


def test_a_drawn_line_has_its_width_and_its_middle_on_the_outline():
    circle = Outline(20.03, 15.06, 10.0, 10.0)  # off the pixels' grid, whose symmetry would bias the count
    line = circle.outline_mask((300, 400), 0.1, width_px=3.0)
    assert (line > 0).sum() == pytest.approx(2 * np.pi * 100.0 * 3.0, rel=0.02)
    rows, columns = np.nonzero(line)
    assert np.hypot(columns - 200.3, rows - 150.6).mean() == pytest.approx(100.0, abs=0.05)


def test_waves_move_the_border_by_their_height():
    outline = Outline(0.0, 0.0, 10.0, 10.0, waves=((3, 0.1, 0.0),))
    assert outline.inside_mm(np.array(11.0), np.array(0.0)) == pytest.approx(0.0, abs=1e-9)
    assert outline.inside_mm(np.array(-9.0), np.array(0.0)) == pytest.approx(0.0, abs=1e-9)
    assert [order for order, _, _ in draw_waves(range(2, 6), 0.1, np.random.default_rng(0))] == [2, 3, 4, 5]


def test_beam_coordinates_are_inverted():
    x, z = SECTOR.grid()
    assert x.shape == SECTOR.beams
    lateral, depth = SECTOR.to_beam(x.astype(float), z.astype(float))
    columns, rows = np.meshgrid(np.arange(x.shape[1]) * 0.2, np.arange(x.shape[0]) * 0.2)
    assert np.abs(lateral - columns).max() < 0.01 and np.abs(depth - rows).max() < 0.01


def test_scan_conversion_puts_a_mark_where_it_belongs():
    image = np.zeros(SECTOR.beams, np.uint8)
    x, z = SECTOR.grid()
    image[np.hypot(x - 52.0, z - 33.0) < 2.0] = 200
    rows, columns = np.nonzero(SECTOR.picture(image))
    assert columns.mean() * 0.2 == pytest.approx(52.0, abs=0.2) and rows.mean() * 0.2 == pytest.approx(33.0, abs=0.2)


def test_outside_the_sector_the_picture_is_black():
    picture = SECTOR.picture(np.full(SECTOR.beams, 90, np.uint8))
    assert picture.shape == (300, 400)
    assert picture[150, 200] == 90 and picture[60, 5] == 0 and picture[0, 200] == 0 and picture[299, 0] == 0


def test_rim_follows_both_sides_and_cover_hides_them():
    array = LinearArray((200, 300), 0.2)
    canvas = ArrayCanvas(array, np.random.default_rng(0), -40.0)
    inside = np.asarray(Outline(30.0, 20.0, 10.0, 10.0).inside_mm(canvas.x, canvas.z))
    canvas.rim(inside, -10.0, -20.0)
    near, far = canvas.surfaces
    assert near.depth_mm.min() == pytest.approx(10.0, abs=0.1) and far.depth_mm.max() == pytest.approx(30.0, abs=0.1)
    middle = near.depth_mm.size // 2
    assert near.strength_db[middle] - far.strength_db[middle] == pytest.approx(10.0, abs=12.0)
    canvas.cover(15.0 - canvas.z + np.zeros_like(canvas.x))
    assert canvas.surfaces[0].strength_db[middle] < -100.0 < canvas.surfaces[1].strength_db[middle]


def test_rim_of_a_region_that_the_field_cuts_shows_no_echo_at_its_edge():
    canvas = ArrayCanvas(LinearArray((200, 300), 0.2), np.random.default_rng(0), -40.0)
    canvas.rim(np.asarray(Outline(30.0, 0.0, 10.0, 10.0).inside_mm(canvas.x, canvas.z)), -10.0, -10.0)
    assert canvas.surfaces[0].strength_db.max() < -100.0 < canvas.surfaces[1].strength_db.max()
    canvas.rim(np.full(canvas.size, -1.0), -10.0, -10.0)
    assert len(canvas.surfaces) == 2
