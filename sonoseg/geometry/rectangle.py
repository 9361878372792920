"""Kind `rectangle`: two opposite corners of one that is parallel to the image's sides, or all four of a turned one.

Its corners and sides belong to it. What is fitted to a mask is parallel to the image's sides.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.extent import Window, pixel_window
from sonoseg.geometry.line import LINE_EXTENSION
from sonoseg.geometry.region import RegionKind
from sonoseg.geometry.shape_kind import CURVE_POINTS, ShapeKind, closed_edges
from sonoseg.sizes import Size, Spacing
from sonoseg.types import Mask, Points

TYPICAL_COVERAGE = 0.5
"""A row or column belongs to a rectangle when it has at least this fraction of the typical one's pixels."""

RIGHT_ANGLE_PX, RIGHT_ANGLE, ROUNDING_PX = 1.0, 0.05, 0.05
"""How far four corners may lie from those of a rectangle: a fraction of its shorter side, within these pixels."""

PARALLEL_PX = 0.01
"""Four corners are kept as two where no side leaves its row or column by more, the rounding of files."""

TURNED_MARGIN = 0.5
"""A corner of a turned rectangle may lie outside the image by this fraction of its size, and most of it inside."""

NO_LENGTH = 1e-9


class RectangleKind(ShapeKind):
    json_name = "rect"
    numbers = "2 or 4"

    def takes(self, count: int) -> bool:
        return count in (2, 4)

    def read_points(self, value: Any) -> Points:
        """Return two opposite corners, or the four corners, in order, of a rectangle that is turned.

        Raises ValueError as `ShapeKind.read_points` does; four corners that make no rectangle are left to `problem`.
        """
        corners = super().read_points(value)
        if len(corners) == 2:
            return corners
        with np.errstate(over="ignore"):
            sides = np.abs(corners - np.roll(corners, 1, axis=0))
        parallel = (sides.min(axis=1) <= PARALLEL_PX).all() and is_rectangle(corners)
        return np.stack([corners.min(axis=0), corners.max(axis=0)]) if parallel else corners

    def margin(self, points: Points) -> float:
        return TURNED_MARGIN if len(points) == 4 else super().margin(points)

    def problem(self, points: Points) -> str | None:
        if len(points) == 4 and not is_rectangle(points):
            return "its four corners do not make a rectangle; give them in order, or draw a polygon"
        if len(points) == 4:
            return "the rectangle has no area: its corners lie on one line" if _OUTLINE.problem(points) else None
        return "the rectangle has no area: its corners share a coordinate" if (points[0] == points[1]).any() else None

    def draw(self, points: Points, size: Size, thickness_px: float | None = None) -> tuple[Window, Mask]:
        if len(points) == 4:
            return _OUTLINE.draw(points, size)
        window, x, y = pixel_window(points.min(axis=0), points.max(axis=0), size)
        return window, np.ones((y.size, x.size), dtype=bool)

    def _fit(self, mask: Mask, spacing: Spacing | None) -> list[Points]:
        return [fit_rectangle(mask)]

    def outline(self, points: Points, curve_points: int = CURVE_POINTS) -> Points:
        if len(points) == 4:
            return points
        (left, top), (right, bottom) = points
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])

    def edges(self, points: Points) -> list[tuple[Points, float]]:
        """Return the side at which depths are measured, the upper one; of a turned rectangle first its outline."""
        corners = self.outline(points)
        sides = closed_edges(corners)
        outwards = sides.mean(axis=1) - corners.mean(axis=0)
        rise = -outwards[:, 1] / np.maximum(np.linalg.norm(outwards, axis=1), NO_LENGTH)
        upper = sides[[rise.argmax()]], LINE_EXTENSION
        return [(sides, 0.0), upper] if len(points) == 4 else [upper]


_OUTLINE = RegionKind()


def is_rectangle(corners: Points) -> bool:
    """Return whether four points `(4, 2)`, in order, are the corners of a rectangle, after rounding to hundredths.

    The diagonals of a rectangle have the same middle and the same length. Both may differ by a twentieth of the shorter
    side, at least by 0.05 pixels and at most by one.
    """
    corners = corners.round(2)
    with np.errstate(over="ignore", invalid="ignore"):
        first, second = corners[2] - corners[0], corners[3] - corners[1]
        middles = float(np.linalg.norm(corners[0] + corners[2] - corners[1] - corners[3])) / 2
        lengths = abs(float(np.linalg.norm(first)) - float(np.linalg.norm(second)))
        shorter = float(np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1).min())
    return max(middles, lengths) <= min(max(ROUNDING_PX, RIGHT_ANGLE * shorter), RIGHT_ANGLE_PX)


def fit_turned_rectangle(mask: Mask) -> Points:
    """Return the corners `(4, 2)` of the smallest rectangle around the pixel centres of a mask `(H, W)` bool.

    For a mask that was drawn from a turned rectangle: stray pixels enlarge it. `mask` has a pixel.
    """
    return np.asarray(cv2.boxPoints(cv2.minAreaRect(cv2.findNonZero(mask.view(np.uint8)))), dtype=np.float64)


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
