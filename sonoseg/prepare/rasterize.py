"""Shapes to label maps. A pixel belongs to a shape when its centre lies in it or on its border.

Pixel centres have integer coordinates. Each function below returns the mask of the shape's bounding box, cut to the
image, and where that box begins, so that the cost grows with the shape and not with the image.
"""

import math
from collections.abc import Iterable

import numpy as np

from sonoseg.geometry.points import ellipse_from_axis_ends
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotations import drawing_order
from sonoseg.schema.task import Task
from sonoseg.types import Mask, Pixels, Points

TOLERANCE = 1e-9
"""Pixels: what floating-point arithmetic may add to a centre that lies exactly on a border."""

Window = tuple[slice, slice]


def label_map(shapes: Iterable[Shape], size: tuple[int, int], task: Task) -> Pixels:
    """Draw shapes on an empty map of `size` (height, width) and return it, uint8, 0 where nothing is.

    Where classes cross, the one that the task names in `covered_by` stays on top. Parts outside the image are cut off.
    """
    labels = np.zeros(size, dtype=np.uint8)
    shapes = list(shapes)
    for structure in drawing_order(task.structures):
        for shape in shapes:
            if shape.structure == structure.name:
                window, mask = draw(shape, size, structure.thickness_px)
                labels[window][mask] = task.index_of(structure.name)
    return labels


def draw(shape: Shape, size: tuple[int, int], thickness_px: float | None = None) -> tuple[Window, Mask]:
    """Return the window of the image that a shape touches and its mask there; `thickness_px` is a line's width."""
    points = np.asarray(shape.points, dtype=np.float64)
    if shape.kind == "line":
        return _line(points[0], points[1], float(thickness_px or 1), size)
    if shape.kind == "rectangle":
        window, _, _ = _window(points.min(axis=0), points.max(axis=0), size)
        return window, np.ones((window[0].stop - window[0].start, window[1].stop - window[1].start), dtype=bool)
    if shape.kind == "ellipse":
        return _ellipse(points, size)
    return _region(points, size)


def _window(low: Points, high: Points, size: tuple[int, int]) -> tuple[Window, Points, Points]:
    """Return the window between two corners (x, y), borders included, and its x `(1, w)` and y `(h, 1)` coordinates."""
    height, width = size
    left, top = (max(0, math.ceil(value - TOLERANCE)) for value in low)
    right = max(left, min(width, math.floor(high[0] + TOLERANCE) + 1))
    bottom = max(top, min(height, math.floor(high[1] + TOLERANCE) + 1))
    x = np.arange(left, right, dtype=np.float64)[None, :]
    y = np.arange(top, bottom, dtype=np.float64)[:, None]
    return (slice(top, bottom), slice(left, right)), x, y


def _line(start: Points, end: Points, thickness: float, size: tuple[int, int]) -> tuple[Window, Mask]:
    """All centres at most half the thickness away from the segment: a bar with round ends."""
    radius = thickness / 2
    window, x, y = _window(np.minimum(start, end) - radius, np.maximum(start, end) + radius, size)
    along = end - start
    squared = float(along @ along)
    part = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / squared if squared else np.zeros_like(x * y)
    part = np.clip(part, 0, 1)
    distance = np.hypot(x - start[0] - part * along[0], y - start[1] - part * along[1])
    return window, distance <= radius + TOLERANCE


def _ellipse(ends: Points, size: tuple[int, int]) -> tuple[Window, Mask]:
    ellipse = ellipse_from_axis_ends(ends)
    centre = np.array([ellipse.x, ellipse.y])
    a, b = ellipse.major / 2, ellipse.minor / 2
    turn = math.radians(ellipse.angle_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    reach = np.array([math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)])
    window, x, y = _window(centre - reach, centre + reach, size)
    dx, dy = x - ellipse.x, y - ellipse.y
    return window, ((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2 <= 1 + TOLERANCE


def _region(points: Points, size: tuple[int, int]) -> tuple[Window, Mask]:
    """Even-odd fill, row by row, plus every centre that lies on an edge."""
    window, _, _ = _window(points.min(axis=0), points.max(axis=0), size)
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
            first, last = sorted((upper[edge, 0], lower[edge, 0])) if flat[edge] else (crossing[edge], crossing[edge])
            mask[row, _columns(first, last, left, right)] = True
    return window, mask


def _columns(first: float, last: float, left: int, right: int) -> slice:
    """Return a window's columns whose centres lie between two x coordinates, both included; it begins at `left`."""
    begin = max(left, math.ceil(first - TOLERANCE))
    return slice(begin - left, max(begin, min(right, math.floor(last + TOLERANCE) + 1)) - left)
