"""Enhancement does what the field's own functions do, in the order that the task names."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from sonoseg.preprocess.enhance import enhance
from sonoseg.preprocess.intensity import normalise
from sonoseg.schema.images import Clahe, Denoise, Enhancement, Unsharp
from sonoseg.schema.task import Task


@pytest.fixture
def speckle() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.clip(rng.rayleigh(30, (96, 128)), 0, 255).astype(np.uint8)


def test_no_step_changes_nothing(speckle: np.ndarray) -> None:
    np.testing.assert_array_equal(enhance(speckle, Enhancement()), speckle)


def test_spine_is_denoised_equalised_and_sharpened_in_this_order(speckle: np.ndarray, spine: Task) -> None:
    expected = cv2.fastNlMeansDenoising(speckle, None, 5, 7, 21)
    expected = cv2.createCLAHE(2.0, (8, 8)).apply(expected)
    expected = cv2.addWeighted(expected, 1.5, cv2.GaussianBlur(expected, (0, 0), 3), -0.5, 0)
    np.testing.assert_array_equal(enhance(speckle, spine.enhancement), expected)


def test_the_compiler_is_loaded_only_for_a_task_that_denoises() -> None:
    program = "import sys, sonoseg.preprocess.enhance; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_each_step_works(speckle: np.ndarray) -> None:
    edge = np.repeat(np.array([80, 160], np.uint8), 32)[None].repeat(64, axis=0)
    assert enhance(speckle, Enhancement(denoise=Denoise(strength=30))).std() < speckle.std()
    assert enhance(speckle // 4, Enhancement(clahe=Clahe())).std() > (speckle // 4).std()
    sharpened = enhance(edge, Enhancement(unsharp=Unsharp()))
    assert sharpened.min() < 80 and sharpened.max() > 160


def test_normalise(speckle: np.ndarray) -> None:
    unit = normalise(speckle, "unit")
    assert unit.dtype == np.float32 and unit.max() == np.float32(speckle.max() / 255)
    scored = normalise(speckle, "z_score")
    assert abs(scored.mean()) < 1e-4 and abs(scored.std() - 1) < 1e-4
    assert not normalise(np.full((8, 8), 7, np.uint8), "z_score").any()
