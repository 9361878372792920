"""Check 7: squares of 20 pixels that are shifted by d, with oblong pixels: Dice, HD95 and NSD are those made by hand.

A square's surface is its 76 outer pixels; its contour has 19 elements a side, each as long as a pixel there, and 4
corners of half a pixel's diagonal. Shifted, both squares have the same distances to each other, by symmetry.
"""

import numpy as np
import pytest

from sonoseg.evaluation.metrics import Agreement, agreement

ROW_MM, COL_MM = 0.5, 0.25
CORNER_MM = 0.5 * (ROW_MM**2 + COL_MM**2) ** 0.5
CONTOUR_MM = 2 * 19 * (ROW_MM + COL_MM) + 4 * CORNER_MM


def square(top: int, left: int) -> np.ndarray:
    mask = np.zeros((64, 80), bool)
    mask[top : top + 20, left : left + 20] = True
    return mask


def shifted(down: int, right: int, tolerance: float = 1.0) -> Agreement:
    return agreement(square(10 + down, 10 + right), square(10, 10), (ROW_MM, COL_MM), tolerance)


@pytest.mark.parametrize("d", [0, 1, 2, 3, 5, 10, 19])
def test_dice_and_distance(d: int) -> None:
    right, down = shifted(0, d), shifted(d, 0)
    assert right.dice == down.dice == pytest.approx(2 * 20 * (20 - d) / (400 + 400))
    assert right.iou == down.iou == pytest.approx(20 * (20 - d) / (800 - 20 * (20 - d)))
    # The far side's 20 of 76 pixels lie d away, far more than 5 %.
    assert right.hd95 == right.hausdorff == pytest.approx(d * COL_MM)
    assert down.hd95 == down.hausdorff == pytest.approx(d * ROW_MM)


def test_a_shift_both_ways() -> None:
    # The corner that sticks out lies 2 rows and 4 columns from the other's corner.
    assert shifted(2, 4).hausdorff == pytest.approx(np.hypot(2 * ROW_MM, 4 * COL_MM))
    assert shifted(2, 4).dice == pytest.approx(2 * 18 * 16 / 800)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_worse_direction_counts(swapped: bool) -> None:
    """A line of 11 pixels and its first one: 0 from the pixel to the line, 0 to 10 columns from the line to it."""
    line, pixel = np.zeros((9, 20), bool), np.zeros((9, 20), bool)
    line[4, 3:14] = pixel[4, 3] = True
    found = agreement(*((line, pixel) if swapped else (pixel, line)), (ROW_MM, COL_MM), tolerance=0.5)
    assert found.hausdorff == pytest.approx(10 * COL_MM)
    assert found.hd95 == pytest.approx(9.5 * COL_MM)  # 95 % of the way from the first to the last of 0, 1, ..., 10
    assert found.dice == pytest.approx(2 / 12)
    # Contours: the pixel's four corners; the line's, with 10 elements of a column's width above and below. Near are
    # all of the pixel's, the line's two corners there, and the first three elements above and below: 0, 1, 2 columns.
    near, contours = 6 * CORNER_MM + 6 * COL_MM, 8 * CORNER_MM + 20 * COL_MM
    assert found.surface_dice == pytest.approx(near / contours)


def test_three_tenths_are_three_tenths() -> None:
    """3 * 0.1 is above 0.3 in binary; what lies 3 pixels of 0.1 mm away is within 0.3 mm all the same."""
    assert agreement(square(10, 13), square(10, 10), (0.1, 0.1), 0.3).surface_dice == 1


# 3 to the right: the far side and its corners lie 3 columns (0.75) off. Of the two long sides 17 elements each lie on
# the other's, one each 1 and 2 columns beyond. The corners within lie on the other's edges, the outer 2 elements of
# that side 1 row from them, the other 17 3 columns from the other's side.
@pytest.mark.parametrize(
    ("tolerance", "columns", "rows", "corners"),
    [(0, 34, 0, 2), (0.24, 34, 0, 2), (0.25, 36, 0, 2), (0.49, 36, 0, 2), (0.5, 38, 2, 2), (0.75, 38, 38, 4)],
)
def test_surface_dice_to_the_right(tolerance: float, columns: int, rows: int, corners: int) -> None:
    near = columns * COL_MM + rows * ROW_MM + corners * CORNER_MM
    assert shifted(0, 3, tolerance).surface_dice == pytest.approx(near / CONTOUR_MM)


# 3 down: 1.5 to the far side. As above, but the side within is now 1.5 mm from the other's, so that its outer 10
# elements are nearer to the other's ends, 1 to 5 columns away.
@pytest.mark.parametrize(
    ("tolerance", "columns", "rows", "corners"),
    [
        (0, 0, 34, 2),
        (0.25, 2, 34, 2),
        (0.5, 4, 36, 2),
        (0.75, 6, 36, 2),
        (1.0, 8, 38, 2),
        (1.25, 10, 38, 2),
        (1.49, 10, 38, 2),
        (1.5, 38, 38, 4),
    ],
)
def test_surface_dice_down(tolerance: float, columns: int, rows: int, corners: int) -> None:
    near = columns * COL_MM + rows * ROW_MM + corners * CORNER_MM
    assert shifted(3, 0, tolerance).surface_dice == pytest.approx(near / CONTOUR_MM)
