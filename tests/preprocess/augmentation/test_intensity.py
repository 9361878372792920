"""Intensity steps: known answers, and what holds for all of them."""

import time

import numpy as np
import pytest

from sonoseg.preprocess.augmentation import AugmentationParameters, apply
from sonoseg.preprocess.augmentation.intensity import STEPS, IntensityStep
from sonoseg.preprocess.augmentation.intensity.blur import BlurStep
from sonoseg.preprocess.augmentation.intensity.contrast import ContrastStep
from sonoseg.preprocess.augmentation.intensity.depth_gain import DepthGainStep
from sonoseg.preprocess.augmentation.intensity.gain import GainStep
from sonoseg.preprocess.augmentation.intensity.gamma import GammaStep
from sonoseg.preprocess.augmentation.intensity.low_resolution import LowResolutionStep
from sonoseg.preprocess.augmentation.intensity.noise import NoiseStep
from sonoseg.preprocess.augmentation.intensity.shadow import ShadowStep
from sonoseg.preprocess.augmentation.intensity.speckle import SpeckleStep
from sonoseg.schema.images import Augmentation

NEUTRAL: dict[str, IntensityStep] = {
    "speckle": SpeckleStep(seed=1, strength=0, size_px=1),
    "shadow": ShadowStep(x=0.5, depth=0.2, width=0.2, strength=0, divergence=1),
    "depth_gain": DepthGainStep(gains=(1, 1, 1, 1)),
    "blur": BlurStep(sigma_px=0.01),
    "low_resolution": LowResolutionStep(factor=1),
    "noise": NoiseStep(seed=1, sd=0),
    "gain": GainStep(factor=1),
    "contrast": ContrastStep(factor=1),
    "gamma": GammaStep(exponent=1),
}
CHANGING: dict[str, IntensityStep] = {
    "speckle": SpeckleStep(seed=1, strength=0.2, size_px=1.5),
    "shadow": ShadowStep(x=0.5, depth=0.2, width=0.2, strength=0.8, divergence=1),
    "depth_gain": DepthGainStep(gains=(0.8, 1.2, 0.7)),
    "blur": BlurStep(sigma_px=1.5),
    "low_resolution": LowResolutionStep(factor=0.4),
    "noise": NoiseStep(seed=1, sd=8),
    "gain": GainStep(factor=1.2),
    "contrast": ContrastStep(factor=0.8),
    "gamma": GammaStep(exponent=1.3),
}
SMOOTHING = ("blur", "low_resolution")
every_step = pytest.mark.parametrize("name", STEPS)


def padded(height: int = 256, width: int = 384, border: int = 20) -> np.ndarray:
    """Return random grey values, with black columns at both sides as letterboxing makes them."""
    image = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    image[:, :border] = image[:, -border:] = 0
    return image


def test_the_tables_have_every_step() -> None:
    assert list(NEUTRAL) == list(CHANGING) == list(STEPS)
    assert all(type(CHANGING[name]) is type(NEUTRAL[name]) is step for name, step in STEPS.items())


@every_step
def test_neutral_parameters_change_nothing(name: str) -> None:
    np.testing.assert_array_equal(NEUTRAL[name].apply(padded()), padded())


@every_step
def test_the_image_changes_and_the_mask_does_not(name: str) -> None:
    image, mask = padded(), padded() // 100
    changed, same = apply(AugmentationParameters(intensity={name: CHANGING[name]}), image, mask)
    np.testing.assert_array_equal(same, mask)
    np.testing.assert_array_equal(image, padded())
    assert changed.dtype == np.uint8 and changed.shape == image.shape and (changed != image).mean() > 0.05
    np.testing.assert_array_equal(CHANGING[name].apply(image), changed)


@pytest.mark.parametrize("name", [name for name in STEPS if name not in SMOOTHING])
def test_black_stays_black(name: str) -> None:
    assert not CHANGING[name].apply(padded())[padded() == 0].any()


@every_step
@pytest.mark.parametrize("size", [(1, 1), (16, 16), (1, 40), (40, 1)])
def test_small_and_black_images(name: str, size: tuple[int, int]) -> None:
    assert CHANGING[name].apply(np.full(size, 100, np.uint8)).shape == size
    assert not CHANGING[name].apply(np.zeros(size, np.uint8)).any()


@every_step
def test_a_step_takes_milliseconds(name: str) -> None:
    image, seconds = padded(), []
    for _ in range(10):
        start = time.perf_counter()
        CHANGING[name].apply(image)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.02, "5 ms at most on an idle machine; four times as much for a busy one"


@every_step
def test_every_section_draws_a_step_that_applies(name: str) -> None:
    section = getattr(Augmentation.model_validate({name: {"probability": 1}}), name)
    drawn = [STEPS[name].draw(section, np.random.default_rng(seed)) for seed in range(20)]
    assert len(set(map(repr, drawn))) == 20
    assert all(one.apply(padded(32, 48, 4)).shape == (32, 48) for one in drawn)


def test_gain_multiplies_and_saturates() -> None:
    image = np.array([[0, 10, 101, 250]], np.uint8)
    assert GainStep(1.2).apply(image).tolist() == [[0, 12, 121, 255]]
    assert GainStep(0.75).apply(image).tolist() == [[0, 8, 76, 188]]


def test_gamma_is_a_power_of_the_fraction_of_white() -> None:
    image = np.array([[0, 128, 255]], np.uint8)
    assert GammaStep(1.3).apply(image).tolist() == [[0, round((128 / 255) ** 1.3 * 255), 255]]


def test_contrast_multiplies_distances_from_the_mean_of_the_pixels_that_are_not_black() -> None:
    image = np.array([[0, 0, 60, 100, 140]], np.uint8)  # mean 100
    assert ContrastStep(0.5).apply(image).tolist() == [[0, 0, 80, 100, 120]]
    assert ContrastStep(1.5).apply(image).tolist() == [[0, 0, 40, 100, 160]]
    dark = np.array([[0, 1, 5, 199, 195]], np.uint8)  # mean 100
    assert ContrastStep(0.5).apply(dark).tolist() == [[0, 2, 10, 150, 148]], "dark pixels at most twice as bright"


def test_blur_has_the_standard_deviation_of_its_kernel() -> None:
    image = np.zeros((61, 61), np.uint8)
    image[25:36, 25:36] = 250
    blurred = BlurStep(3.0).apply(image).astype(float)
    squares, total = (np.arange(61) - 30) ** 2, blurred.sum()
    assert total == pytest.approx(250 * 121, rel=0.01)
    # The variance of a box of 11 pixels is 10; the kernel adds 9.
    assert (blurred.sum(axis=0) * squares).sum() / total == pytest.approx(19, rel=0.03)


def test_low_resolution_averages_blocks() -> None:
    image = np.tile(np.array([[0, 200], [200, 0]], np.uint8), (16, 16))
    assert (LowResolutionStep(0.5).apply(image) == 100).all(), "a chequerboard of single pixels is not resolved"
    halves = np.repeat(np.array([[40, 200]], np.uint8), 32, axis=1).repeat(64, axis=0)
    reduced = LowResolutionStep(0.25).apply(halves)
    assert (reduced[:, :20] == 40).all() and (reduced[:, -20:] == 200).all() and (np.diff(reduced[0]) != 0).sum() > 1


def test_noise_is_white_and_has_the_standard_deviation() -> None:
    added = NoiseStep(seed=3, sd=8).apply(np.full((256, 384), 100, np.uint8)) - 100.0
    assert added.mean() == pytest.approx(0, abs=0.1) and added.std() == pytest.approx(8, rel=0.02)
    assert abs(np.corrcoef(added[:, :-1].ravel(), added[:, 1:].ravel())[0, 1]) < 0.02
    other = NoiseStep(seed=4, sd=8).apply(np.full((256, 384), 100, np.uint8)) - 100.0
    assert abs(np.corrcoef(added.ravel(), other.ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("brightness", [50, 100])
def test_speckle_is_proportional_and_correlated_more_across_the_beam(brightness: int) -> None:
    speckle = SpeckleStep(seed=3, strength=0.2, size_px=1.5)
    field = speckle.apply(np.full((256, 384), brightness, np.uint8)) / brightness - 1
    assert field.mean() == pytest.approx(0, abs=0.02) and field.std() == pytest.approx(0.2, rel=0.1)
    # White noise after a Gaussian of sigma s has the correlation exp(-d^2 / 4 s^2) at the distance d: s is 1.5 and 3.
    down = np.corrcoef(field[:-3].ravel(), field[3:].ravel())[0, 1]
    across = np.corrcoef(field[:, :-3].ravel(), field[:, 3:].ravel())[0, 1]
    assert down == pytest.approx(np.exp(-1), abs=0.05) and across == pytest.approx(np.exp(-0.25), abs=0.05)


def test_depth_gain_passes_through_its_knots_and_is_smooth() -> None:
    gains = DepthGainStep((0.8, 1.2, 1.0, 0.7, 1.1)).apply(np.full((101, 7), 100, np.uint8))
    assert gains[::25, 0].tolist() == [80, 120, 100, 70, 110] and (gains == gains[:, :1]).all()
    assert np.abs(np.diff(gains[:, 0].astype(int))).max() <= 3
    assert DepthGainStep((0.8, 1.2)).apply(np.full((3, 1), 100, np.uint8))[:, 0].tolist() == [80, 100, 120]


def test_shadow_is_darkest_in_its_middle_and_begins_below_its_start() -> None:
    image = np.full((200, 201), 200, np.uint8)
    shaded = ShadowStep(x=0.5, depth=0.4, width=0.2, strength=0.75, divergence=0).apply(image)
    assert (shaded[:80] == 200).all() and (shaded[90:, 100] == 50).all()
    # Half the band's width is 20.1 pixels: full brightness beyond, half the loss half way.
    assert (shaded[:, :80] == 200).all() and (shaded[:, 121:] == 200).all()
    assert shaded[150, 90] == pytest.approx(125, abs=2) and shaded[150, 110] == shaded[150, 90]


def test_beams_of_a_convex_probe_diverge() -> None:
    image = np.full((200, 200), 200, np.uint8)
    shaded = ShadowStep(x=0.6, depth=0.25, width=0.1, strength=0.75, divergence=1.0).apply(image)
    # 20 pixels right of the middle at depth 0.25 is 16 at the top, 24 at depth 0.5 and 28 at depth 0.75.
    middles = [int(np.median(np.flatnonzero(shaded[row] == shaded[row].min()))) - 99.5 for row in (100, 150)]
    np.testing.assert_allclose(middles, [24, 28], atol=1.5)
    widths = [(shaded[row] < 200).sum() for row in (100, 150)]
    np.testing.assert_allclose(widths, [20 * 1.5 / 1.25, 20 * 1.75 / 1.25], atol=2.5)
