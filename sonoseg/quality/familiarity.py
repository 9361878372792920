"""Whether an image looks like the training images: statistics of its grey values and of its texture."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.quality.model import Familiarity
from sonoseg.types import Pixels

Array = NDArray[np.float64]

MIN_IMAGES = 30
"""Fewer images do not determine the covariance of the statistics."""
PARTS = 5
"""Parts of patients, each compared with the others."""
WIDTHS = 4.7
"""The limit lies this many times the distance from the median to the 90 % quantile above the median: a rule that single
unusual training images do not move. Of HC18, 0.3 % of the images lie beyond it (docs/results.md)."""
_SIDE = 256
"""Longer side, in pixels, to which an image is reduced: statistics shall not depend on its size."""


def image_statistics(image: Pixels) -> Array:
    """Return statistics `(S,)` of a grey image `(H, W)` uint8, all finite; also of one with a single grey value.

    Shares of nearly black and of nearly white pixels, level and contrast of the others, roughness at the scale of a
    pixel and of four, the share of the variance in smooth structures, similarity of left and right neighbours and of
    upper and lower ones, and the share of flat areas.
    """
    factor = _SIDE / max(image.shape)
    size = max(8, round(image.shape[1] * factor)), max(8, round(image.shape[0] * factor))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    grey = small.astype(np.float32)
    lit = grey[grey > _BLACK]
    level, contrast = (float(lit.mean()), float(lit.std())) if lit.size else (0.0, 0.0)
    total = float(grey.var()) + 1.0
    fine = grey - cv2.GaussianBlur(grey, (0, 0), 1.0)
    smooth = cv2.GaussianBlur(grey, (0, 0), 4.0)
    across, down = grey[:, 1:] - grey[:, :-1], grey[1:] - grey[:-1]
    flat = cv2.absdiff(cv2.dilate(small, None), cv2.erode(small, None)) <= 2
    return np.array(
        [
            float(np.mean(small <= _BLACK)),
            math.log(float(np.mean(small >= _WHITE)) + 0.001),
            level / 255,
            contrast / 255,
            math.log(float(fine.var()) + 1.0),
            math.log(float((grey - smooth).var()) + 1.0),
            float(smooth.var()) / total,
            math.log(float(np.mean(across**2)) + 1.0),
            math.log(float(np.mean(down**2)) + 1.0),
            math.log((float(np.mean(across**2)) + 1.0) / (float(np.mean(down**2)) + 1.0)),
            float(np.mean(flat)),
        ],
        dtype=np.float64,
    )


_BLACK, _WHITE = 8, 247


def fit_familiarity(statistics: Sequence[Array], patients: Sequence[str] = ()) -> Familiarity | None:
    """Return the range of the images with these statistics; None for fewer than `MIN_IMAGES`, or `PARTS` patients.

    The distance is Mahalanobis', with a covariance that is drawn a tenth towards its diagonal, so that statistics which
    hardly vary do not decide alone. The limit follows from distances of images from those of other patients, and is at
    least 1, the distance of one standard deviation. patients: of the images; by default each is one.
    """
    if len(statistics) < MIN_IMAGES:
        return None
    values = np.stack(statistics)
    owners = list(patients) or [str(index) for index in range(len(values))]
    number = {patient: index for index, patient in enumerate(dict.fromkeys(owners))}
    parts = np.array([number[patient] % PARTS for patient in owners])
    if len(number) < PARTS:
        return None
    distances = []
    for part in range(PARTS):
        centre, whitening = _whitening(values[parts != part])
        distances.append(np.linalg.norm((values[parts == part] - centre) @ whitening.T, axis=1))
    median, high = np.quantile(np.concatenate(distances), (0.5, 0.9))
    limit = max(float(median + WIDTHS * (high - median)), 1.0)
    centre, whitening = _whitening(values)
    return Familiarity(centre=centre.tolist(), whitening=whitening.tolist(), limit=limit)


def _whitening(values: Array) -> tuple[Array, Array]:
    """Return mean `(S,)` and whitening matrix `(S, S)` of values `(N, S)`."""
    covariance = np.cov(values.T)
    diagonal = np.diag(np.maximum(np.diag(covariance), _LEAST_VARIANCE))
    return values.mean(axis=0), np.linalg.inv(np.linalg.cholesky(0.9 * covariance + 0.1 * diagonal))


_LEAST_VARIANCE = 1e-6
