"""Kind `region`: a closed polygon of three points or more, filled by the even-odd rule."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.extent import CENTRE_TOLERANCE, Window, pixel_window
from sonoseg.geometry.shape_kind import ShapeKind
from sonoseg.sizes import Size, Spacing
from sonoseg.types import Mask, Points

HALF_PIXEL = 0.5
NO_AREA_PX = 1e-9


class RegionKind(ShapeKind):
    json_name = "polygon"
    numbers = "3 or more"

    def takes(self, count: int) -> bool:
        return count >= 3

    def problem(self, points: Points) -> str | None:
        if abs(_signed_area(points)) < NO_AREA_PX and not self.crosses_itself(points):
            return "the region has no area: its points lie on one line"
        return None

    def crosses_itself(self, points: Points) -> bool:
        """Return whether two edges cross in a point inside both; edges that only touch do not cross."""
        start, end = points, np.roll(points, -1, axis=0)
        for index in range(len(points) - 2):
            others = slice(index + 2, len(points))
            of_others = _side(start[index], end[index], start[others]) * _side(start[index], end[index], end[others])
            of_edge = _side(start[others], end[others], start[index]) * _side(start[others], end[others], end[index])
            if ((of_others < 0) & (of_edge < 0)).any():
                return True
        return False

    def draw(self, points: Points, size: Size, thickness_px: float | None = None) -> tuple[Window, Mask]:
        """Return the even-odd fill, made row by row, with every centre that lies on an edge."""
        window, _, _ = pixel_window(points.min(axis=0), points.max(axis=0), size)
        left, right = window[1].start, window[1].stop
        mask = np.zeros((window[0].stop - window[0].start, right - left), dtype=bool)
        if not mask.size:
            return window, mask
        start, end = points, np.roll(points, -1, axis=0)
        upper = np.where((start[:, 1] <= end[:, 1])[:, None], start, end)
        lower = np.where((start[:, 1] <= end[:, 1])[:, None], end, start)
        flat = upper[:, 1] == lower[:, 1]
        slope = np.where(flat, 0.0, (lower[:, 0] - upper[:, 0]) / np.where(flat, 1.0, lower[:, 1] - upper[:, 1]))
        for row, y in enumerate(range(window[0].start, window[0].stop)):
            crossing = upper[:, 0] + slope * (y - upper[:, 1])
            # An edge owns its upper end and not its lower one, so that a corner is never counted twice.
            inside = np.sort(crossing[(upper[:, 1] <= y) & (y < lower[:, 1])])
            for first, last in zip(inside[::2], inside[1::2], strict=True):
                mask[row, _columns(first, last, left, right)] = True
            for edge in np.flatnonzero((upper[:, 1] <= y) & (y <= lower[:, 1])):
                x = crossing[edge]
                first, last = sorted((upper[edge, 0], lower[edge, 0])) if flat[edge] else (x, x)
                mask[row, _columns(first, last, left, right)] = True
        return window, mask

    def _fit(self, mask: Mask, spacing: Spacing | None) -> list[Points]:
        return fit_regions(mask)


def fit_regions(mask: Mask) -> list[Points]:
    """Return the outline `(N, 2)` (x, y) in pixels, N >= 3, of each component of a mask `(H, W)` bool, largest first.

    It runs through the border pixels. Holes are filled. Outlines are simplified by less than half a pixel. A component
    one pixel wide has no outline and is given a rectangle of that width. An empty mask has no outlines.
    """
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        polygon = cv2.approxPolyDP(contour, HALF_PIXEL, True).reshape(-1, 2).astype(np.float64)
        if len(polygon) < 3:
            polygon = _rectangle_along(polygon[0], polygon[-1])
        polygons.append(polygon)
    return polygons


def trace_regions(mask: Mask) -> list[Points]:
    """Return the outline `(N, 2)` (x, y) in pixels of each component of a mask `(H, W)` bool, holes filled.

    Unlike those of `fit_regions` the outlines are not simplified: exactly the component is drawn from each, which has
    an area, also where it is one pixel wide. They run a third of a pixel outside the centres of the border pixels. An
    empty mask has no outlines.
    """
    enlarged = np.repeat(np.repeat(mask.astype(np.uint8), 3, axis=0), 3, axis=1)
    contours, _ = cv2.findContours(enlarged, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [(contour.reshape(-1, 2).astype(np.float64) - 1) / 3 for contour in contours]


def _rectangle_along(start: Points, end: Points) -> Points:
    """Return the rectangle `(4, 2)`, one pixel wide, along two points and half a pixel beyond each."""
    along = (
        (end - start) / max(float(np.linalg.norm(end - start)), 1.0) if (end != start).any() else np.array([1.0, 0.0])
    )
    along = along * HALF_PIXEL
    across = np.array([-along[1], along[0]])
    return np.array([start - along - across, end + along - across, end + along + across, start - along + across])


def _columns(first: float, last: float, left: int, right: int) -> slice:
    """Return a window's columns whose centres lie between two x coordinates, both included; it begins at `left`."""
    begin = max(left, math.ceil(first - CENTRE_TOLERANCE))
    return slice(begin - left, max(begin, min(right, math.floor(last + CENTRE_TOLERANCE) + 1)) - left)


def _signed_area(points: Points) -> float:
    """Return the area by the shoelace formula, negative for one of the two directions of rotation."""
    x, y = (points - points.mean(axis=0)).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def _side(start: NDArray[np.float64], end: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the side of the line start-end on which a point lies: -1, 0 or 1; the arrays broadcast."""
    along, toward = end - start, point - start
    return np.sign(along[..., 0] * toward[..., 1] - along[..., 1] * toward[..., 0])
