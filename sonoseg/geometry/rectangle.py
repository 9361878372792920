"""Kind `rectangle`: axis-aligned, given by two opposite corners, both of which belong to it."""

import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.extent import Window, pixel_window
from sonoseg.geometry.line import LINE_EXTENSION
from sonoseg.geometry.shape_kind import CURVE_POINTS, ShapeKind
from sonoseg.sizes import Size, Spacing
from sonoseg.types import Mask, Points

TYPICAL_COVERAGE = 0.5
"""A row or column belongs to a rectangle when it has at least this fraction of the typical one's pixels."""


class RectangleKind(ShapeKind):
    json_name = "rect"
    num_points = 2

    def problem(self, points: Points) -> str | None:
        return "the rectangle has no area: its corners share a coordinate" if (points[0] == points[1]).any() else None

    def draw(self, points: Points, size: Size, thickness_px: float | None = None) -> tuple[Window, Mask]:
        window, x, y = pixel_window(points.min(axis=0), points.max(axis=0), size)
        return window, np.ones((y.size, x.size), dtype=bool)

    def _fit(self, mask: Mask, spacing: Spacing | None) -> list[Points]:
        return [fit_rectangle(mask)]

    def outline(self, points: Points, curve_points: int = CURVE_POINTS) -> Points:
        (left, top), (right, bottom) = points
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])

    def edges(self, points: Points) -> tuple[Points, float]:
        """Return the upper edge, at which depths are measured."""
        return self.outline(points)[None, :2], LINE_EXTENSION


def fit_rectangle(mask: Mask) -> Points:
    """Return the corners `(2, 2)`, (x, y) in pixels, upper left and lower right, both inside, of a rectangle.

    It is axis-aligned and spans the rows and columns that have at least half the pixels of the typical row or column
    (that of the median pixel), so protrusions and frayed borders do not extend it; a drawn rectangle is recovered
    exactly. `mask` `(H, W)` bool has a pixel.
    """
    (left, right), (top, bottom) = (_span(mask.sum(axis=axis)) for axis in (0, 1))
    return np.array([[left, top], [right, bottom]], dtype=np.float64)


def _span(counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the first and the last row (or column) with enough pixels, from the number of pixels in each."""
    inside = counts[counts > 0]
    typical = np.median(np.repeat(inside, inside))
    covered = np.flatnonzero(counts >= TYPICAL_COVERAGE * typical)
    return int(covered[0]), int(covered[-1])
