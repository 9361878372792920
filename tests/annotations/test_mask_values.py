"""What the values of a mask mean, and what an outline encloses."""

import cv2
import numpy as np
import pytest

from sonoseg.annotations.mask_values import class_indices, fill_label_outlines, fill_outline


def distance(centre, size=(120, 160)):
    y, x = np.mgrid[: size[0], : size[1]]
    return np.hypot(x - centre[0], y - centre[1])


def disc(centre=(80, 60), radius=40.0):
    return distance(centre) <= radius


def ring(centre=(80, 60), radius=40.0, width=1.0):
    return np.abs(distance(centre) - radius) <= width / 2


@pytest.fixture
def single(make_task):
    return make_task([{"name": "HEAD", "shape": "region"}])


@pytest.fixture
def two(make_task):
    return make_task([{"name": "A", "shape": "region", "covered_by": ["B"]}, {"name": "B", "shape": "region"}])


@pytest.mark.parametrize(
    ("values", "expected", "warned"),
    [
        ([0, 255], [0, 1], False),
        ([0, 1], [0, 1], False),
        ([0, 7], [0, 1], False),
        ([0, 0], [0, 0], False),
        ([255, 255], [1, 1], False),
        ([0, 3, 127, 128, 252, 255], [0, 0, 0, 1, 1, 1], True),
        ([1, 2], [0, 1], True),
    ],
)
def test_single_class(single, values, expected, warned):
    labels, note = class_indices(np.array([values], dtype=np.uint8), single.class_names)
    assert labels.tolist() == [expected]
    assert (note is not None) == warned


def test_several_classes_are_indices(two):
    labels, note = class_indices(np.array([[0, 1, 2]], dtype=np.uint8), two.class_names)
    assert labels.tolist() == [[0, 1, 2]] and note is None


def test_a_value_that_is_no_class(two):
    with pytest.raises(ValueError, match="mask values 3, 255 are no class; expected 0 background, 1 A, 2 B"):
        class_indices(np.array([[0, 1, 3, 255]], dtype=np.uint8), two.class_names)


@pytest.mark.parametrize("width", [1, 3])
def test_closed_ring_is_filled(width):
    assert np.array_equal(fill_outline(ring(width=width)), disc(radius=40 + width / 2))


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("centre", [(15, 60), (145, 60), (80, 10), (80, 110), (20, 20)])
def test_ring_cut_by_the_border_is_filled(centre, width):
    assert np.array_equal(fill_outline(ring(centre, width=width)), disc(centre, 40 + width / 2))


def test_head_larger_than_the_picture_leaves_two_arcs():
    arcs = np.zeros((120, 160), dtype=np.uint8)
    cv2.ellipse(arcs, (80, 60), (100, 45), 0, 0, 360, 1, 2)
    filled = fill_outline(arcs.astype(bool))
    assert filled[60, 0] and filled[60, 80] and filled[60, 159]
    assert not filled[0, 80] and not filled[119, 80] and not filled[0, 0]


@pytest.mark.parametrize("centre", [(80, 60), (5, 60), (0, 0)])
def test_filled_mask_is_unchanged(centre):
    mask = disc(centre=centre)
    assert np.array_equal(fill_outline(mask), mask)


def test_filled_concave_mask_at_the_border_is_unchanged():
    mask = np.zeros((120, 160), dtype=bool)
    mask[20:100, 0:120] = True
    mask[45:75, 0:90] = False  # a bay that opens to the border
    assert np.array_equal(fill_outline(mask), mask)


def test_two_filled_discs_do_not_fill_what_lies_between():
    mask = disc(centre=(20, 20), radius=20) | disc(centre=(140, 100), radius=20)
    assert np.array_equal(fill_outline(mask), mask)


def test_empty_and_full_are_unchanged():
    assert not fill_outline(np.zeros((5, 5), dtype=bool)).any()
    assert fill_outline(np.ones((5, 5), dtype=bool)).all()


def test_each_class_has_its_own_outline(two):
    labels = np.zeros((120, 160), dtype=np.uint8)
    labels[ring(width=2)] = 1
    labels[ring(radius=15, width=2)] = 2
    filled = fill_label_outlines(labels, two.structures)
    assert filled[60, 80] == 2 and filled[60, 110] == 1 and filled[0, 0] == 0
