"""Where in an image something is: what lies outside needs no work. Structures fill a small part of most images."""

import cv2
import numpy as np
from numpy.typing import NDArray

Part = tuple[slice, slice]
"""Rows and columns of an array `(H, W)`."""


def extent(mask: NDArray, margin: int = 0) -> Part:
    """Return the rows and columns that hold all of a mask's `(H, W)` bool or uint8 pixels above 0.

    `margin` more on each side, as far as the image goes. An empty mask has no rows and no columns.
    """
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    if not width:
        return slice(0, 0), slice(0, 0)
    rows, columns = mask.shape
    return (
        slice(max(0, top - margin), min(rows, top + height + margin)),
        slice(max(0, left - margin), min(columns, left + width + margin)),
    )


def places(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return what `np.nonzero(mask)` returns, in less time: rows and columns of the pixels, row by row."""
    part = extent(mask)
    rows, columns = np.nonzero(mask[part])
    return rows + part[0].start, columns + part[1].start
