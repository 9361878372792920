"""Non-local means: known answers, and OpenCV's bytes, for any number of threads and any state of the compiled code."""

from pathlib import Path

import cv2
import numba
import numpy as np
import pytest

from sonoseg.io.readers import list_images, read_image
from sonoseg.preprocess import denoise as module
from sonoseg.preprocess.denoise import compiled, denoise, weight_table


def picture(kind: str, shape: tuple[int, int]) -> np.ndarray:
    rng = np.random.default_rng(0)
    return {
        "noise": rng.integers(0, 256, shape),
        "faint noise": rng.integers(100, 112, shape),
        "speckle": np.clip(rng.rayleigh(30, shape), 0, 255),
        "flat": np.full(shape, 77),
        "black": np.zeros(shape),
        "saturated": np.full(shape, 255),
        "chessboard": np.indices(shape).sum(axis=0) % 2 * 255,
    }[kind].astype(np.uint8)


def test_the_average_of_two_pixels_by_hand() -> None:
    # Each row of the 3 x 3 window holds the pixel itself, weight 1, and twice the other one, 10 away: weight 1/e.
    step = 10 * (2 / np.e) / (1 + 2 / np.e)
    np.testing.assert_array_equal(denoise(np.array([[0, 10]], np.uint8), 10, 1, 3), [[round(step), round(10 - step)]])


@pytest.mark.parametrize("strength", [0.1, 5, 1000])
def test_a_window_of_one_pixel_and_a_flat_image_change_nothing(strength: float) -> None:
    noise, flat = picture("noise", (20, 30)), picture("flat", (20, 30))
    np.testing.assert_array_equal(denoise(noise, strength, 7, 1), noise)
    np.testing.assert_array_equal(denoise(flat, strength, 7, 21), flat)


def test_weights_fall_to_one_e_at_the_strength_and_to_nothing_at_a_thousandth() -> None:
    table, shift = weight_table(strength=8, template=4, search=3)
    unit = (2**31 - 1) // (9 * 255)
    assert shift == 4 and table[0] == unit and table[64] == round(unit / np.e)
    assert len(table) - 1 == int(np.log(1000) * 64) + 1 and table[-2] > 0 == table[-1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (8, 8), (13, 40), (65, 33), (97, 70)])
@pytest.mark.parametrize("kind", ["noise", "faint noise", "speckle", "flat", "black", "saturated", "chessboard"])
def test_same_bytes_as_opencv_for_every_size(shape: tuple[int, int], kind: str) -> None:
    image = picture(kind, shape)
    np.testing.assert_array_equal(denoise(image, 5, 7, 21, threads=2), cv2.fastNlMeansDenoising(image, None, 5, 7, 21))


@pytest.mark.parametrize("kind", ["noise", "faint noise", "speckle"])
@pytest.mark.parametrize("strength", [1e-30, 0.5, 3, 10, 30, 1e6])
@pytest.mark.parametrize(("template", "search"), [(7, 21), (1, 21), (7, 1), (6, 20), (3, 5), (5, 35), (21, 9)])
def test_same_bytes_as_opencv_for_every_setting(kind: str, strength: float, template: int, search: int) -> None:
    image = picture(kind, (45, 50))
    expected = cv2.fastNlMeansDenoising(image, None, strength, template, search)
    np.testing.assert_array_equal(denoise(image, strength, template, search), expected)


def test_same_bytes_as_opencv_on_real_images(hc18: Path, spine_sample: Path) -> None:
    paths = [hc18 / "training_set" / "001_HC.png", *list_images(spine_sample / "images")]
    for path in paths:
        image = read_image(path).pixels
        np.testing.assert_array_equal(denoise(image, 5, 7, 21), cv2.fastNlMeansDenoising(image, None, 5, 7, 21))


def test_same_bytes_for_any_number_of_threads() -> None:
    image = picture("speckle", (5 * module.MIN_ROWS - 3, 40))
    once = denoise(image, 20, 7, 21, threads=1)
    for threads in (2, 3, 64):
        np.testing.assert_array_equal(denoise(image, 20, 7, 21, threads), once)


def test_one_thread_where_opencv_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getNumThreads", lambda: 1)
    monkeypatch.setattr(module, "ThreadPoolExecutor", None)
    assert denoise(picture("noise", (3 * module.MIN_ROWS, 8)), 5, 3, 5).shape == (3 * module.MIN_ROWS, 8)


def test_what_is_not_contiguous_is_denoised_alike() -> None:
    image = picture("speckle", (60, 80))[::2, 5:-5]
    np.testing.assert_array_equal(denoise(image, 9, 3, 7), denoise(np.ascontiguousarray(image), 9, 3, 7))


def doubled(values: np.ndarray) -> int:
    return 2 * values.sum()


def compile_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Return 2 * (1 + 2), from a function that is compiled, or loaded, with `folder` as the only place for its code."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(folder))
    monkeypatch.setattr(numba.config, "CACHE_LOCATOR_CLASSES", "UserProvidedCacheLocator")
    return compiled("int64(int64[::1])")(doubled)(np.array([1, 2]))


def test_compiles_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert compile_in(tmp_path / "file", monkeypatch) == 6


@pytest.mark.parametrize("damaged", ["*.nbi", "*.nbc"])
def test_compiles_again_when_what_was_kept_is_damaged(
    damaged: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compile_in(tmp_path, monkeypatch) == 6
    files = list(tmp_path.rglob(damaged))
    assert len(files) == 1
    files[0].write_bytes(b"")
    assert compile_in(tmp_path, monkeypatch) == 6
