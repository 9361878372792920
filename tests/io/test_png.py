"""PNG files of our own making, read by three decoders that are not."""

import io

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import image as matplotlib_image
from PIL import Image

from sonoseg.io.png import encode_png


def by_opencv(png: bytes) -> np.ndarray:
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return decoded


SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_grey_pictures_come_back_as_they_were(pixels: np.ndarray) -> None:
    png = encode_png(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)
    assert np.array_equal(by_opencv(png), pixels)


@settings(deadline=None)
@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, (*shape, 3))))
def test_pictures_in_colour_come_back_as_they_were(pixels: np.ndarray) -> None:
    png = encode_png(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)
    assert np.array_equal(by_opencv(png)[..., ::-1], pixels)
    assert np.array_equal(np.rint(matplotlib_image.imread(io.BytesIO(png)) * 255).astype(np.uint8), pixels)


def test_a_palette_keeps_indices_and_shows_colours() -> None:
    labels = np.array([[0, 1, 2], [2, 2, 0]], np.uint8)
    picture = Image.open(io.BytesIO(encode_png(labels, [(0, 0, 0), (255, 0, 0), (1, 2, 3)])))
    assert picture.mode == "P"
    assert np.array_equal(np.asarray(picture), labels)
    assert picture.convert("RGB").getpixel((2, 0)) == (1, 2, 3)


@pytest.mark.parametrize("step", [2, -1])
def test_views_of_other_arrays_are_written_as_they_look(step: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)[:, ::step]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encode_png(pixels)))), pixels)


def test_speckle_is_smaller_than_its_bytes() -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8), (0, 0), 3)
    assert len(encode_png(smooth)) < 0.6 * smooth.size
