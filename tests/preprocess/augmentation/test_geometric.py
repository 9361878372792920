"""Geometric steps: drawn with the task's probabilities and ranges, applied to image and mask by one map."""

import numpy as np
import pytest

from sonoseg.preprocess.augmentation import draw_parameters
from sonoseg.preprocess.augmentation.geometric import GeometricParameters, sample, sampling_map
from sonoseg.preprocess.augmentation.interpolation import cubic_weights
from sonoseg.schema.images import Augmentation, GridDistortion
from sonoseg.schema.task import Task


def warped(parameters: GeometricParameters, image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return sample(image, mask, *sampling_map(parameters, image.shape))


def disc(height: int = 121, width: int = 161, x: float = 60, y: float = 50, radius: float = 15) -> np.ndarray:
    rows, cols = np.mgrid[:height, :width]
    return ((rows - y) ** 2 + (cols - x) ** 2 <= radius**2).astype(np.uint8)


def centre(mask: np.ndarray) -> tuple[float, float]:
    rows, cols = np.nonzero(mask)
    return float(cols.mean()), float(rows.mean())


def test_the_identity_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (37, 53), np.uint8)
    same, mask = warped(GeometricParameters(), image, image // 64)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(mask, image // 64)


def test_flips_are_exact() -> None:
    image = np.random.default_rng(0).integers(0, 256, (36, 53), np.uint8)
    np.testing.assert_array_equal(warped(GeometricParameters(flip_horizontal=True), image, image)[0], image[:, ::-1])
    np.testing.assert_array_equal(warped(GeometricParameters(flip_vertical=True), image, image)[1], image[::-1])


def test_shift_scale_and_rotation_move_a_disc_by_the_computed_distance() -> None:
    mask = disc()
    moved = warped(GeometricParameters(shift=(0.1, -0.05)), mask * 255, mask)[1]
    np.testing.assert_allclose(centre(moved), (60 + 16.1, 50 - 6.05), atol=0.6)
    grown = warped(GeometricParameters(shift=(0, 0), scale=1.2), mask * 255, mask)[1]
    assert grown.sum() / mask.sum() == pytest.approx(1.44, rel=0.03)
    np.testing.assert_allclose(centre(grown), (80 + 1.2 * -20, 60 + 1.2 * -10), atol=0.6)
    turned = warped(GeometricParameters(shift=(0, 0), rotate_deg=90), mask * 255, mask)[1]
    # (-20, -10) from the centre, a quarter turn clockwise on the screen: (10, -20)
    np.testing.assert_allclose(centre(turned), (80 + 10, 60 - 20), atol=0.6)


@pytest.mark.parametrize(
    "parameters",
    [
        GeometricParameters(shift=(0.05, 0.03), scale=0.93, rotate_deg=-8, flip_horizontal=True),
        GeometricParameters(elastic=(5, 0.01, 0.05)),
        GeometricParameters(grid=((0.8, 1.2, 1.0), (1.1, 0.7, 1.2, 1.0))),
    ],
)
def test_image_and_mask_are_warped_by_one_map(parameters: GeometricParameters) -> None:
    mask = disc(x=85, y=66, radius=25)
    image, moved = warped(parameters, mask * 255, mask)
    assert not np.array_equal(moved, mask)
    differing = (image > 127) != (moved > 0)
    assert differing.sum() <= 0.02 * mask.sum()


def test_grid_distortion_keeps_the_frame() -> None:
    across, down = sampling_map(GeometricParameters(grid=((0.7, 1.3), (1.2, 0.8))), (50, 70))
    assert across[0, 0] == 0 and across[0, -1] == pytest.approx(69, abs=1e-4)
    assert down[-1, 0] == pytest.approx(49, abs=1e-4)
    assert (np.diff(across, axis=1) > 0).all() and (np.diff(down, axis=0) > 0).all()


def test_an_elastic_field_is_cubic_between_its_knots() -> None:
    weights = cubic_weights(length=41, step=8.0, knots=10)
    assert weights[0].tolist() == [0, 1, *[0] * 8] and weights[16].tolist() == [0, 0, 0, 1, *[0] * 6], (
        "at a knot: itself"
    )
    np.testing.assert_allclose(weights[4, :4], [-0.0625, 0.5625, 0.5625, -0.0625])  # Keys 1981, half way
    np.testing.assert_allclose(
        weights @ np.arange(10) ** 2, (np.arange(41) / 8 + 1) ** 2, rtol=1e-5
    )  # exact for parabolas
    across, down = sampling_map(GeometricParameters(elastic=(5, 0.01, 0.05)), (480, 640))
    moved = across - np.arange(640)
    assert 2 < moved.std() < 10 and abs(np.corrcoef(moved[:, :-1].ravel(), moved[:, 1:].ravel())[0, 1]) > 0.99
    assert across.dtype == down.dtype == np.float32 and across.flags.c_contiguous


def test_chances_and_ranges_are_the_tasks(spine: Task) -> None:
    draws = [draw_parameters(spine.augmentation, np.random.default_rng([7, n])).geometric for n in range(3000)]
    share = {
        "flip": np.mean([drawn.flip_horizontal for drawn in draws]),
        "turn": np.mean([drawn.shift is not None for drawn in draws]),
        "elastic": np.mean([drawn.elastic is not None for drawn in draws]),
        "grid": np.mean([drawn.grid is not None for drawn in draws]),
    }
    # three standard errors of 3000 draws at p = 0.5 are 0.027
    assert share["flip"] == pytest.approx(0.5, abs=0.03) and share["turn"] == pytest.approx(0.4, abs=0.03)
    assert share["elastic"] == pytest.approx(0.2, abs=0.025) and share["grid"] == pytest.approx(0.2, abs=0.025)
    turned = [drawn for drawn in draws if drawn.shift is not None]
    angles = np.array([drawn.rotate_deg for drawn in turned])
    assert angles.min() >= -10 and angles.max() <= 10 and np.ptp(angles) > 18
    assert all(0.9 <= drawn.scale <= 1.1 for drawn in turned)
    assert not any(drawn.flip_vertical for drawn in draws)


def test_grid_widths_stay_in_range() -> None:
    settings = Augmentation(grid_distortion=GridDistortion(probability=1, cells=4, limit=0.3))
    for seed in range(50):
        columns, rows = draw_parameters(settings, np.random.default_rng(seed)).geometric.grid or ((), ())
        assert len(columns) == len(rows) == 4
        assert all(0.7 <= width <= 1.3 for width in (*columns, *rows))
