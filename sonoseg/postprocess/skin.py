"""The skin surface on the midline."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.types import Pixels, Points

BAND_WIDTH = 0.1
"""Width of the band around the midline that is averaged, as a fraction of the image's width: far wider than a speckle,
and narrow enough for a curved skin line to remain a single step."""
SEARCH_DEPTH = 0.25
"""Fraction of the image's height, from the top, in which the skin is searched."""
SMOOTHING = 0.003
"""Standard deviation of the row profile's smoothing, as a fraction of the image's height."""
PROMINENCE = 0.3
"""Rise (and fall) of the first boundary, as a fraction of the profile's range in the search depth: haze and
reverberations of the gel stay below it."""
MIN_CONTRAST = 0.1
"""Range of the profile, as a fraction of the image's range of grey values, below which no boundary is accepted."""

NO_BOUNDARY = "skin not found: no echogenic boundary near the top of the image"


@dataclass(frozen=True)
class Skin:
    """Row of the skin surface on the midline, in pixels with a fraction; None, with the reason, when there is none."""

    row: float | None
    reason: str = ""


def find_skin(image: Pixels, midline: Points) -> Skin:
    """Return where the first echogenic boundary below the top of an image `(H, W)` crosses a midline `(2, 2)`.

    The grey values of a band along the midline, extended straight to the top, are averaged row by row and smoothed.
    The first maximum that exceeds the values above and below it by `PROMINENCE` is the skin's echo. A thin boundary
    lies where its echo is strongest, and the deeper structures are annotated there too, so depths run from centre to
    centre. An echo that is bright from the first row on means that the image begins at the skin: row 0.
    """
    height, width = image.shape
    along = midline[1] - midline[0]
    if abs(along[1]) <= abs(along[0]):
        return Skin(None, "skin not found: the midline is closer to horizontal than to vertical")
    rows = np.arange(max(2, round(height * SEARCH_DEPTH)))
    centres = midline[0, 0] + (rows - midline[0, 1]) * along[0] / along[1]
    if not 0 <= centres[0] <= width - 1:
        return Skin(None, "skin not found: the midline leaves the image through a side")
    profile = _row_profile(image, rows, centres)
    contrast = _level(image, 0.99) - _level(image, 0.01)
    span = float(np.ptp(profile))
    if span <= max(MIN_CONTRAST * contrast, float(np.finfo(np.float32).eps)):
        return Skin(None, NO_BOUNDARY)
    return _first_boundary(profile, PROMINENCE * span)


def _level(image: Pixels, fraction: float) -> int:
    """Return the grey value that this fraction of an image's pixels does not exceed."""
    counts = cv2.calcHist([image], [0], None, [256], (0, 256)).cumsum(dtype=np.float64)
    return int(np.searchsorted(counts, fraction * counts[-1]))


def _row_profile(image: Pixels, rows: NDArray[np.int64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean grey value of the band at each row, smoothed along the rows."""
    height, width = image.shape
    half = max(1, round(width * BAND_WIDTH / 2))
    columns = np.rint(centres).astype(int)[:, None] + np.arange(-half, half + 1)
    inside = (columns >= 0) & (columns < width)
    values = np.where(inside, image[rows[:, None], np.clip(columns, 0, width - 1)].astype(np.float64), 0)
    means = values.sum(axis=1) / inside.sum(axis=1)
    sigma = max(height * SMOOTHING, 0.5)  # below half a pixel a Gaussian is a single sample
    return cv2.GaussianBlur(means[:, None], (1, 0), sigmaX=sigma, sigmaY=sigma, borderType=cv2.BORDER_REPLICATE)[:, 0]


def _first_boundary(profile: NDArray[np.float64], prominence: float) -> Skin:
    """Return the first maximum of this prominence, to a fraction of a row (parabola through three values)."""
    peak = 0
    for row, value in enumerate(profile):
        if value > profile[peak]:
            peak = row
        if profile[peak] - value >= prominence:
            break
    else:
        return Skin(None, NO_BOUNDARY)
    if profile[peak] - profile[: peak + 1].min() < prominence:
        return Skin(0.0)
    before, top, after = profile[peak - 1 : peak + 2]
    curvature = before - 2 * top + after
    # A saturated echo has a level top: no parabola.
    return Skin(float(peak) if curvature == 0 else peak + 0.5 * float((before - after) / curvature))
