"""Statistics of one image and its structures, taken while the image is decoded for checking."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.schema.annotations import Structure
from sonoseg.types import Pixels

T = TypeVar("T")
SIDES = ("top", "right", "bottom", "left")


@dataclass(frozen=True)
class StructureStatistics:
    """What is known of one class on one image that shows it.

    `border` are the sides of the image that it touches. Grey values are means, 0 to 255: `inside` of the structure,
    `ring` of as many background pixels around it, `rest` of all other pixels; None where there are no such pixels.
    `ellipse_iou` is the overlap with the class's ellipse, for classes whose shape is an ellipse and that the image does
    not cut off, else None.
    """

    border: tuple[str, ...]
    inside: float
    ring: float | None
    rest: float | None
    ellipse_iou: float | None


def measure_structures(
    image: Pixels, labels: Pixels, structures: Sequence[Structure]
) -> dict[str, StructureStatistics]:
    """Return {class: statistics} of the classes that a label map `(H, W)` shows on an image `(H, W)`."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=len(structures) + 1)[1:])
    total, pixels = float(image.sum(dtype=np.int64)), image.size
    statistics = {}
    for index in map(int, present):
        structure = structures[index]
        kind = SHAPE_KINDS[structure.shape]
        mask = labels == index + 1
        area, mean = int(np.count_nonzero(mask)), _mean(image, mask)
        border = touched_sides(mask)
        statistics[structure.name] = StructureStatistics(
            border=border,
            inside=mean,
            ring=ring_mean(image, labels, mask),
            rest=(total - mean * area) / (pixels - area) if area < pixels else None,
            ellipse_iou=ellipse_iou(mask) if kind.is_ellipse_of_moments and not border else None,
        )
    return statistics


def touched_sides(mask: np.ndarray) -> tuple[str, ...]:
    """Return the sides of the image whose outermost row or column a bool mask `(H, W)` reaches."""
    edges = (mask[0], mask[:, -1], mask[-1], mask[:, 0])
    return tuple(side for side, edge in zip(SIDES, edges, strict=True) if edge.any())


def ring_mean(image: Pixels, labels: Pixels, mask: np.ndarray) -> float | None:
    """Return the mean grey of the background pixels nearest to a mask, as many as the mask has.

    Whole pixels of distance are taken until the ring is at least as large as the mask; pixels of other classes do not
    count. None when there is no background at all.
    """
    area = int(np.count_nonzero(mask))
    window = _around(mask, area)
    background = labels[window] == 0
    distance = cv2.distanceTransform((~mask[window]).astype(np.uint8), cv2.DIST_L2, 3)
    reached = np.cumsum(np.bincount(distance[background].astype(np.int32)))
    if not reached.size:
        return None
    last = int(np.searchsorted(reached, min(area, int(reached[-1]))))
    return _mean(image[window], background & (distance < last + 1))


def _mean(image: Pixels, mask: np.ndarray) -> float:
    """Return the mean grey below a bool mask, not empty; many times faster than indexing with it."""
    return float(cv2.mean(image, mask.view(np.uint8))[0])


def _around(mask: np.ndarray, area: int) -> tuple[slice, slice]:
    """Return a window that holds the mask and its ring, to save work on small structures.

    A ring of the mask's area is at most as wide as the square root of that area, when nothing but background is near.
    """
    reach = int(np.ceil(np.sqrt(area))) + 2
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (
        slice(max(0, rows[0] - reach), rows[-1] + reach + 1),
        slice(max(0, columns[0] - reach), columns[-1] + reach + 1),
    )


def ellipse_iou(mask: np.ndarray) -> float:
    """Return the intersection over union, 0 to 1, of a bool mask, not empty, with the ellipse of its own moments.

    The ellipse has the mask's centre c and covariance S: its pixels are those whose centre p has
    (p - c)' S^-1 (p - c) <= 4, so its half axes are twice the roots of the eigenvalues. A polygon drawn for it would
    cost an ellipse of a few pixels up to a third.
    """
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    area = moments["m00"]
    x, y = moments["m10"] / area, moments["m01"] / area
    covariance = np.array([[moments["mu20"], moments["mu11"]], [moments["mu11"], moments["mu02"]]]) / area
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 1 / 12)  # a row of pixels has the variance of its own width
    (xx, xy), (_, yy) = (vectors / values) @ vectors.T
    columns, rows = (np.flatnonzero(mask.any(axis=axis)) for axis in (0, 1))
    # The window holds the mask and the ellipse, which may reach beyond the image.
    reach_x, reach_y = 2 * np.sqrt(vectors**2 @ values)
    left, right = min(columns[0], math.floor(x - reach_x)), max(columns[-1], math.ceil(x + reach_x))
    top, bottom = min(rows[0], math.floor(y - reach_y)), max(rows[-1], math.ceil(y + reach_y))
    dx, dy = np.arange(left, right + 1) - x, (np.arange(top, bottom + 1) - y)[:, None]
    inside = (xx * dx + 2 * xy * dy) * dx + yy * dy * dy <= 4
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    both = int(np.count_nonzero(inside[rows[0] - top :, columns[0] - left :][: box.shape[0], : box.shape[1]] & box))
    return both / (int(area) + int(np.count_nonzero(inside)) - both)


def evenly(things: Sequence[T], most: int) -> list[T]:
    """Return at most `most` things, evenly over a sequence, the first and the last among them; all of a shorter one."""
    return [things[int(at)] for at in np.unique(np.linspace(0, len(things) - 1, min(most, len(things))).round())]
