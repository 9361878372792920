"""The skin surface on the midline."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.types import Pixels, Points

Array = NDArray[np.float64]

BAND_WIDTH = 0.1
"""Width of the band around the midline that is averaged, as a fraction of the image's width: far wider than a speckle,
and narrow enough for a curved skin line to remain a single step."""
SEARCH_DEPTH = 0.25
"""Fraction of the image's height, below its top or below graphics there, in which the skin is searched."""
SMOOTHING = 0.003
"""Standard deviation of the row profile's smoothing, as a fraction of the image's height."""
PROMINENCE = 0.3
"""Rise (and fall) of the first boundary, as a fraction of the profile's range in the search depth: haze and
reverberations of the gel stay below it."""
MIN_CONTRAST = 0.1
"""Range of the profile, as a fraction of the image's range of grey values, below which no boundary is accepted."""
FIRST_LAYER = 0.8
"""Height of the first of several maxima without a fall in between, as a fraction of the highest one."""
DARK = 0.5
"""Gel and other layers without echoes are darker than this fraction of the median of what lies below the boundary."""

EVEN = 3
"""Grey values that a row of a bar or frame lies within, also after JPEG. Speckle varies more."""
EXACTLY_EVEN = 1
"""The same for a bar that may be as dark as gel, which has a little noise."""
EVEN_SHARE = 0.95
"""Share of a row's pixels that near their median, from which the row is even."""
BLACK = 5
"""Grey value up to which an even row may be gel without any echo, or a margin, also after JPEG."""
BRIGHTEST = 0.998
"""Quantile of the image's grey values that counts as its brightest: an echo of the skin may be one pixel in 200."""
BRIGHT = 0.4
"""Echoes, and bars that cannot be gel, are brighter than this fraction of the image's brightest pixels."""
FULL = 0.8
"""Fraction of a bar's grey value that its first two and its last two rows reach, and the rows beside it do not."""
SHARP_SHARE = 0.04
"""Share of a row's pixels beside which the grey value changes by half of the brightest within two pixels: letters.
Ultrasound is blurred by the beam, and has next to none."""
NEAR = 0.02
"""Distance below the skin, as a fraction of the image's height, in which letters blend with its echo."""
_GAP = 3
"""Rows without an upright stroke that letters have at most in a sequence."""
_EDGE = 2
"""Rows below graphics that their blurred edge reaches."""

NO_BOUNDARY = "skin not found: no echogenic boundary near the top of the image"


@dataclass(frozen=True)
class Skin:
    """Row of the skin surface on the midline, in pixels with a fraction; None, with the reason, when there is none.

    doubt: why the row may be wrong, so that a person should look; empty when there is a single candidate.
    """

    row: float | None
    reason: str = ""
    doubt: str = ""


def find_skin(image: Pixels, midline: Points) -> Skin:
    """Return where the first echogenic boundary below the top of an image `(H, W)` uint8 crosses a midline `(2, 2)`.

    The grey values of a band along the midline, extended straight to the top, are averaged row by row and smoothed.
    The first maximum that exceeds the values above and below it by `PROMINENCE` is the skin's echo. A thin boundary
    lies where its echo is strongest, and the deeper structures are annotated there too, so depths run from centre to
    centre.

    Bars, frames and letters at the top are skipped. Where the rest is bright from its first row on, that is ring-down
    of the transducer if another boundary lies below a dark layer of gel, and else the skin. Both results are doubtful,
    and so is a boundary without gel between it and the graphics, which may hide the skin, or below a bar that is no
    brighter than what follows. A black bar cannot be told from gel. Where nothing else is found, what was skipped is
    the skin, with a doubt.
    """
    height, width = image.shape
    along = midline[1] - midline[0]
    if abs(along[1]) <= abs(along[0]):
        return Skin(None, "skin not found: the midline is closer to horizontal than to vertical")
    depth = max(2, round(height * SEARCH_DEPTH))
    centres = midline[0, 0] + (np.arange(min(2 * depth, height)) - midline[0, 1]) * along[0] / along[1]
    if not 0 <= centres[0] <= width - 1:
        return Skin(None, "skin not found: the midline leaves the image through a side")
    band, inside = _band(image, centres)
    darkest, brightest = _level(image, 0.01), _level(image, BRIGHTEST)
    means = band[:depth].mean(axis=1)
    is_bright = means >= BRIGHT * brightest
    even = _even_rows(band[:depth], EVEN) & is_bright
    bars = _even_rows(band[:depth], EXACTLY_EVEN) & (means > BLACK)
    graphics = _graphics(band[:depth], means, (even, bars & ~is_bright), brightest)
    least = max(MIN_CONTRAST * (brightest - darkest), float(np.finfo(np.float32).eps))

    def search(top: int) -> Skin:
        profile = _row_profile(band[top : top + depth], inside[top : top + depth], height * SMOOTHING)
        span = float(np.ptp(profile))
        return _choose(profile, top, PROMINENCE * span) if span > least else Skin(None, NO_BOUNDARY)

    skin = search(_end_of_graphics(graphics, is_bright))
    if skin.row is None:
        skin = search(0)  # what was skipped may be the skin after all, with a doubt
    if skin.row is None or skin.doubt:
        return skin
    doubt = _doubt(skin.row, graphics, even, NEAR * height) or _bars_above(skin.row, bars & ~graphics)
    return replace(skin, doubt=doubt)


def _bars_above(row: float, bars: NDArray[np.bool_]) -> str:
    """Return the doubt about a row of the skin below bars `(R,)` that are no brighter than what follows; or nothing."""
    above = np.flatnonzero(bars[: round(row)])
    if len(above) < 2:  # a single row is a chance in dark gel, and hides no skin
        return ""
    bar = f"rows {above[0]} to {above[-1]} are a bar of one grey value"
    return f"{bar}, which may hide the skin; row {row:.0f} is taken"


def _doubt(row: float, graphics: NDArray[np.bool_], even: NDArray[np.bool_], near: float) -> str:
    """Return the doubt about a row of the skin with whose echo letters blend, or that is as even as graphics are."""
    at = round(row)
    if even[max(at - 1, 0) : at + 2].any():
        return f"row {at}, taken as the skin, has a single grey value, as graphics have"
    if graphics[at : round(row + near) + _GAP + 1].any():
        return f"letters lie across row {at}, taken as the skin"
    return ""


def _level(image: Pixels, fraction: float) -> int:
    """Return the grey value that this fraction of an image's pixels does not exceed."""
    counts = cv2.calcHist([image], [0], None, [256], (0, 256)).cumsum(dtype=np.float64)
    return int(np.searchsorted(counts, fraction * counts[-1]))


def _band(image: Pixels, centres: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Return the pixels `(R, N)` around the centres `(R,)` of the first R rows, and which of them lie in the image."""
    width = image.shape[1]
    half = max(1, round(width * BAND_WIDTH / 2))
    columns = np.rint(centres).astype(int)[:, None] + np.arange(-half, half + 1)
    values = image[np.arange(len(centres))[:, None], np.clip(columns, 0, width - 1)].astype(np.float64)
    return values, (columns >= 0) & (columns < width)


def _even_rows(band: Array, within: int) -> NDArray[np.bool_]:
    """Return which rows of a band `(R, N)` have a single grey value, within this many, but for a few pixels."""
    even = np.abs(band - np.median(band, axis=1, keepdims=True)) <= within
    return even.mean(axis=1) >= EVEN_SHARE


def _graphics(band: Array, means: Array, bars: Sequence[NDArray[np.bool_]], brightest: float) -> NDArray[np.bool_]:
    """Return which rows of a band `(R, N)` belong to letters, or to bars: even ones `(R,)` with sharp edges."""
    steps = np.maximum(abs(band[:, 2:] - band[:, :-2]), abs(band[:, 1:-1] - band[:, :-2])) >= brightest / 2
    rows = steps.mean(axis=1) >= SHARP_SHARE
    means = np.pad(means, (1, 1))  # nothing above the image, and below it the same
    edges = [np.flatnonzero(np.diff(np.concatenate([[0], even, [0]]))).reshape(-1, 2) for even in bars]
    for start, end in np.concatenate(edges):
        run, level = means[start + 1 : end + 1], means[start + 1 : end + 1].max()
        # An echo fades in and out over several rows; a bar, also after JPEG, has its level in its second row.
        sharp = min(run[:2].max(), run[-2:].max()) >= FULL * level and max(means[start], means[end + 1]) < FULL * level
        rows[start:end] |= sharp
    return rows


def _end_of_graphics(rows: NDArray[np.bool_], is_bright: NDArray[np.bool_]) -> int:
    """Return how many rows, from the first one, are graphics or lie between them before the first echo; often 0."""
    top = 0
    for row in np.flatnonzero(rows):
        if row > top + _GAP and is_bright[top + _EDGE : row].any():
            break  # there is an echo above: these letters lie in the tissue
        top = int(row) + 1
    return min(top + _EDGE, len(rows)) if top else 0


def _row_profile(band: Array, inside: NDArray[np.bool_], sigma: float) -> Array:
    """Return the mean grey value of the band at each row `(R,)`, smoothed along the rows."""
    means = np.where(inside, band, 0).sum(axis=1) / np.maximum(inside.sum(axis=1), 1)
    sigma = max(sigma, 0.5)  # below half a pixel a Gaussian is a single sample
    return cv2.GaussianBlur(means[:, None], (1, 0), sigmaX=sigma, sigmaY=sigma, borderType=cv2.BORDER_REPLICATE)[:, 0]


def _choose(profile: Array, top: int, prominence: float) -> Skin:
    """Return the skin from the row profile, which begins at row `top` of the image, below graphics unless that is 0."""
    peaks = _boundaries(profile, prominence)
    if not peaks:
        return Skin(None, NO_BOUNDARY)
    is_bright_at_once = profile[peaks[0]] - profile[: peaks[0] + 1].min() < prominence
    above = f"graphics end at row {top}" if top else "the image begins bright"
    if is_bright_at_once:
        peaks[0] = 0
        below_gel = [(last, peak) for last, peak in pairwise(peaks) if _is_dark(profile, last, peak)]
        if not below_gel:
            return Skin(float(top), doubt=f"{above}, and is taken as the skin: no gel can be seen above it")
        row = _refined(profile, _first_layer(profile, *below_gel[-1])) + top
        return Skin(row, doubt=f"{above}, which may be the skin or the transducer; row {row:.0f} is taken")
    row = _refined(profile, _first_layer(profile, 0, peaks[0])) + top
    if top and not _is_dark(profile, 0, peaks[0]):
        return Skin(row, doubt=f"{above} and may hide the skin; row {row:.0f} is taken")
    return Skin(row)


def _boundaries(profile: Array, prominence: float) -> list[int]:
    """Return the rows of the maxima with a fall of this size after them and, from the second on, such a rise before."""
    peaks, peak, valley = [], 0, 0
    rising = True
    for row, value in enumerate(profile):
        if rising:
            if value > profile[peak]:
                peak = row
            elif profile[peak] - value >= prominence:
                peaks.append(peak)
                rising, valley = False, row
        elif value < profile[valley]:
            valley = row
        elif value - profile[valley] >= prominence:
            rising, peak = True, row
    return peaks


def _is_dark(profile: Array, start: int, peak: int) -> bool:
    """Return whether a layer without echoes lies between two rows, the lower of which is a boundary."""
    return bool(profile[start : peak + 1].min() < DARK * np.median(profile[peak:]))


def _first_layer(profile: Array, start: int, peak: int) -> int:
    """Return the row of the first maximum after `start` that is nearly as high as the one at `peak`.

    The skin can echo twice, at its surface and below the dermis, without a dark layer in between.
    """
    part = profile[start : peak + 1]
    floor = int(part.argmin())
    least = part[floor] + FIRST_LAYER * (part[-1] - part[floor])
    for row in range(start + floor + 1, peak):
        if profile[row] >= least and profile[row - 1] < profile[row] >= profile[row + 1]:
            return row
    return peak


def _refined(profile: Array, peak: int) -> float:
    """Return the row of a maximum to a fraction (parabola through three values)."""
    before, middle, after = profile[max(peak - 1, 0)], profile[peak], profile[min(peak + 1, len(profile) - 1)]
    curvature = before - 2 * middle + after
    # A saturated echo has a level top: no parabola.
    return float(peak) if curvature == 0 else peak + 0.5 * float((before - after) / curvature)
