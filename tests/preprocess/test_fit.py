"""An image goes to the network's size and back at the same position."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonoseg.preprocess.fit import FITS, Fit
from sonoseg.schema.images import Input


def input_section(fit: str, size: tuple[int, int] = (64, 96), square: int | None = None) -> Input:
    return Input(size=size, fit=fit, square_px=square)


def test_the_fits_are_those_of_the_task_file() -> None:
    assert tuple(FITS) == get_args(Input.model_fields["fit"].annotation)


@pytest.mark.parametrize("fit", FITS)
@given(height=st.integers(1, 300), width=st.integers(1, 300))
@settings(max_examples=40, deadline=None)
def test_sizes_come_back_for_any_size(fit: str, height: int, width: int) -> None:
    fitted = Fit.of((height, width), input_section(fit))
    assert fitted.apply(np.zeros((height, width), np.uint8)).shape == (64, 96)
    assert fitted.invert(np.zeros((3, 64, 96), np.float32)).shape == (3, height, width)


@pytest.mark.parametrize("source", [(33, 47), (64, 96), (1, 1), (63, 95)])
def test_padding_is_undone_exactly(source: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, source, np.uint8)
    fitted = Fit.of(source, input_section("pad_or_crop"))
    placed = fitted.apply(image)
    assert placed.astype(int).sum() == image.astype(int).sum()
    np.testing.assert_array_equal(fitted.invert(placed[None].astype(np.float32))[0], image)


def test_cropping_keeps_the_centre_and_calls_the_rest_background() -> None:
    image = np.arange(100 * 120, dtype=np.uint32).reshape(100, 120).astype(np.uint8)
    fitted = Fit.of((100, 120), input_section("pad_or_crop"))
    np.testing.assert_array_equal(fitted.apply(image), image[18:82, 12:108])
    maps = np.stack([np.zeros((64, 96)), np.ones((64, 96))]).astype(np.float32)
    background, structure = fitted.invert(maps)
    assert structure[18:82, 12:108].all() and structure.sum() == 64 * 96
    assert background.sum() == 100 * 120 - 64 * 96


@pytest.mark.parametrize("fit", ("resize", "letterbox", "pad_square"))
@pytest.mark.parametrize("source", [(301, 199), (199, 301), (540, 800), (37, 41)])
def test_a_square_comes_back_where_it_was(fit: str, source: tuple[int, int]) -> None:
    height, width = source
    rows, cols = slice(height // 4, height // 2), slice(width // 3, 2 * width // 3)
    mask = np.zeros(source, np.uint8)
    mask[rows, cols] = 1
    fitted = Fit.of(source, input_section(fit, (256, 384)))
    back = fitted.invert(fitted.apply(mask, "nearest")[None].astype(np.float32))[0] > 0.5
    positions = np.argwhere(back)
    tolerance = np.ceil(np.array(fitted.canvas) / np.array(fitted.scaled))
    assert (np.abs(positions.min(axis=0) - [rows.start, cols.start]) <= tolerance).all()
    assert (np.abs(positions.max(axis=0) - [rows.stop - 1, cols.stop - 1]) <= tolerance).all()


def test_a_block_lies_where_the_scale_puts_it() -> None:
    image = np.zeros((80, 200), np.uint8)
    image[40:44, 100:104] = 255  # centre of the block: (101.5, 41.5)
    fitted = Fit.of((80, 200), input_section("letterbox", (160, 384)))
    rows, cols = np.nonzero(fitted.apply(image) > 127)
    # Scaled by 1.92 to 154 x 384, 3 rows from the top: x = 102 * 1.92 - 0.5, y = 42 * 1.92 - 0.5 + 3.
    np.testing.assert_allclose([cols.mean(), rows.mean()], [195.34, 83.14], atol=0.5)


def test_letterbox_keeps_proportions_and_pads_with_black() -> None:
    fitted = Fit.of((100, 100), input_section("letterbox", (64, 96)))
    assert fitted.scaled == (64, 64) and fitted.target_offset == (0, 16)
    placed = fitted.apply(np.full((100, 100), 200, np.uint8))
    assert (placed[:, 16:80] == 200).all() and not placed[:, :16].any() and not placed[:, 80:].any()


def test_pad_square_uses_the_side_of_the_task() -> None:
    fitted = Fit.of((420, 580), input_section("pad_square", (256, 256), 812))
    assert fitted.canvas == (812, 812) and fitted.canvas_offset == (196, 116) and fitted.scaled == (256, 256)


def test_labels_are_never_mixed() -> None:
    labels = np.random.default_rng(1).choice(np.array([0, 1, 3], np.uint8), (77, 91))
    for fit in FITS:
        assert set(np.unique(Fit.of(labels.shape, input_section(fit)).apply(labels, "nearest"))) <= {0, 1, 3}
