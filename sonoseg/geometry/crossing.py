"""Where a line meets a shape. Points are (x, y) in pixels."""

import numpy as np

from sonoseg.geometry.points import ellipse_from_axis_ends
from sonoseg.geometry.shapes import Shape
from sonoseg.types import Points

_BEYOND = 0.5
"""A line or an upper edge is taken to go on straight at both ends by this part of its length: a midline that just
misses it still has a depth, one that is far from it has none."""
_ELLIPSE_SIDES = 720
_PARALLEL = 1e-9


def crossing(line: Points, shape: Shape) -> Points | None:
    """Return the uppermost point `(2,)` where a line `(2, 2)`, extended without end, meets a shape; None if nowhere.

    Rectangles are met at their upper edge, regions and ellipses at their outline.
    """
    edges, beyond = _edges(shape)
    start, along = line[0], line[1] - line[0]
    sides = edges[:, 1] - edges[:, 0]
    turned = along[0] * sides[:, 1] - along[1] * sides[:, 0]
    lengths = np.linalg.norm(along) * np.linalg.norm(sides, axis=1)
    usable = np.abs(turned) > _PARALLEL * np.maximum(lengths, _PARALLEL)
    edges, sides, turned = edges[usable], sides[usable], turned[usable]
    gaps = edges[:, 0] - start
    place = (gaps[:, 0] * along[1] - gaps[:, 1] * along[0]) / turned  # along each edge, 0 to 1 within it
    hits = edges[:, 0] + place[:, None] * sides
    hits = hits[(place >= -beyond) & (place <= 1 + beyond)]
    return hits[hits[:, 1].argmin()] if len(hits) else None


def outline(shape: Shape, ellipse_sides: int = _ELLIPSE_SIDES) -> Points:
    """Return a shape's points as they are drawn: a line's two ends, or a polygon `(N, 2)` without its closing point."""
    if shape.kind == "rectangle":
        (left, top), (right, bottom) = shape.points
        return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    if shape.kind == "ellipse":
        ellipse = ellipse_from_axis_ends(shape.points)
        turn, angles = np.radians(ellipse.angle_deg), np.linspace(0, 2 * np.pi, ellipse_sides, endpoint=False)
        along, across = ellipse.major / 2 * np.cos(angles), ellipse.minor / 2 * np.sin(angles)
        x = ellipse.x + along * np.cos(turn) - across * np.sin(turn)
        return np.stack([x, ellipse.y + along * np.sin(turn) + across * np.cos(turn)], axis=1)
    return shape.points


def _edges(shape: Shape) -> tuple[Points, float]:
    """Return the edges `(N, 2, 2)` that can be met, and by what part of its length each goes on at its ends."""
    corners = outline(shape)
    if shape.kind in ("line", "rectangle"):
        return corners[None, :2], _BEYOND
    return np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), 0.0
