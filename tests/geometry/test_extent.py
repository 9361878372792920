"""Work on a part of an image gives what work on all of it gives."""

import cv2
import numpy as np
import pytest

from sonoseg.geometry.ellipse_fit import edge_points
from sonoseg.geometry.extent import extent, mask_indices
from sonoseg.io.masks import rgb
from sonoseg.postprocess.class_map import class_map
from sonoseg.postprocess.gaps import clean, full_masks
from sonoseg.reporting.drawing import tint
from tests.conftest import changed

SIZE = (60, 80)


def drawn(box: tuple[int, int, int, int]) -> np.ndarray:
    top, low, left, right = box
    mask = np.zeros(SIZE, bool)
    mask[top:low, left:right] = True
    return mask


BOXES = [(10, 30, 20, 50), (0, 60, 0, 80), (0, 1, 0, 1), (59, 60, 79, 80), (5, 6, 0, 80), (7, 7, 3, 3)]


@pytest.mark.parametrize("box", BOXES)
def test_extent_of_a_box(box: tuple[int, int, int, int]) -> None:
    mask = drawn(box)
    rows, columns = extent(mask)
    if not mask.any():
        assert (rows, columns) == (slice(0, 0), slice(0, 0)) == extent(mask, margin=3)
    else:
        assert (rows.start, rows.stop, columns.start, columns.stop) == box
    assert mask[extent(mask, margin=2)].sum() == mask.sum()
    for indices, expected in zip(mask_indices(mask), np.nonzero(mask), strict=True):
        assert indices.tolist() == expected.tolist()


@pytest.mark.parametrize("box", BOXES)
def test_edges_are_those_of_the_whole_mask(box: tuple[int, int, int, int]) -> None:
    mask = drawn(box)
    rows, columns = np.nonzero(mask[:, 1:] != mask[:, :-1])
    across = np.stack([columns + 0.5, rows], axis=1)
    rows, columns = np.nonzero(mask[1:] != mask[:-1])
    assert edge_points(mask).tolist() == [*across.tolist(), *np.stack([columns, rows + 0.5], axis=1).tolist()]


def test_what_is_cleaned_does_not_depend_on_the_empty_part_of_the_image(spine) -> None:
    """Specks in the corners, which are cleaned away, make the extent the whole image."""
    task = changed(spine, postprocessing={**spine.postprocessing.model_dump(), "min_area_fraction": 0.001})
    random = np.random.default_rng(3)
    for _ in range(8):
        noise = [cv2.GaussianBlur(random.normal(size=(90, 110)).astype(np.float32), (0, 0), 5) for _ in range(4)]
        labels = np.argmax(noise, axis=0).astype(np.uint8)
        labels[:12], labels[-12:], labels[:, :12], labels[:, -12:] = 0, 0, 0, 0
        whole = labels.copy()
        whole[0, 0] = whole[-1, -1] = 3
        cleaned = clean(labels, task.structures, task.postprocessing)
        assert np.array_equal(clean(whole, task.structures, task.postprocessing), cleaned) and cleaned.any()
        corners = cleaned.copy()
        corners[0, 0] = corners[-1, -1] = 3
        full = full_masks(corners, task.structures, task.postprocessing)
        full[2, 0, 0] = full[2, -1, -1] = False
        masks = full_masks(cleaned, task.structures, task.postprocessing)
        assert np.array_equal(masks[2], full[2]) and masks.any(axis=(1, 2)).all()


def test_nothing_in_nothing_out(spine, fetal_head) -> None:
    empty = np.zeros(SIZE, np.uint8)
    for task in (spine, fetal_head):
        assert (
            not clean(empty, task.structures, task.postprocessing).any()
            and not full_masks(empty, task.structures, task.postprocessing).any()
        )
        assert full_masks(empty, task.structures, task.postprocessing).shape == (len(task.structures), *SIZE)


def test_the_class_map_is_the_first_of_the_largest() -> None:
    levels = np.random.default_rng(0).integers(0, 4, (4, *SIZE)).astype(np.float32)  # many of them are equal
    before = levels.copy()
    assert np.array_equal(class_map(levels), levels.argmax(axis=0)) and np.array_equal(levels, before)


@pytest.mark.parametrize("opacity", [0.2, 0.3, 0.45, 1.0])
def test_a_tint_is_the_mixture_of_grey_and_colour(opacity: float) -> None:
    random = np.random.default_rng(0)
    image, labels = random.integers(0, 256, SIZE, dtype=np.uint8), random.integers(0, 3, SIZE, dtype=np.uint8)
    labels[labels == 2] = 3  # the second class is nowhere
    colors = ["#3bceac", "#ffd23f", "#ee4266"]
    table = np.array([(0, 0, 0), *map(rgb, colors)], np.float32)
    mixed = np.rint((1 - opacity) * image[..., None] + opacity * table[labels])
    plain = np.where((labels > 0)[..., None], mixed, image[..., None]).astype(np.uint8)
    assert np.array_equal(tint(image, labels, colors, opacity), plain)
