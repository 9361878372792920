"""The interface of a kind of shape."""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from sonoseg.geometry.extent import Window
from sonoseg.sizes import Size, Spacing
from sonoseg.types import Mask, Points

CURVE_POINTS = 720
"""Corners of the polygon that stands for a curved outline."""


MAX_POINTS = 10_000
"""Most points of a shape that are read: ten times those of a head traced pixel by pixel."""


class ShapeKind(ABC):
    """How the points of one kind of shape are read, validated, drawn, fitted to a mask, and outlined.

    Points are `(N, 2)` float64 (x, y) in pixels of the image; methods other than `read_points` expect the right number
    of them. A kind has no state, and several threads may use it at once.
    """

    json_name: ClassVar[str]
    """The kind's name in annotation files and in results."""

    numbers: ClassVar[str]
    """How many points a shape has, for messages."""

    is_closed: ClassVar[bool] = True
    """Whether the last point of the outline is connected to the first."""

    needs_whole_outline: ClassVar[bool] = False
    """Whether the shape follows from its whole outline, so that a mask which the image cuts off is incomplete."""

    is_ellipse_of_moments: ClassVar[bool] = False
    """Whether a mask of this kind is the ellipse that has its centre and second moments."""

    def read_points(self, value: Any) -> Points:
        """Return the points of a JSON value `[[x, y], ...]`.

        Raises ValueError when they are not pairs of finite numbers, or when their number is not that of this kind.
        """
        if not isinstance(value, list) or not all(_is_point(point) for point in value):
            raise ValueError("points have to be [x, y] pairs of finite numbers")
        if not self.takes(len(value)):
            raise ValueError(f"{len(value)} points; a {self.json_name} has {self.numbers}")
        if len(value) > MAX_POINTS:
            raise ValueError(f"{len(value)} points; at most {MAX_POINTS} are read: simplify the outline")
        return np.array(value, dtype=np.float64)

    @abstractmethod
    def takes(self, count: int) -> bool:
        """Return whether a shape may have so many points."""

    def write_points(self, points: Points) -> list[list[float]]:
        """Return `[[x, y], ...]` for JSON, rounded to hundredths of a pixel."""
        return [[round(float(x), 2), round(float(y), 2)] for x, y in points]

    def margin(self, points: Points) -> float:
        """Return the fraction of the image's size by which points may lie outside it: annotators overshoot the edge."""
        return 0.05

    @abstractmethod
    def problem(self, points: Points) -> str | None:
        """Return why these points are degenerate, or None when they can be drawn."""

    def crosses_itself(self, points: Points) -> bool:
        """Return whether the outline crosses itself, so that the even-odd rule decides what is inside."""
        return False

    @abstractmethod
    def draw(self, points: Points, size: Size, thickness_px: float | None = None) -> tuple[Window, Mask]:
        """Return the window of an image of `size` that the shape touches, and its mask there.

        A pixel belongs to the shape when its centre lies in it or on its border. What lies outside the image is cut
        off; the window may be empty. `thickness_px` is the width of a line, and other kinds ignore it.
        """

    def without_stray_pieces(self, mask: Mask, between: Mask | None = None) -> Mask:
        """Return the pixels of a mask `(H, W)` bool that decide the shape; most kinds take all of them.

        Pieces that pixels of `between` `(H, W)` bool connect count as one.
        """
        return mask

    def fit(self, mask: Mask, spacing: Spacing | None = None) -> list[Points]:
        """Return the points of each shape fitted to `mask` `(H, W)` bool; an empty mask has none.

        With a spacing, kinds for which it makes a difference are fitted in millimetres. The points are in pixels.
        """
        return self._fit(mask, spacing) if mask.any() else []

    @abstractmethod
    def _fit(self, mask: Mask, spacing: Spacing | None) -> list[Points]:
        """Return what `fit` returns, for a mask with a pixel."""

    def agreement(self, points: Points, mask: Mask) -> float:
        """Return the intersection over union, 0 to 1, of the drawn shape and a mask `(H, W)` bool with a pixel."""
        window, drawn = self._filled(points, mask.shape)
        both = np.count_nonzero(drawn & mask[window])
        return float(both / (np.count_nonzero(mask) + np.count_nonzero(drawn) - both))

    def _filled(self, points: Points, size: Size) -> tuple[Window, Mask]:
        """Return what `draw` returns; a kind may compute it faster, with other pixels on the border."""
        return self.draw(points, size)

    def outline(self, points: Points, curve_points: int = CURVE_POINTS) -> Points:
        """Return the outline as a polyline or polygon `(N, 2)` without a closing point; curves have `curve_points`."""
        return points

    def edges(self, points: Points) -> list[tuple[Points, float]]:
        """Return edges `(N, 2, 2)` at which a line meets the shape, and by what fraction each is extended.

        Where a line meets none of the first, the next ones decide.
        """
        return [(closed_edges(self.outline(points)), 0.0)]

    def load(self) -> None:  # noqa: B027  (most kinds have nothing to load)
        """Load compiled code that `fit` needs, so that the first fit does not wait for it."""


def closed_edges(corners: Points) -> Points:
    """Return the edges `(N, 2, 2)` of a polygon `(N, 2)`, the last one back to its first corner."""
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(_is_finite(value) for value in point)


def _is_finite(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer of more than 308 digits
        return False
