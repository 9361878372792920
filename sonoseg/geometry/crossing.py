"""Where a line meets a shape. Points are (x, y) in pixels."""

import numpy as np

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.shapes import Shape
from sonoseg.types import Points

PARALLEL = 1e-9
"""Edges are skipped when the sine of their angle to the line is not above this."""


def crossing(line: Points, shape: Shape) -> Points | None:
    """Return the uppermost point `(2,)` where a line `(2, 2)`, extended without end, meets a shape, or None.

    Lines and rectangles are met at what `ShapeKind.edges` says, regions and ellipses at their outline.
    """
    for edges, extension in SHAPE_KINDS[shape.kind].edges(shape.points):
        hits = _hits(line, edges, extension)
        if len(hits):
            return hits[hits[:, 1].argmin()]
    return None


def _hits(line: Points, edges: Points, extension: float) -> Points:
    """Return the points `(M, 2)` where an endless line meets edges `(N, 2, 2)` that are extended by a fraction."""
    start, along = line[0], line[1] - line[0]
    sides = edges[:, 1] - edges[:, 0]
    determinant = along[0] * sides[:, 1] - along[1] * sides[:, 0]
    lengths = np.linalg.norm(along) * np.linalg.norm(sides, axis=1)
    usable = np.abs(determinant) > PARALLEL * np.maximum(lengths, PARALLEL)
    edges, sides, determinant = edges[usable], sides[usable], determinant[usable]
    offsets = edges[:, 0] - start
    position = (offsets[:, 0] * along[1] - offsets[:, 1] * along[0]) / determinant  # along each edge, 0 to 1 within it
    hits = edges[:, 0] + position[:, None] * sides
    met: Points = hits[(position >= -extension) & (position <= 1 + extension)]
    return met
