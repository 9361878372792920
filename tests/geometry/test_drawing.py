"""Drawn shapes, whose pixels can be counted by hand."""

import math

import numpy as np
import pytest

from sonoseg.geometry.shapes import Shape

SIZE = (40, 60)


def area(kind, points, thickness=None, size=SIZE):
    window, mask = Shape("X", kind, np.array(points, dtype=float)).draw(size, thickness)
    assert mask.shape == (window[0].stop - window[0].start, window[1].stop - window[1].start)
    full = np.zeros(size, dtype=bool)
    full[window] = mask
    return full


def test_rectangle_includes_both_corners():
    mask = area("rectangle", [[30, 12], [10, 5]])
    assert mask.sum() == 21 * 8
    assert mask[5, 10] and mask[12, 30] and not mask[4, 10] and not mask[12, 31]


def test_a_turned_rectangle_is_filled_between_its_four_corners():
    turned = [[20, 5], [32, 17], [26, 23], [14, 11]]  # by 45 degrees: rows of diagonals, whose ends are pixel centres
    mask = area("rectangle", turned)
    assert mask.sum() == 13 * 7 + 12 * 6
    assert all(mask[y, x] for x, y in turned) and not mask[5, 21] and not mask[23, 25]
    assert np.array_equal(mask, area("rectangle", turned[::-1])), "the direction of the corners does not matter"


def test_rectangle_between_pixel_centres():
    assert area("rectangle", [[1.5, 1.5], [4.2, 3.9]]).sum() == 3 * 2


@pytest.mark.parametrize(
    ("kind", "points", "expected"),
    [
        ("rectangle", [[-3, -2], [4, 1]], 5 * 2),
        ("rectangle", [[58, 38], [62, 41]], 2 * 2),
        ("region", [[-5, 3], [4, 3], [4, 6], [-5, 6]], 5 * 4),
        ("rectangle", [[70, 3], [80, 9]], 0),
        ("region", [[-20, -20], [-10, -20], [-10, -10]], 0),
        ("ellipse", [[70, 10], [80, 10], [75, 5], [75, 15]], 0),
    ],
)
def test_shapes_are_cut_off_at_the_image_border(kind, points, expected):
    assert area(kind, points).sum() == expected


def test_line_has_round_ends():
    # Radius 1 around (10..20, 5): 11 centres on the line, 11 above, 11 below, and one beyond each end.
    mask = area("line", [[10, 5], [20, 5]], 2)
    assert mask.sum() == 3 * 11 + 2
    assert mask[5, 9] and not mask[4, 9] and mask[4, 10]


def test_line_ten_pixels_thick():
    # 31 columns of 11 rows; each round end contains the centres with dx >= 1 and dx^2 + dy^2 <= 25.
    cap = sum(1 for dx in range(1, 6) for dy in range(-5, 6) if dx * dx + dy * dy <= 25)
    assert cap == 35
    assert area("line", [[15, 20], [45, 20]], 10).sum() == 31 * 11 + 2 * cap


def test_line_between_pixel_rows_has_its_thickness():
    columns = area("line", [[15, 20.5], [45, 20.5]], 10)[:, 30]
    assert columns.sum() == 10


def test_diagonal_line_is_symmetric():
    mask = area("line", [[10, 10], [20, 20]], 3)
    assert np.array_equal(mask[5:26, 5:26], mask[5:26, 5:26].T)
    assert mask[9, 9] and not mask[8, 8]  # sqrt(2) <= 1.5 < 2 sqrt(2)


def test_ellipse_contains_the_centres_inside():
    mask = area("ellipse", [[10, 20], [20, 20], [15, 17], [15, 23]])
    expected = sum(1 for x in range(60) for y in range(40) if ((x - 15) / 5) ** 2 + ((y - 20) / 3) ** 2 <= 1)
    assert mask.sum() == expected
    assert mask[20, 10] and mask[20, 20] and mask[17, 15] and mask[23, 15]


def test_rotated_ellipse_has_the_area_of_its_axes():
    angle = math.radians(30)
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    centre = np.array([200, 150])
    ends = [centre - 90 * along, centre + 90 * along, centre - 60 * across, centre + 60 * across]
    mask = area("ellipse", ends, size=(300, 400))
    assert mask.sum() == pytest.approx(math.pi * 90 * 60, rel=1e-3)
    tip = (centre + 88 * along).round().astype(int)
    assert mask[tip[1], tip[0]]


def test_region_includes_its_outline():
    square = [[5, 5], [9, 5], [9, 9], [5, 9]]
    assert area("region", square).sum() == 25
    assert area("region", square[::-1]).sum() == 25


def test_right_triangle():
    # Rows of 1, 2, ... 11 centres, the hypotenuse included.
    assert area("region", [[5, 5], [5, 15], [15, 15]]).sum() == sum(range(1, 12))


def test_apex_on_a_pixel_row_is_not_counted_twice():
    # A W: its inner corner lies on row 10, between two legs.
    mask = area("region", [[0, 0], [10, 20], [20, 10], [30, 20], [40, 0]])
    assert mask[10].sum() == 35 - 5 + 1
    assert mask[11].sum() == 2 * 14  # 5.5 to 19 and 21 to 34.5
    assert mask[11, 19] and not mask[11, 20]


def test_region_with_a_crossing_is_filled_by_even_odd():
    # A five-pointed star drawn in one line: its middle is crossed twice, so it stays empty.
    star = [(30 + 18 * math.sin(4 * math.pi * k / 5), 20 - 18 * math.cos(4 * math.pi * k / 5)) for k in range(5)]
    mask = area("region", star)
    assert not mask[20, 30] and mask[6, 30]
