"""Which pieces of a mask belong to one straight line: stray pieces beside it have no influence on its fit."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.extent import extent
from sonoseg.types import Mask

Array = NDArray[np.float64]

_RAGGED_PX = 2
"""Components with at most twice this many pixels between them are one piece: a faint line may be found in every second
row only, where each row by itself would have the wrong direction."""
_TOLERANCE_PX = 1.0
"""Distance of a piece's edge from that of the line that discretisation and ragged edges explain."""
_END_UNCERTAINTY = 0.5
"""Distance, in half widths, by which the axis may be wrong at the ends of a line; beyond them it is in proportion."""
_REACH = 4.0
"""Longest gap in lengths of the shorter of line and piece; gaps up to the length of the line are always bridged."""
_SEEDS = 5
"""Largest pieces from which a line is grown: the pieces of a broken line may be smaller than a stray one."""


def line_pieces(mask: Mask, between: Mask | None = None) -> Mask:
    """Return the pixels `(H, W)` bool of those pieces of a mask that lie on one straight line; other pieces are stray.

    A line is grown from each of the largest pieces, and the one with most pixels is returned. A piece is added when it
    lies along the line's axis: within the line's half width, a pixel, and the uncertainty of the axis, which is a
    quarter of the width at the ends of the line and grows with the distance beyond them, the faster the shorter the
    line. A line gets no piece that is further away than the line is long, unless the piece has a direction too: then up
    to four times the length of the shorter of both. A piece that is as wide as it is long has no direction, and so
    stays alone. Lengths are without the width, that of a disc is 0.

    Components that are less than 5 pixels apart are one piece, and also those that pixels of `between` `(H, W)` bool
    connect. A mask of one piece, or none, is returned as it is.
    """
    window = extent(mask)
    part = mask[window]
    if not part.size:  # OpenCV cannot label an empty array
        return mask
    count, components = cv2.connectedComponents(part.view(np.uint8), connectivity=8)
    if count <= 2:  # one besides the background
        return mask
    side = 2 * _RAGGED_PX + 1
    joined = cv2.dilate(part.view(np.uint8), np.ones((side, side), np.uint8))
    if between is not None:
        joined |= between[window]
    count, components = cv2.connectedComponents(joined, connectivity=8)
    if count <= 2:
        return mask
    rows, columns = np.nonzero(part)
    # Numbered without gaps: a component of `between` alone is no piece.
    _, labels = np.unique(components[rows, columns], return_inverse=True)
    pieces = _Pieces.of(columns.astype(np.float64), rows.astype(np.float64), labels)
    lines: list[NDArray[np.bool_]] = []
    for seed in np.argsort(-pieces.area, kind="stable")[:_SEEDS]:
        lines.append(_grown(pieces, seed))
        if lines[-1].all():
            break
    chosen = max(lines, key=lambda line: pieces.area[line].sum())
    kept = np.zeros_like(mask)
    kept[window][rows, columns] = chosen[labels]
    return kept


@dataclass(frozen=True)
class _Pieces:
    """Moments of N pieces: area `(N,)`, centres `(N, 2)` (x, y), and covariances `(N, 2, 2)`, in pixels."""

    area: Array
    centre: Array
    covariance: Array

    @classmethod
    def of(cls, x: Array, y: Array, labels: NDArray[np.int64]) -> "_Pieces":
        """Return the moments of pixels `(P,)` with the index of their piece, 0 to N - 1; each pixel is a square."""
        area = np.bincount(labels).astype(np.float64)
        mean_x, mean_y = np.bincount(labels, x) / area, np.bincount(labels, y) / area
        x, y = x - mean_x[labels], y - mean_y[labels]
        xx, xy, yy = (np.bincount(labels, product) / area for product in (x * x, x * y, y * y))
        covariance = np.stack([xx + 1 / 12, xy, xy, yy + 1 / 12], axis=1).reshape(-1, 2, 2)
        return cls(area, np.stack([mean_x, mean_y], axis=1), covariance)

    def axis(self, chosen: NDArray[np.bool_]) -> tuple[Array, Array, float]:
        """Return centre `(2,)`, direction `(2,)` and variance across it of the chosen pieces together."""
        weights = self.area[chosen] / self.area[chosen].sum()
        centre = weights @ self.centre[chosen]
        away = self.centre[chosen] - centre
        within = np.einsum("n,nij->ij", weights, self.covariance[chosen])
        variances, axes = np.linalg.eigh(within + np.einsum("n,ni,nj->ij", weights, away, away))
        return centre, axes[:, 1], float(variances[0])

    def projected(self, origin: Array, direction: Array) -> tuple[Array, Array]:
        """Return centres `(N,)` along a direction and half extents `(N,)`, those of bars with the same variance."""
        variance = np.einsum("i,nij,j->n", direction, self.covariance, direction)
        return (self.centre - origin) @ direction, np.sqrt(3 * variance)


def _grown(pieces: _Pieces, seed: np.int64) -> NDArray[np.bool_]:
    """Return which pieces `(N,)` lie on the line that begins with the piece `seed`."""
    chosen = np.zeros(pieces.area.size, bool)
    chosen[seed] = True
    while True:
        centre, along, variance = pieces.axis(chosen)
        position, half_length = pieces.projected(centre, along)
        offset, half_breadth = pieces.projected(centre, np.array([-along[1], along[0]]))
        first, last = (position - half_length)[chosen].min(), (position + half_length)[chosen].max()
        gap = np.maximum(np.maximum(first - position - half_length, position - half_length - last), 0)
        half_width = math.sqrt(3 * variance)
        length = max(last - first - 2 * half_width, 1.0)
        uncertainty = _END_UNCERTAINTY * half_width * (1 + 2 * gap / length)
        fits = np.abs(offset) + half_breadth <= half_width + _TOLERANCE_PX + uncertainty
        own_length = np.minimum(2 * (half_length - half_breadth), length)
        fits &= gap <= np.maximum(length, _REACH * own_length)
        if not (fits & ~chosen).any():
            return chosen
        chosen |= fits
