"""Metrics against values worked out by hand, and against other libraries where they mean the same."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sonoseg.evaluation.metrics import agreement, batch_dice, surface_points


def square(top: int, left: int, side: int = 20, size: tuple[int, int] = (64, 80)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return mask


def disc(radius: float, x: float = 100, y: float = 100, size: tuple[int, int] = (201, 201)) -> np.ndarray:
    rows, columns = np.indices(size)
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 <= radius**2)


@pytest.mark.parametrize("shift", [0, 3, 10])
def test_shifted_square(shift: int) -> None:
    one = agreement(square(10, 10 + shift), square(10, 10), None)
    common = 20 * (20 - shift)
    assert one.dice == pytest.approx(2 * common / 800)
    assert one.iou == pytest.approx(common / (800 - common))
    assert one.pixel_accuracy == pytest.approx(1 - 2 * 20 * shift / (64 * 80))
    # 20 of the 76 surface pixels lie at the full shift, more than 5 %
    assert one.hd95 == one.hausdorff == pytest.approx(shift)


@pytest.mark.parametrize(("tolerance", "near"), [(0.9, 34), (1, 38), (2, 42), (2.9, 42), (3, 76)])
def test_surface_dice_of_a_shifted_square(tolerance: float, near: int) -> None:
    # Moved 3 to the right, each square has 76 surface pixels. Its far side (20) lies 3 from the other's. Of the side
    # inside the other, 14 lie 3 from its side, two at either end 1 and 2 from its upper or lower side, the corners 0.
    # Of the upper and lower sides, 16 each coincide, and one each lies 1 and 2 beyond.
    assert agreement(square(10, 13), square(10, 10), None, tolerance).surface_dice == pytest.approx(near / 76)


def test_spacing_scales_distances_each_way_on_its_own() -> None:
    sideways = agreement(square(10, 14), square(10, 10), (0.5, 0.25), tolerance=1.0)
    assert sideways.hd95 == sideways.hausdorff == pytest.approx(4 * 0.25)
    assert sideways.surface_dice == 1
    down = agreement(square(14, 10), square(10, 10), (0.5, 0.25), tolerance=1.0)
    assert down.hd95 == down.hausdorff == pytest.approx(4 * 0.5)
    assert down.surface_dice < 1


def test_a_tolerance_holds_what_lies_exactly_at_it() -> None:
    assert 3 * 0.1 > 0.3  # in binary
    assert agreement(square(10, 13), square(10, 10), (0.1, 0.1), tolerance=0.3).surface_dice == 1


def test_discs_of_one_centre() -> None:
    # Circles of radius 40 and 50 are 10 apart everywhere; on pixels to within a pixel's diagonal.
    one = agreement(disc(40), disc(50), (0.2, 0.2), tolerance=2.3)
    assert one.hausdorff == pytest.approx(2, abs=0.3) and one.hd95 == pytest.approx(2, abs=0.3)
    assert one.surface_dice == 1 and agreement(disc(40), disc(50), (0.2, 0.2), tolerance=1.7).surface_dice == 0
    assert one.dice == pytest.approx(2 * 1600 / (1600 + 2500), abs=0.002)


def test_hausdorff_sees_one_stray_pixel_that_hd95_does_not() -> None:
    stray = square(10, 10)
    stray[60, 10] = True
    one = agreement(stray, square(10, 10), None)
    assert one.hausdorff == 60 - 29 and one.hd95 == 0
    assert one.surface_dice == pytest.approx((76 + 76) / (77 + 76))


def test_one_pixel() -> None:
    one = agreement(square(5, 9, side=1), square(2, 5, side=1), None, tolerance=5)
    assert (one.dice, one.iou, one.surface_dice) == (0, 0, 1)
    assert one.hd95 == one.hausdorff == pytest.approx(5)
    assert agreement(square(5, 9, side=1), square(2, 5, side=1), None, tolerance=4.9).surface_dice == 0


def test_empty_masks() -> None:
    nothing, something = np.zeros((30, 40), bool), square(3, 3, size=(30, 40))
    both = agreement(nothing, nothing, None)
    assert (both.dice, both.iou, both.surface_dice, both.pixel_accuracy) == (1, 1, 1, 1)
    assert (both.hd95, both.hausdorff) == (0, 0)
    assert both.reference_empty and not both.missed and not both.false_alarm
    missed = agreement(nothing, something, None)
    assert (missed.dice, missed.iou, missed.surface_dice) == (0, 0, 0) and missed.missed
    assert (missed.hd95, missed.hausdorff) == (50, 50) and missed.pixel_accuracy == pytest.approx(2 / 3)
    alarm = agreement(something, nothing, (0.1, 0.1))
    assert (alarm.dice, alarm.iou, alarm.surface_dice) == (0, 0, 0) and alarm.false_alarm
    assert alarm.hd95 == alarm.hausdorff == pytest.approx(5)


def test_a_full_image_has_its_frame_as_surface() -> None:
    full = np.ones((20, 20), bool)
    assert len(surface_points(full)) == 76
    one = agreement(full, full, None)
    assert (one.dice, one.surface_dice, one.hausdorff) == (1, 1, 0)


MASKS = arrays(bool, (12, 15))
SPACINGS = st.one_of(st.none(), st.tuples(st.floats(0.05, 2), st.floats(0.05, 2)))


@settings(max_examples=80, deadline=None)
@given(MASKS, MASKS, SPACINGS, st.floats(0, 5), st.floats(0, 5))
def test_symmetric_bounded_and_monotone(
    one: np.ndarray, other: np.ndarray, spacing: tuple[float, float] | None, first: float, second: float
) -> None:
    narrow, wide = sorted((first, second))
    found, turned = agreement(one, other, spacing, narrow), agreement(other, one, spacing, narrow)
    for name in ("dice", "iou", "surface_dice", "pixel_accuracy"):
        assert 0 <= getattr(found, name) <= 1 and getattr(found, name) == pytest.approx(getattr(turned, name))
    row_mm, col_mm = spacing or (1.0, 1.0)
    assert 0 <= found.hd95 <= found.hausdorff <= math.hypot(12 * row_mm, 15 * col_mm) * (1 + 1e-12)
    assert (found.hd95, found.hausdorff) == pytest.approx((turned.hd95, turned.hausdorff))
    assert (found.missed, found.false_alarm) == (other.any() and not one.any(), one.any() and not other.any())
    assert found.iou == pytest.approx(found.dice / (2 - found.dice))
    assert agreement(one, other, spacing, wide).surface_dice >= found.surface_dice
    same = agreement(one, one, spacing, 0)
    assert (same.dice, same.iou, same.surface_dice, same.hausdorff, same.pixel_accuracy) == (1, 1, 1, 0, 1)


@pytest.mark.parametrize("seed", range(5))
def test_other_libraries_agree_on_masks_that_are_not_empty(seed: int) -> None:
    """They differ on empty masks (MONAI: NaN, left out of averages), and scikit-image's distance is of whole point
    sets, so it is given the surfaces."""
    from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou, compute_surface_dice
    from scipy.ndimage import gaussian_filter
    from skimage.metrics import hausdorff_distance

    draw = np.random.default_rng(seed)
    ours, theirs = (gaussian_filter(draw.normal(size=(50, 60)), 3) > 0.1 for _ in range(2))
    spacing, tolerance = (0.7, 0.4), 1.1
    one = agreement(ours, theirs, spacing, tolerance)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (ours, theirs)]
    assert float(compute_dice(*tensors, include_background=True)) == pytest.approx(one.dice)
    assert float(compute_iou(*tensors, include_background=True)) == pytest.approx(one.iou)
    for percentile, value in ((None, one.hausdorff), (95, one.hd95)):
        theirs_say = compute_hausdorff_distance(
            *tensors, include_background=True, percentile=percentile, spacing=list(spacing)
        )
        assert float(theirs_say) == pytest.approx(value, rel=1e-5)
    surface = compute_surface_dice(
        *tensors, class_thresholds=[tolerance], include_background=True, spacing=list(spacing)
    )
    assert float(surface) == pytest.approx(one.surface_dice, rel=1e-5)

    outlines = []
    for mask in (ours, theirs):
        outline = np.zeros_like(mask)
        columns, rows = surface_points(mask).astype(int).T
        outline[rows, columns] = True
        outlines.append(outline)
    assert hausdorff_distance(*outlines) == pytest.approx(agreement(ours, theirs, None).hausdorff)


def test_batch_dice_agrees_with_the_plain_one() -> None:
    torch.manual_seed(0)
    predicted = torch.randint(0, 3, (4, 24, 32))
    labels = torch.randint(0, 3, (4, 1, 24, 32))
    labels[1][labels[1] == 2] = 0
    predicted[1][predicted[1] == 2] = 1  # absent on both sides
    dice, iou = batch_dice(predicted, labels, 2)
    for case in range(4):
        for index in (1, 2):
            one = agreement(predicted[case].numpy() == index, labels[case, 0].numpy() == index, None)
            assert float(dice[case, index - 1]) == pytest.approx(one.dice)
            assert float(iou[case, index - 1]) == pytest.approx(one.iou)
    assert float(dice[1, 1]) == 1
