"""Kind `line`: a segment between two points. Its drawing is a capsule, a bar with round ends."""

import numpy as np

from sonoseg.geometry.extent import CENTRE_TOLERANCE, Window, pixel_window
from sonoseg.geometry.line_fit import fit_line
from sonoseg.geometry.line_pieces import line_pieces
from sonoseg.geometry.shape_kind import ShapeKind
from sonoseg.sizes import Size, Spacing
from sonoseg.types import Mask, Points

LINE_EXTENSION = 0.5
"""A line, or a rectangle's upper edge, is extended at both ends by this fraction of its length: a midline that narrowly
misses it still has a depth, a midline far from it has none."""


class LineKind(ShapeKind):
    json_name = "line"
    numbers = "2"
    is_closed = False

    def takes(self, count: int) -> bool:
        return count == 2

    def problem(self, points: Points) -> str | None:
        return "both ends of the line are the same point" if np.array_equal(points[0], points[1]) else None

    def draw(self, points: Points, size: Size, thickness_px: float | None = None) -> tuple[Window, Mask]:
        """Return all pixels whose centre is at most half the thickness (1 when None) away from the segment."""
        start, end = points
        radius = float(thickness_px or 1) / 2
        window, x, y = pixel_window(np.minimum(start, end) - radius, np.maximum(start, end) + radius, size)
        along = end - start
        squared = float(along @ along)
        projection = (x - start[0]) * along[0] + (y - start[1]) * along[1]
        position = np.clip(projection / squared if squared else np.zeros_like(projection), 0, 1)
        distance = np.hypot(x - start[0] - position * along[0], y - start[1] - position * along[1])
        return window, distance <= radius + CENTRE_TOLERANCE

    def without_stray_pieces(self, mask: Mask, between: Mask | None = None) -> Mask:
        """Return the pieces of a mask that lie on one straight line, see `line_pieces`."""
        return line_pieces(mask, between)

    def _fit(self, mask: Mask, spacing: Spacing | None) -> list[Points]:
        return [fit_line(mask)]

    def edges(self, points: Points) -> list[tuple[Points, float]]:
        return [(points[None], LINE_EXTENSION)]

    def load(self) -> None:
        import sonoseg.geometry.capsule  # noqa: F401
