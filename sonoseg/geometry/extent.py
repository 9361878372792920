"""Windows of an image that contain a mask or a shape: what lies outside needs no work."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.sizes import Size
from sonoseg.types import Points

Window = tuple[slice, slice]
"""Rows and columns of an array `(H, W)`."""

CENTRE_TOLERANCE = 1e-9
"""Pixels by which rounding may move a centre that lies exactly on a border."""


def extent(mask: NDArray, margin: int = 0) -> Window:
    """Return the rows and columns that contain all pixels above 0 of a mask `(H, W)`, bool or uint8.

    `margin` pixels are added on each side, within the image. An empty mask has no rows and no columns.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return slice(0, 0), slice(0, 0)
    rows, columns = mask.shape
    return (
        slice(max(0, top - margin), min(rows, top + height + margin)),
        slice(max(0, left - margin), min(columns, left + width + margin)),
    )


def mask_indices(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `np.nonzero(mask)`, in less time: rows and columns `(N,)` of the pixels of the mask, row by row."""
    window = extent(mask)
    rows, columns = np.nonzero(mask[window])
    return rows + window[0].start, columns + window[1].start


def pixel_window(low: Points, high: Points, size: Size) -> tuple[Window, Points, Points]:
    """Return the window of an image of `size` between two corners `(2,)` (x, y), pixels on its border included.

    Also returns the x `(1, w)` and y `(h, 1)` coordinates of its pixel centres. Outside the image the window is empty.
    """
    height, width = size
    left, top = (max(0, math.ceil(value - CENTRE_TOLERANCE)) for value in low)
    right = max(left, min(width, math.floor(high[0] + CENTRE_TOLERANCE) + 1))
    bottom = max(top, min(height, math.floor(high[1] + CENTRE_TOLERANCE) + 1))
    x = np.arange(left, right, dtype=np.float64)[None, :]
    y = np.arange(top, bottom, dtype=np.float64)[:, None]
    return (slice(top, bottom), slice(left, right)), x, y


def farthest_corners(mask: NDArray[np.bool_], scale: NDArray[np.float64]) -> Points:
    """Return the two corners `(2, 2)` of a mask's pixels that are farthest apart: the ends of its longest diameter.

    mask: `(H, W)` with a pixel; corners are half a pixel beside the centres. scale: `(2,)`, the width and the height of
    a pixel in the unit in which distances are compared.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    left = mask[rows].argmax(axis=1) - 0.5
    right = mask.shape[1] - mask[rows, ::-1].argmax(axis=1) - 0.5
    ends = [np.stack([x, rows + half], axis=1) for x in (left, right) for half in (-0.5, 0.5)]
    hull = cv2.convexHull(np.concatenate(ends).astype(np.float32))[:, 0].astype(np.float64)
    scaled = hull * scale
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=2)
    return hull[list(np.unravel_index(int(apart.argmax()), apart.shape))]
