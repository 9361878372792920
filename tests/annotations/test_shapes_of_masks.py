"""Polygons and bitmaps of masks draw the same pixels, of masks of any form."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sonoseg.annotations import FORMATS
from sonoseg.annotations.shapes_of_masks import filled, has_hole, outlines, stand_in_lines, union
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.region import trace_regions
from sonoseg.geometry.shapes import Shape
from sonoseg.types import Mask

MASKS = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(MASKS)
def test_traced_outlines_draw_exactly_the_filled_mask(mask: Mask) -> None:
    shapes = [Shape("A", "region", points) for points in trace_regions(mask)]
    assert np.array_equal(union(shapes, mask.shape), filled(mask))
    assert all(SHAPE_KINDS["region"].problem(shape.points) is None for shape in shapes)


@given(MASKS, st.booleans())
def test_outlines_have_the_pixels_of_the_mask(mask: Mask, with_bitmaps: bool) -> None:
    shapes = outlines(mask, "A", with_bitmaps)
    drawn, expected = union(shapes, mask.shape), mask if with_bitmaps else filled(mask)
    assert (drawn & expected).sum() >= 0.99 * (drawn | expected).sum()
    assert bool(shapes) == mask.any()
    assert any(isinstance(shape, Bitmap) for shape in shapes) == (with_bitmaps and has_hole(mask))


def test_a_hole_has_no_way_out_at_a_corner() -> None:
    diamond = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    assert has_hole(diamond) and filled(diamond).sum() == 5
    assert not has_hole(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)[:, :2])


def test_a_large_smooth_mask_has_few_corners() -> None:
    rows, columns = np.mgrid[:300, :400]
    mask = ((columns - 200) / 150) ** 2 + ((rows - 150) / 100) ** 2 <= 1
    (shape,) = outlines(mask, "A", with_bitmaps=False)
    assert isinstance(shape, Shape) and len(shape.points) < 200


def test_a_mask_that_takes_too_many_corners() -> None:
    comb = np.zeros((2, 12_000), bool)
    comb[0], comb[1, ::2] = True, True
    (bitmap,) = outlines(comb, "A", with_bitmaps=True)
    assert isinstance(bitmap, Bitmap) and np.array_equal(bitmap.mask, comb)
    assert all(isinstance(shape, Shape) for shape in outlines(comb, "A", with_bitmaps=False))


@pytest.mark.parametrize("name", FORMATS)
def test_what_a_format_does_not_have_is_named(name: str) -> None:
    kinds = {"line": 1, "rectangle": 2, "ellipse": 1, "region": 1, "bitmap": 1}
    lines = stand_in_lines(kinds, name, FORMATS[name])
    assert len(lines) == len(FORMATS[name].written_as) and stand_in_lines({}, name, FORMATS[name]) == []
    assert all(f"{name} has no" in line for line in lines)
