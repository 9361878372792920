"""The run lengths of Label Studio's brush."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sonoseg.annotations.label_studio.rle import decode_brush, encode_brush
from sonoseg.io.limits import MAX_PIXELS


def packed(*numbers: tuple[int, int]) -> list[int]:
    """Return the bytes of numbers (value, bits)."""
    text = "".join(f"{value:0{bits}b}" for value, bits in numbers)
    text += "0" * (-len(text) % 8)
    return [int(text[start : start + 8], 2) for start in range(0, len(text), 8)]


HEADER = [(7, 5), (2, 4), (3, 4), (7, 4), (15, 4)]
"""Values of 8 bits, and counts of 3, 4, 8 and 16 bits."""


def test_runs_and_single_values_of_the_alpha_channel() -> None:
    # Three pixels: (9, 9, 9, 9), (9, 9, 1, 0), (5, 6, 7, 1): a run over six values, then six single ones.
    values = [(1, 8), (0, 8), (5, 8), (6, 8), (7, 8), (1, 8)]
    rle = packed((12, 32), *HEADER, (1, 1), (0, 2), (5, 3), (9, 8), (0, 1), (1, 2), (5, 4), *values)
    assert decode_brush(rle, (1, 3)).tolist() == [[True, False, True]]


@given(arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=40)))
def test_what_is_encoded_is_decoded(mask: np.ndarray) -> None:
    assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)


def test_runs_longer_than_a_count() -> None:
    for pixels in (2**14, 2**14 + 1, 2**15, 100_000):
        mask = np.zeros((1, pixels + 2), bool)
        mask[0, 1:-1] = True
        assert np.array_equal(decode_brush(encode_brush(mask), mask.shape), mask)
    assert decode_brush(encode_brush(np.zeros((0, 5), bool)), (0, 5)).shape == (0, 5)


ONE = encode_brush(np.ones((2, 3), bool))


@pytest.mark.parametrize(
    ("rle", "size", "reason"),
    [
        (None, (2, 3), "no list of bytes"),
        ("abc", (2, 3), "no list of bytes"),
        ([1, 2, "3"], (2, 3), "no list of bytes"),
        ([256], (2, 3), "no list of bytes"),
        ([10**400], (2, 3), "no list of bytes"),
        ([-1], (2, 3), "no list of bytes"),
        ([1.5], (2, 3), "no list of bytes"),
        ([], (2, 3), "ends early"),
        (ONE[:-1], (2, 3), "ends early"),
        (ONE, (3, 3), "has 24 values of 8 bits; an image of 3x3 pixels has 36 of 8"),
        (packed((24, 32), (15, 5), *HEADER[1:]), (2, 3), "24 values of 16 bits"),
        (packed((2**32 - 1, 32), *HEADER), (2, 3), "4294967295 values"),
        (packed((24, 32), *HEADER, (1, 1), (3, 2), (1000, 16), (9, 8)), (2, 3), "more than the 24 values"),
        (ONE, (1, MAX_PIXELS + 1), "at most"),
    ],
)
def test_what_is_no_brush_is_refused(rle, size, reason) -> None:
    with pytest.raises(ValueError, match=reason):
        decode_brush(rle, size)


@given(st.lists(st.integers(0, 255), max_size=60), st.booleans())
def test_any_bytes_are_a_mask_or_refused(values: list[int], with_header: bool) -> None:
    rle = [*packed((24, 32), *HEADER), *values] if with_header else values
    try:
        assert decode_brush(rle, (2, 3)).shape == (2, 3)
    except ValueError as problem:
        assert "rle" in str(problem)
