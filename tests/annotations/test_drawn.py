"""Shapes of annotation tools: rotated boxes, ellipses, polylines, bitmaps, and what is refused."""

import numpy as np
import pytest

from sonoseg.annotations import drawn
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.prepare.rasterize import label_map
from sonoseg.schema.annotations import Structure

LINE = Structure(name="L", shape="line", color="#ff0000", thickness_px=1)
AREA = Structure(name="R", shape="region", color="#00ff00")


def test_a_box_covers_the_pixels_between_its_corners() -> None:
    labels = label_map([drawn.box(AREA, (12, 8), (3, 5))], (20, 20), [AREA])
    assert labels.sum() == 10 * 4 and labels[5:9, 3:13].all()


def test_a_turned_box_is_the_box_turned_about_its_centre() -> None:
    upright = label_map([drawn.rotated_box(AREA, (10, 9), (8, 4), 0)], (20, 20), [AREA])
    turned = label_map([drawn.rotated_box(AREA, (10, 9), (4, 8), 90)], (20, 20), [AREA])
    assert upright.sum() == 9 * 5 and np.array_equal(upright, turned)


@pytest.mark.parametrize("angle", [0, 30, 90, -90, 270])
def test_a_box_without_a_side_has_no_area(angle: float) -> None:
    shape = drawn.rotated_box(AREA, (10, 9), (0, 8), angle)
    assert "no area" in (SHAPE_KINDS[shape.kind].problem(shape.points) or "")


def test_four_corners_that_make_no_rectangle_are_a_polygon() -> None:
    wedge = [[20, 100], [620, 100], [620, 100.5], [20, 106]]
    assert drawn.four_corners(AREA, wedge).kind == "region"
    assert drawn.four_corners(AREA, [[20, 5], [44, 17], [39, 27], [15, 15]]).kind == "rectangle"


def test_angles_turn_from_x_towards_y() -> None:
    box = drawn.rotated_box(AREA, (0, 0), (2, 0.0002), 30).points
    end = box[np.argmax(box[:, 0])]
    assert end == pytest.approx((np.cos(np.pi / 6), np.sin(np.pi / 6)), abs=1e-3)
    ellipse = drawn.ellipse(AREA, (5, 5), (3, 1), 30).points
    assert ellipse[1] == pytest.approx((5 + 3 * np.cos(np.pi / 6), 5 + 3 * np.sin(np.pi / 6)))
    assert ellipse[3] == pytest.approx((5 - np.sin(np.pi / 6), 5 + np.cos(np.pi / 6)))


def test_a_polyline_is_its_segments() -> None:
    shapes = drawn.polyline(LINE, [[0, 0], [5, 0], [5, 7]])
    assert [shape.points.tolist() for shape in shapes] == [[[0, 0], [5, 0]], [[5, 0], [5, 7]]]
    labels = label_map(shapes, (8, 8), [LINE])
    assert labels.sum() == 6 + 7


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda: drawn.polyline(AREA, [[0, 0], [1, 1]]), "an open line, and the structure is a region"),
        (lambda: drawn.polyline(LINE, [[0, 0]]), "1 points"),
        (lambda: drawn.polyline(LINE, None), "no points"),
        (lambda: drawn.polyline(LINE, [[0, 0], [float("nan"), 1]]), "finite"),
        (lambda: drawn.polygon(AREA, [[0, 0], [1, 1]]), "2 points"),
        (lambda: drawn.polygon(AREA, [[0, 0]] * 10_001), "10001 points; at most 10000"),
        (lambda: drawn.polyline(LINE, [[0, 0]] * 10_001), "at most 10000"),
        (lambda: drawn.ellipse(AREA, (1, 1), (0, 2)), "not above 0"),
        (lambda: drawn.ellipse(AREA, (1, 1), (float("nan"), 2)), "finite|not above 0"),
        (lambda: drawn.box(AREA, (1, float("inf")), (0, 2)), "finite"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        draw()


def test_a_bitmap_keeps_its_pixels_and_is_cut_at_the_border() -> None:
    mask = np.random.default_rng(0).random((9, 13)) > 0.5
    bitmap = Bitmap.of("R", mask, left=-3, top=15)
    labels = label_map([bitmap], (20, 20), [AREA])
    assert np.array_equal(labels[15:20, :10], mask[:5, 3:]) and labels.sum() == mask[:5, 3:].sum()
    assert not label_map([Bitmap.of("R", mask, 30, 30)], (20, 20), [AREA]).any()
    assert Bitmap.of("R", np.zeros((4, 4), bool)).size == (0, 0)
