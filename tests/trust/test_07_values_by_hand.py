"""Check 7: squares of 20 pixels that are shifted by d, with oblong pixels: Dice, HD95 and NSD are those made by hand.

A square's surface is its 76 outer pixels. Shifted, both squares have the same distances to each other, by symmetry.
"""

import numpy as np
import pytest

from sonoseg.evaluation.metrics import Agreement, agreement

ROW_MM, COL_MM = 0.5, 0.25


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
    assert found.dice == pytest.approx(2 / 12) and found.surface_dice == pytest.approx((1 + 3) / 12)


def test_three_tenths_are_three_tenths() -> None:
    """3 * 0.1 is above 0.3 in binary; what lies 3 pixels of 0.1 mm away is within 0.3 mm all the same."""
    assert agreement(square(10, 13), square(10, 10), (0.1, 0.1), 0.3).surface_dice == 1


# 3 to the right: distances 0 (34 pixels), 0.25 (2), 0.5 (4) and 0.75 (36). The far side's 20 lie 3 columns off. Of the
# 18 of the side within, the outer 2 lie 1 row from the other's edge, 16 lie 3 columns off. Of the two long sides, 16
# pixels each lie on the other's, then one each 1 and 2 columns beyond. The 2 corners within lie on the other's edges.
@pytest.mark.parametrize(
    ("tolerance", "near"), [(0, 34), (0.24, 34), (0.25, 36), (0.49, 36), (0.5, 40), (0.74, 40), (0.75, 76)]
)
def test_surface_dice_to_the_right(tolerance: float, near: int) -> None:
    assert shifted(0, 3, tolerance).surface_dice == pytest.approx(near / 76)


# 3 down: 0 (34 pixels), 0.25 (2), 0.5 (4), 0.75 (2), 1.0 (4), 1.25 (2) and 1.5 (28). As above, but the side within is
# now 1.5 mm from the other's, so that its outer 10 pixels are nearer to the other's ends, 1 to 5 columns away.
@pytest.mark.parametrize(
    ("tolerance", "near"), [(0, 34), (0.25, 36), (0.5, 40), (0.75, 42), (1.0, 46), (1.25, 48), (1.49, 48), (1.5, 76)]
)
def test_surface_dice_down(tolerance: float, near: int) -> None:
    assert shifted(3, 0, tolerance).surface_dice == pytest.approx(near / 76)
