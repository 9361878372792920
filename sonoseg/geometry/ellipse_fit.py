"""Fit an ellipse to a mask. A pixel at column x and row y stands for the point (x, y)."""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.extent import extent, mask_indices
from sonoseg.geometry.points import Ellipse, scale_of
from sonoseg.sizes import Spacing
from sonoseg.types import Mask, Points

HALF_PIXEL = 0.5
FEWEST_POINTS = 6
"""Five points determine an ellipse, so six are the fewest with a residual."""


def fit_ellipse(mask: Mask, spacing: Spacing | None = None) -> Ellipse | None:
    """Return the ellipse, in pixels, along the outer border of the largest component of a mask `(H, W)` bool.

    None for a mask without an area. The ellipse is fitted to edge points half-way between a pixel inside and its
    neighbour outside, so the diameter is not a pixel short as it is for a contour through pixel centres. Holes are
    filled; where the mask is cut off by the image there is no edge. With a spacing, points are scaled to millimetres
    first. Direct least squares (Fitzgibbon et al. 1999), or the ellipse of equal second moments when that is
    degenerate.
    """
    component = _largest_filled(mask)
    scale = scale_of(spacing)
    edges = edge_points(component) * scale
    ellipse = _direct_fit(edges, limit=float(np.linalg.norm(np.array(mask.shape[::-1]) * scale)))
    if ellipse is None:
        ellipse = _ellipse_of_moments(component, scale)
    return ellipse.scaled(1 / scale) if ellipse else None


def edge_points(mask: Mask) -> Points:
    """Return the mid-points `(N, 2)` (x, y), in pixels, between the pixels of a mask `(H, W)` bool and those outside.

    Compared are the four neighbours of each pixel. A mask without an edge has no such points.
    """
    window = extent(mask, margin=1)
    top, left = window[0].start, window[1].start
    mask = mask[window]
    rows, columns = np.nonzero(mask[:, 1:] != mask[:, :-1])
    beside = np.stack([columns + left + HALF_PIXEL, rows + top], axis=1)
    rows, columns = np.nonzero(mask[1:] != mask[:-1])
    return np.concatenate([beside, np.stack([columns + left, rows + top + HALF_PIXEL], axis=1)])


def _largest_filled(mask: Mask) -> Mask:
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(mask.shape, np.uint8)
    if contours:
        cv2.drawContours(filled, [max(contours, key=cv2.contourArea)], -1, 1, thickness=cv2.FILLED)
    return filled.view(bool)


def _direct_fit(points: Points, limit: float) -> Ellipse | None:
    """Return the fitted ellipse; None for too few points, no finite result, or axes beyond `limit` or of length 0."""
    if len(points) < FEWEST_POINTS:
        return None
    centre = points.mean(axis=0)  # OpenCV computes in float32: keep the numbers small
    cv2.setRNGSeed(0)  # OpenCV adds noise to points that are almost on a line, from the calling thread's generator
    try:
        (x, y), (first, second), angle = cv2.fitEllipseDirect((points - centre).astype(np.float32))
    except cv2.error:
        return None
    if not np.isfinite([x, y, first, second, angle]).all() or min(first, second) <= 0 or max(first, second) > limit:
        return None
    if second > first:
        first, second, angle = second, first, angle + 90
    return Ellipse(float(centre[0] + x), float(centre[1] + y), float(first), float(second), angle % 180)


def _ellipse_of_moments(mask: Mask, scale: NDArray[np.float64]) -> Ellipse | None:
    """Return the ellipse with the mask's centre and second moments: an axis of length d has the variance d^2 / 16."""
    rows, columns = mask_indices(mask)
    points = np.stack([columns, rows], axis=1) * scale
    if len(points) < 3:
        return None
    variances, axes = np.linalg.eigh(np.cov(points.T, bias=True))
    if variances[0] <= 0:
        return None
    minor, major = 4 * np.sqrt(variances)
    x, y = points.mean(axis=0)
    return Ellipse(float(x), float(y), float(major), float(minor), math.degrees(math.atan2(*axes[::-1, 1])) % 180)
