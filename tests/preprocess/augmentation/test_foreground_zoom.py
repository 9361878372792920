"""Foreground-centred sampling: which pixel is chosen, and where the copy shows it."""

import numpy as np
import pytest

from sonoseg.preprocess.augmentation import AugmentationParameters, apply, copy_generator, draw_parameters
from sonoseg.preprocess.augmentation.foreground_zoom import ForegroundZoomStep
from sonoseg.preprocess.augmentation.geometric import GeometricParameters, sampling_map
from sonoseg.schema.images import Augmentation, ForegroundZoom

IDENTITY = sampling_map(GeometricParameters(), (100, 120))


def zoom(factor: float = 2.0, structure: float = 0.0, pixel: float = 0.0) -> ForegroundZoomStep:
    return ForegroundZoomStep(factor, structure, pixel, max_area_fraction=0.01)


def squares(*corners: tuple[int, int], side: int = 5) -> np.ndarray:
    """Return a mask of 100 x 120 pixels with a square per (x, y), class indices from 1."""
    mask = np.zeros((100, 120), np.uint8)
    for index, (x, y) in enumerate(corners, start=1):
        mask[y : y + side, x : x + side] = index
    return mask


def test_the_pixel_is_chosen_among_structures_that_are_small_enough() -> None:
    mask = squares((10, 20), (30, 40), (60, 70))
    mask[:40, 60:] = 2  # now 2425 of 12000 pixels
    assert zoom().choose_pixel(mask) == (10, 20)
    assert zoom(pixel=0.999).choose_pixel(mask) == (14, 24)
    assert zoom(structure=0.49).choose_pixel(mask) == (10, 20)
    assert zoom(structure=0.5).choose_pixel(mask) == (60, 70)
    assert zoom(pixel=0.5).choose_pixel(mask) == (12, 22), "the 13th of 25 pixels"


@pytest.mark.parametrize("side", [0, 11], ids=["no structure", "121 of 12000 pixels"])
def test_without_a_small_structure_nothing_changes(side: int) -> None:
    mask = squares((50, 50), side=side)
    assert zoom().choose_pixel(mask) is None
    image = np.random.default_rng(0).integers(0, 256, mask.shape, np.uint8)
    same, same_mask = apply(AugmentationParameters(foreground_zoom=zoom()), image, mask)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(same_mask, mask)


def test_the_chosen_pixel_stays_and_distances_from_it_grow() -> None:
    mask = squares((90, 20), (86, 30), side=1)  # one pixel each, 4 to the left and 10 below
    across, down = zoom().apply(*IDENTITY, mask)
    assert (across[20, 90], down[20, 90]) == (90, 20)
    assert (across[40, 82], down[40, 82]) == (86, 30), "twice as far from the chosen pixel"
    assert np.diff(across, axis=1) == pytest.approx(0.5) and np.diff(down, axis=0) == pytest.approx(0.5)
    assert across.dtype == down.dtype == np.float32 and across.min() >= 0 and down.max() <= 99


def test_factor_one_changes_nothing() -> None:
    for part, same in zip(zoom(factor=1.0).apply(*IDENTITY, squares((33, 44))), IDENTITY, strict=True):
        np.testing.assert_array_equal(part, same)


def test_a_flipped_copy_shows_the_pixel_at_the_mirrored_position() -> None:
    mask = squares((90, 20), side=1)
    across, down = zoom().apply(*sampling_map(GeometricParameters(flip_horizontal=True), mask.shape), mask)
    assert (across[20, 29], down[20, 29]) == (90, 20)


def test_a_pixel_that_a_shift_moves_out_is_shown_at_the_border() -> None:
    mask = squares((118, 50), side=1)
    moved = sampling_map(GeometricParameters(shift=(0.25, 0)), mask.shape)  # 30 pixels to the right
    across, down = zoom().apply(*moved, mask)
    assert (across[50, 119], down[50, 119]) == (118, 50)


def test_every_copy_shows_the_structure() -> None:
    settings = Augmentation.model_validate(
        {
            "flip_horizontal": 0.5,
            "flip_vertical": 0.5,
            "shift_scale_rotate": {"probability": 1, "shift": 0.4, "scale": 0.3, "rotate_deg": 90},
            "elastic": {"probability": 0.5, "amplitude": 0.02},
            "grid_distortion": {"probability": 0.5},
            "foreground_zoom": {"probability": 1},
        }
    )
    mask = squares((2, 90), side=3)
    for copy in range(100):
        drawn = draw_parameters(settings, copy_generator("a", 0, copy))
        assert apply(drawn, mask, mask)[1].any(), drawn


def test_the_numbers_are_drawn_from_their_ranges() -> None:
    settings = ForegroundZoom(probability=1, factor=(1.5, 2.0), max_area_fraction=0.05)
    drawn = [ForegroundZoomStep.draw(settings, np.random.default_rng(seed)) for seed in range(200)]
    factors = [one.factor for one in drawn]
    assert 1.5 <= min(factors) < 1.52 and 1.98 < max(factors) <= 2.0
    assert all(0 <= one.structure < 1 and 0 <= one.pixel < 1 and one.max_area_fraction == 0.05 for one in drawn)
