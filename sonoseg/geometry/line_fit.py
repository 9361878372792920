"""Fit a segment to the mask of a drawn line; points are (x, y) in pixels of the mask.

A drawn line is a capsule: all pixel centres within half the thickness of the segment, so its ends are round.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.extent import mask_indices
from sonoseg.geometry.line_pieces import line_pieces
from sonoseg.types import Points

Array = NDArray[np.float64]

_BISECTIONS = 40
_SOFTNESS_PX = (0.4, 0.15, 0.06)
"""Softness of the capsule's edge: first about a pixel, so that the next pixel has a gradient, then almost as sharp as
the mask, because few pixels at the round ends determine their position."""
_TOLERANCES_PX = (2e-2, 5e-3, 1e-3)
"""A step this small ends the search at each softness; all but the last give only the start of the next."""
_REACH_PX = 3.0
"""Pixels up to this distance outside the first estimate are included."""
_PIXELS = (1_500, 1_500, 10_000)
"""Largest number of pixels at each softness: a sample is enough for the start of the next softness, and at the end for
a thick line. A line of 10 px across a large image has fewer."""


def fit_line(mask: NDArray[np.bool_]) -> Points:
    """Return the ends `(2, 2)` of the segment (x, y) in pixels whose drawing is nearest to a mask `(H, W)` bool.

    Only the pieces that lie on one line are fitted, see `line_pieces`: a line that is broken into pieces is fitted over
    its whole length, and a stray piece beside it changes nothing.

    The upper end is first, the left one of a horizontal segment. The start is the capsule on the principal axis with
    the mask's area and variance; least squares between its soft rendering and the mask then recover drawn lines to a
    fraction of a pixel at any angle, with little influence of ragged edges. A disc or a single pixel gives two (nearly)
    equal ends: a position without a direction. Raises ValueError for an empty mask.
    """
    mask = line_pieces(mask)
    rows, columns = mask_indices(mask)
    if not rows.size:
        raise ValueError("an empty mask has no line")
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    ends, radius = _capsule_of_moments(points)
    if not np.allclose(ends[0], ends[1]):
        ends = _nearest_capsule(mask, ends, radius)
    ends = _clipped(ends, points.min(axis=0), points.max(axis=0))
    along = ends[1] - ends[0]
    backwards = along[1] < 0 if abs(along[1]) >= abs(along[0]) else along[0] < 0
    return ends[::-1].copy() if backwards else ends


def _clipped(ends: Points, low: Array, high: Array) -> Points:
    """Return the part of a segment inside the box from `low` to `high`, which contains all pixels of the mask.

    Where a mask has gaps, or ends at the image's border, the fit does not limit the position of an end.
    """
    along = ends[1] - ends[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        positions = np.sort(np.stack([(low - ends[0]) / along, (high - ends[0]) / along]), axis=0)
    first, last = max(0.0, np.nanmax(positions[0], initial=0.0)), min(1.0, np.nanmin(positions[1], initial=1.0))
    inside = ends[0] + np.array([[first], [last]]) * along if first < last else ends
    return np.clip(inside, low, high)


def _capsule_of_moments(points: Points) -> tuple[Points, float]:
    """Return ends and radius of the capsule with the area and the principal variance of these pixels `(N, 2)`."""
    centre, area = points.mean(axis=0), float(len(points))
    variances, axes = np.linalg.eigh(np.cov(points.T, bias=True) if len(points) > 1 else np.zeros((2, 2)))
    low, high = 0.0, math.sqrt(12 * max(variances[1], 0.0))  # the variance of a bare segment is L^2 / 12
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _capsule_variance(middle, area) < variances[1] else (low, middle)
    half = axes[:, 1] * low / 2
    return np.stack([centre - half, centre + half]), _capsule_radius(low, area)


def _capsule_radius(length: float, area: float) -> float:
    """Solve area = 2 r L + pi r^2 for r."""
    return (math.sqrt(length**2 + math.pi * area) - length) / math.pi


def _capsule_variance(length: float, area: float) -> float:
    """Return the variance along the axis of a capsule of this length and area: that of its rectangle and half discs.

    A half disc of radius r has its centroid at 4 r / (3 pi) from its diameter and a mean square of r^2 / 4.
    """
    radius = _capsule_radius(length, area)
    caps = length**2 / 4 + length * 4 * radius / (3 * math.pi) + radius**2 / 4
    return (2 * radius * length**3 / 12 + math.pi * radius**2 * caps) / area


def _nearest_capsule(mask: NDArray[np.bool_], ends: Points, radius: float) -> Points:
    """Return the ends of the capsule nearest to the mask, by Levenberg-Marquardt steps on its two ends and radius."""
    from sonoseg.geometry.capsule import levenberg_marquardt

    pixels, target = _pixels_near(mask, ends, radius)
    values = np.array([*ends.ravel(), radius])
    for softness_px, tolerance_px, most in zip(_SOFTNESS_PX, _TOLERANCES_PX, _PIXELS, strict=True):
        sample = slice(None, None, max(1, -(-target.size // most)))
        values = levenberg_marquardt(
            np.ascontiguousarray(pixels[:, sample]), target[sample].copy(), values, softness_px, tolerance_px
        )
    return values[:4].reshape(2, 2)


def _pixels_near(mask: NDArray[np.bool_], ends: Points, radius: float) -> tuple[Array, Array]:
    """Return pixels around a capsule `(2, N)`, x and y, and whether each is in the mask `(N,)`."""
    reach = radius + _REACH_PX
    left, top = np.maximum(np.floor(ends.min(axis=0) - reach), 0).astype(int)
    right, bottom = np.ceil(ends.max(axis=0) + reach).astype(int) + 1
    window = mask[top:bottom, left:right]
    rows, columns = np.indices(window.shape)
    pixels = np.stack([columns.ravel() + left, rows.ravel() + top]).astype(np.float64)
    near = np.flatnonzero(_distance_to_segment(pixels, ends) <= reach)
    return pixels[:, near], window.ravel()[near].astype(np.float64)


def _distance_to_segment(pixels: Array, ends: Points) -> Array:
    """Return the distances `(N,)` of pixels `(2, N)` from a segment."""
    along = ends[1] - ends[0]
    from_start = pixels - ends[0][:, None]
    position = np.clip((along @ from_start) / max(float(along @ along), np.finfo(float).eps), 0, 1)
    return np.hypot(*(from_start - along[:, None] * position))
