"""Fit the shape a class is reported as to its mask; points are (x, y) in pixels of the mask.

A pixel at column x and row y stands for the point (x, y). A drawn line holds every pixel centre within half its
thickness of the segment; a drawn rectangle includes both its corners.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.extent import extent, places
from sonoseg.geometry.line_fit import fit_line
from sonoseg.geometry.points import Ellipse, scale_of
from sonoseg.geometry.shapes import Shape
from sonoseg.sizes import Spacing
from sonoseg.types import Mask, Points

_HALF_PIXEL = 0.5
_TYPICAL_COVERAGE = 0.5
"""A row or column belongs to a rectangle when it has at least this part of the typical one's pixels."""


def fit_shapes(mask: Mask, structure: str, kind: str, spacing: Spacing | None = None) -> list[Shape]:
    """Return the shapes of one class, `mask` being its full `(H, W)` bool mask.

    One line, rectangle or ellipse; for `region` one polygon per piece, largest first. An empty mask gives none.
    Spacing matters to ellipses alone, which are fitted in millimetres.
    """
    if not mask.any():
        return []
    if kind == "region":
        return [Shape(structure, "region", polygon) for polygon in fit_regions(mask)]
    if kind == "line":
        return [Shape(structure, "line", fit_line(mask))]
    if kind == "rectangle":
        return [Shape(structure, "rectangle", fit_rectangle(mask))]
    ellipse = fit_ellipse(mask, spacing)
    return [Shape(structure, "ellipse", ellipse.axis_ends())] if ellipse else []


def fit_rectangle(mask: Mask) -> Points:
    """Return the corners `(2, 2)`, upper left and lower right, both inside, of an axis-aligned rectangle.

    It spans the rows and columns that have at least half the pixels of the typical one (the row, or column, of the
    median pixel), so whiskers and frayed rims do not stretch it; a true rectangle comes back exactly.
    """
    (left, right), (top, bottom) = (_span(mask.sum(axis=axis)) for axis in (0, 1))
    return np.array([[left, top], [right, bottom]], dtype=np.float64)


def _span(counts: NDArray[np.int64]) -> tuple[int, int]:
    inside = counts[counts > 0]
    typical = np.median(np.repeat(inside, inside))
    places = np.flatnonzero(counts >= _TYPICAL_COVERAGE * typical)
    return int(places[0]), int(places[-1])


def fit_ellipse(mask: Mask, spacing: Spacing | None = None) -> Ellipse | None:
    """Return the ellipse, in pixels, along the outer border of the mask's largest piece; None when there is no area.

    It is fitted to edge points half-way between a pixel inside and its neighbour outside, so the diameter is not a
    pixel short as it is for a contour through pixel centres. Holes are filled; where the mask is cut off by the image
    there is no edge. Points are scaled to millimetres first. Direct least squares (Fitzgibbon et al. 1999), or the
    ellipse of equal second moments when that is degenerate.
    """
    piece = _largest_filled(mask)
    scale = scale_of(spacing)
    edges = edge_points(piece) * scale
    ellipse = _direct_fit(edges, limit=float(np.linalg.norm(np.array(mask.shape[::-1]) * scale)))
    if ellipse is None:
        ellipse = _ellipse_of_moments(piece, scale)
    return scaled(ellipse, 1 / scale) if ellipse else None


def edge_points(mask: Mask) -> Points:
    """Return the mid-points `(N, 2)` between every pixel inside the mask and its four neighbours outside."""
    part = extent(mask, margin=1)
    top, left = part[0].start, part[1].start
    mask = mask[part]
    rows, columns = np.nonzero(mask[:, 1:] != mask[:, :-1])
    beside = np.stack([columns + left + _HALF_PIXEL, rows + top], axis=1)
    rows, columns = np.nonzero(mask[1:] != mask[:-1])
    return np.concatenate([beside, np.stack([columns + left, rows + top + _HALF_PIXEL], axis=1)])


def scaled(ellipse: Ellipse, scale: NDArray[np.float64]) -> Ellipse:
    """Return the ellipse after multiplying x and y by `scale` `(2,)`: with (col_mm, row_mm), pixels become mm.

    Unequal factors turn the axes, so they are found anew: an ellipse is the image of the unit circle under a matrix,
    whose singular values are its half-axes.
    """
    turn = math.radians(ellipse.angle_deg)
    cos, sin = math.cos(turn), math.sin(turn)
    half_axes = np.array([[cos * ellipse.major, -sin * ellipse.minor], [sin * ellipse.major, cos * ellipse.minor]]) / 2
    directions, lengths, _ = np.linalg.svd(np.asarray(scale)[:, None] * half_axes)
    angle = math.degrees(math.atan2(directions[1, 0], directions[0, 0])) % 180
    x, y = np.array([ellipse.x, ellipse.y]) * scale
    return Ellipse(float(x), float(y), float(2 * lengths[0]), float(2 * lengths[1]), angle)


def fit_regions(mask: Mask) -> list[Points]:
    """Return the outline `(N, 2)`, N >= 3, of each piece through its border pixels, largest piece first.

    Holes are filled. Outlines are simplified by less than half a pixel. A piece one pixel wide has no outline: it gets
    a rectangle of that width.
    """
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        polygon = cv2.approxPolyDP(contour, _HALF_PIXEL, True).reshape(-1, 2).astype(np.float64)
        if len(polygon) < 3:
            polygon = _around(polygon[0], polygon[-1])
        polygons.append(polygon)
    return polygons


def _around(start: Points, end: Points) -> Points:
    """Return the rectangle `(4, 2)` one pixel wide along two points, half a pixel beyond each."""
    along = (
        (end - start) / max(float(np.linalg.norm(end - start)), 1.0) if (end != start).any() else np.array([1.0, 0.0])
    )
    along = along * _HALF_PIXEL
    across = np.array([-along[1], along[0]])
    return np.array([start - along - across, end + along - across, end + along + across, start - along + across])


def _largest_filled(mask: Mask) -> Mask:
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    if contours:
        cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, thickness=cv2.FILLED)
    return filled.view(bool)


def _direct_fit(points: Points, limit: float) -> Ellipse | None:
    """Return the fitted ellipse, or None: too few points, no finite answer, or axes beyond `limit` or of no length."""
    if len(points) < 6:  # five points decide an ellipse, so six are the fewest that can disagree
        return None
    middle = points.mean(axis=0)  # OpenCV computes in float32: keep the numbers small
    try:
        (x, y), (first, second), angle = cv2.fitEllipseDirect((points - middle).astype(np.float32))
    except cv2.error:
        return None
    if not np.isfinite([x, y, first, second, angle]).all() or min(first, second) <= 0 or max(first, second) > limit:
        return None
    if second > first:
        first, second, angle = second, first, angle + 90
    return Ellipse(float(middle[0] + x), float(middle[1] + y), float(first), float(second), angle % 180)


def _ellipse_of_moments(mask: Mask, scale: NDArray[np.float64]) -> Ellipse | None:
    """Ellipse with a mask's centre and second moments: its variance along an axis of length d is d^2 / 16."""
    rows, columns = places(mask)
    points = np.stack([columns, rows], axis=1) * scale
    if len(points) < 3:
        return None
    variances, axes = np.linalg.eigh(np.cov(points.T, bias=True))
    if variances[0] <= 0:
        return None
    minor, major = 4 * np.sqrt(variances)
    x, y = points.mean(axis=0)
    return Ellipse(float(x), float(y), float(major), float(minor), math.degrees(math.atan2(*axes[::-1, 1])) % 180)
