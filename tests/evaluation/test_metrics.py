"""Metrics against values worked out by hand, and against other libraries where they mean the same."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sonoseg.evaluation.metrics import agreement, batch_dice, contour, surface_dice, surface_points


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


CORNER = 0.5 * math.sqrt(2)
"""Length of the contour at a corner of square pixels: half their diagonal."""


@pytest.mark.parametrize(
    ("tolerance", "near"),
    [(0.9, 34 + 2 * CORNER), (1, 38 + 2 * CORNER), (2, 42 + 2 * CORNER), (2.9, 42 + 2 * CORNER), (3, 76 + 4 * CORNER)],
)
def test_surface_dice_of_a_shifted_square(tolerance: float, near: float) -> None:
    # Each contour has 4 corners and 19 elements of length 1 a side. Moved 3 to the right, the far side and its corners
    # lie 3 from the other's. Of the side inside the other, the corners lie 0, two elements at either end 1 and 2 from
    # its upper or lower side, 15 lie 3. Of the upper and lower sides 17 coincide, and one lies 1 and one 2 beyond.
    found = agreement(square(10, 13), square(10, 10), None, tolerance).surface_dice
    assert found == pytest.approx(near / (76 + 4 * CORNER))


@pytest.mark.parametrize("spacing", [(0.25, 0.25), (1.0, 0.25), (0.25, 1.0)])
def test_surface_dice_weighs_millimetres_and_not_pixels(spacing: tuple[float, float]) -> None:
    # A square of 20 mm, moved 4 mm to the right: of 80 mm, 2 x 16 mm of the upper and lower sides coincide, and at
    # either end of both, and of the side inside, 0.5 mm lie within 0.5 mm. Counted by pixels, the two oblong spacings
    # gave 0.67 and 0.18, and moving it down instead of right would have exchanged the two.
    row_mm, col_mm = spacing
    side, shift = (round(20 / row_mm), round(20 / col_mm)), round(4 / col_mm)
    one, other = (np.zeros((side[0] + 10, side[1] + shift + 10), bool) for _ in range(2))
    one[5 : 5 + side[0], 5 : 5 + side[1]] = True
    other[5 : 5 + side[0], 5 + shift : 5 + shift + side[1]] = True
    expected = (2 * 16 + 2 * 0.5 + 2 * 0.5) / 80
    assert surface_dice(one, other, spacing, 0.5) == pytest.approx(expected, abs=0.015)
    assert surface_dice(one.T, other.T, (col_mm, row_mm), 0.5) == pytest.approx(surface_dice(one, other, spacing, 0.5))


@pytest.mark.parametrize(("spacing", "excess"), [((1.0, 1.0), 0.055), ((1.0, 0.25), 0.151)])
def test_the_contour_of_a_circle(spacing: tuple[float, float], excess: float) -> None:
    # Between a circle's points the contour takes diagonals of pixels and, for the rest, their edges. It is longer than
    # the circle by what this is, on average over all directions.
    row_mm, col_mm = spacing
    turn = np.linspace(0, 2 * np.pi, 3600, endpoint=False)
    steps_x, steps_y = abs(np.cos(turn)) / col_mm, abs(np.sin(turn)) / row_mm
    diagonals = np.minimum(steps_x, steps_y)
    chain = diagonals * math.hypot(*spacing) + (steps_x - diagonals) * col_mm + (steps_y - diagonals) * row_mm
    assert chain.mean() == pytest.approx(1 + excess, abs=0.001)
    rows, columns = np.indices((201, round(201 / col_mm)))
    circle = (columns * col_mm - 100) ** 2 + (rows * row_mm - 100) ** 2 <= 80**2
    assert contour(circle, spacing)[1].sum() == pytest.approx(2 * math.pi * 80 * (1 + excess), rel=0.01)
    within = (columns * col_mm - 100) ** 2 + (rows * row_mm - 100) ** 2 <= 70**2
    assert surface_dice(circle, within, spacing, 11.5) == 1 and surface_dice(circle, within, spacing, 8.5) == 0


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ([], 0),
        ([(1, 1)], 4 * 1.25),  # four corners
        ([(1, 1), (2, 2)], 6 * 1.25 + 2 * 1.25),  # where the two meet, a diagonal each way
        ([(1, 1), (1, 2)], 4 * 1.25 + 2 * 2.0),  # side by side: the middle of their upper and lower edges is a width
        ([(1, 1), (2, 1)], 4 * 1.25 + 2 * 1.5),
        ([(0, 0)], 4 * 1.25),  # the image's border is one of the mask
    ],
)
def test_the_contour_of_a_few_pixels(pixels: list[tuple[int, int]], expected: float) -> None:
    mask = np.zeros((4, 4), bool)
    for pixel in pixels:
        mask[pixel] = True
    points, lengths = contour(mask, (1.5, 2.0))  # a pixel's diagonal is 2.5
    assert lengths.sum() == pytest.approx(expected) and len(points) == len(lengths)


def test_a_mask_at_the_image_border_has_a_contour_there() -> None:
    inside, border = square(10, 10, 20, (40, 40)), square(0, 0, 20, (40, 40))
    assert contour(border, (0.5, 0.25))[1].sum() == pytest.approx(contour(inside, (0.5, 0.25))[1].sum())
    points, lengths = contour(np.ones((20, 30), bool), None)
    assert points.min(axis=0).tolist() == [0, 0] and points.max(axis=0).tolist() == [30, 20]
    assert lengths.sum() == pytest.approx(2 * 19 + 2 * 29 + 4 * CORNER)
    moved = surface_dice(square(0, 3, 20, (40, 40)), border, None, 0.9)
    assert moved == pytest.approx(agreement(square(10, 13), square(10, 10), None, 0.9).surface_dice)


@pytest.mark.parametrize(("one", "other", "expected"), [(0, 0, 1.0), (1, 0, 0.0), (0, 1, 0.0), (1, 1, 1.0)])
def test_surface_dice_of_empty_masks(one: int, other: int, expected: float) -> None:
    masks = (np.full((5, 6), bool(value)) for value in (one, other))
    assert surface_dice(*masks, (1.0, 0.25), 1.0) == expected


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
    square_mm = 76 + 4 * CORNER
    assert one.surface_dice == pytest.approx(2 * square_mm / (2 * square_mm + 4 * CORNER))


def test_one_pixel() -> None:
    one = agreement(square(5, 9, side=1), square(2, 5, side=1), None, tolerance=5)
    assert (one.dice, one.iou, one.surface_dice) == (0, 0, 1)
    assert one.hd95 == one.hausdorff == pytest.approx(5)
    # Of four corners each, the outermost lies 3 and 4 pixels from the nearest of the other, the innermost 2 and 3.
    for tolerance, share in ((4.9, 0.75), (3.7, 0.25), (3.6, 0)):
        found = agreement(square(5, 9, side=1), square(2, 5, side=1), None, tolerance=tolerance).surface_dice
        assert found == pytest.approx(share)


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
    for pixel in (spacing, (1.0, 1.0), (1.0, 0.25)):
        surface = compute_surface_dice(
            *tensors,
            class_thresholds=[tolerance],
            include_background=True,
            spacing=list(pixel),
            use_subvoxels=True,
        )
        assert float(surface) == pytest.approx(surface_dice(ours, theirs, pixel, tolerance), rel=1e-5)

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
