"""Numbers of single images and of whole datasets, against arithmetic by hand."""

import math

import cv2
import numpy as np
import pytest

from sonoseg.prepare.outliers import LOW_IOU
from sonoseg.prepare.statistics import ellipse_iou, measure_structures, ring_mean, touched_sides
from sonoseg.prepare.summary import cohens_d, quantiles


def square(size=(20, 20), rows=slice(8, 12), columns=slice(8, 12)):
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


def test_which_sides_are_touched():
    assert touched_sides(square()) == ()
    assert touched_sides(square(rows=slice(0, 3))) == ("top",)
    assert touched_sides(square(rows=slice(1, 20), columns=slice(19, 20))) == ("right", "bottom")
    assert touched_sides(square(rows=slice(0, 20), columns=slice(0, 20))) == ("top", "right", "bottom", "left")


def test_the_ring_is_the_nearest_background():
    mask = square()
    image = np.full(mask.shape, 200, np.uint8)
    image[7:13, 7:13] = 50  # 16 pixels at distance 1, and 4 corners within the same or the next
    image[mask] = 90
    assert ring_mean(image, mask.astype(np.uint8), mask) == 50


def test_other_classes_are_not_in_the_ring():
    mask = square()
    labels = mask.astype(np.uint8)
    labels[8:12, 12:16] = 2
    image = np.where(labels == 2, 255, 10).astype(np.uint8)
    assert ring_mean(image, labels, mask) == 10


def test_no_background_no_ring():
    mask = np.ones((4, 4), bool)
    assert ring_mean(np.zeros((4, 4), np.uint8), mask.astype(np.uint8), mask) is None


def test_the_numbers_of_an_image(make_task):
    task = make_task([{"name": "A", "shape": "region"}, {"name": "B", "shape": "ellipse"}])
    labels = square().astype(np.uint8)
    image = np.where(labels == 1, 90, 30).astype(np.uint8)
    image[0, 0] = 30 + 48  # the rest is 384 pixels: the mean rises by 1/8
    found = measure_structures(image, labels, task.structures)
    assert set(found) == {"A"}
    assert found["A"].inside == 90 and found["A"].ring == 30 and found["A"].rest == 30.125
    assert found["A"].border == () and found["A"].ellipse_iou is None


def test_an_ellipse_fits_itself_and_a_square_does_not():
    drawn = np.zeros((120, 160), np.uint8)
    cv2.ellipse(drawn, (80, 60), (60, 35), 25, 0, 360, 1, cv2.FILLED)
    assert ellipse_iou(drawn > 0) > 0.97
    cut = drawn.copy()
    cut[:, :70] = 0
    assert ellipse_iou(cut > 0) < 0.9
    two = np.zeros((120, 160), bool)
    two[10:30, 10:30] = two[90:110, 130:150] = True
    assert ellipse_iou(two) < 0.5
    assert 0 < ellipse_iou(square(rows=slice(3, 4), columns=slice(3, 4))) <= 1


def ellipse(long, short, degrees=0.0, centre=(20.0, 20.0), size=41):
    """Return the pixels `(size, size)` whose centres lie in an ellipse with these half axes."""
    rows, columns = np.mgrid[:size, :size]
    x, y, angle = columns - centre[0], rows - centre[1], np.radians(degrees)
    along, aside = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return (along / long) ** 2 + (aside / short) ** 2 <= 1


SHIFTS = [(0, 0), (0.13, 0.3), (0.25, 0.2), (0.5, 0.3), (0.5, 0.5)]


@pytest.mark.parametrize("radius", range(3, 11))
def test_a_small_disc_is_an_ellipse(radius):
    assert min(ellipse_iou(ellipse(radius, radius, 0, (20 + x, 20 + y))) for x, y in SHIFTS) > LOW_IOU


@pytest.mark.parametrize(("long", "short"), [(5, 4), (6, 3), (6, 4), (7, 5), (8, 3), (10, 3), (10, 6), (10, 9)])
def test_a_small_ellipse_is_an_ellipse(long, short):
    found = [ellipse_iou(ellipse(long, short, d, (20 + x, 20 + y))) for d in range(0, 180, 15) for x, y in SHIFTS]
    assert min(found) > LOW_IOU


@pytest.mark.parametrize("radius", range(3, 11))
def test_other_small_shapes_are_no_ellipses(radius):
    disc = ellipse(radius, radius)
    crescent = disc & ~ellipse(radius, radius, centre=(20 + 0.7 * radius, 20))
    corner = np.zeros((41, 41), bool)
    corner[20 - radius : 20 + radius, 18:20] = corner[18 + radius : 20 + radius, 18 : 18 + 2 * radius] = True
    blobs = ellipse(radius, radius, centre=(9, 20)) | ellipse(radius, radius, centre=(31, 20))
    for shape in (crescent, corner, blobs):
        assert ellipse_iou(shape) < LOW_IOU


def test_an_ellipse_that_leaves_the_image_counts_what_lies_outside():
    """A disc's lower half at the top: its ellipse's upper part lies outside, so where it stands changes nothing."""
    half = ellipse(10, 10)
    half[:20] = False
    assert ellipse_iou(half[19:]) == pytest.approx(ellipse_iou(half))


def test_an_ellipse_at_the_border_is_not_judged(make_task):
    task = make_task([{"name": "HEAD", "shape": "ellipse"}])
    inner, outer = square().astype(np.uint8), square(rows=slice(0, 4)).astype(np.uint8)
    assert measure_structures(inner, inner, task.structures)["HEAD"].ellipse_iou is not None
    assert measure_structures(outer, outer, task.structures)["HEAD"].ellipse_iou is None


def test_cohens_d_by_hand():
    # mean 4, squared deviations 4 + 0 + 4, over N - 1 = 2: standard deviation 2
    assert cohens_d([2, 4, 6]) == pytest.approx(2.0)
    assert cohens_d([-3, 1]) == pytest.approx(-1 / math.sqrt(8))
    assert cohens_d([5]) is None and cohens_d([]) is None and cohens_d([3, 3, 3]) is None


def test_quantiles():
    found = quantiles([1, 2, 3, 4, 5])
    assert (found["min"], found["p25"], found["median"], found["p75"], found["max"]) == (1, 2, 3, 4, 5)
    assert found["mean"] == 3 and found["images"] == 5
    assert quantiles([]) is None
