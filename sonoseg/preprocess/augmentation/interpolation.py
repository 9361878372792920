"""Smooth curves and fields from a few random values."""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth_field(seed: int, amplitude: float, smoothness: float, size: tuple[int, int]) -> tuple[Field, Field]:
    """Return a smooth random displacement (x, y) in pixels, two `(H, W)` float32 fields: normal noise at knots,
    interpolated cubically.

    `amplitude` is its standard deviation at the knots, `smoothness` half their distance, in parts of the diagonal.
    """
    height, width = size
    diagonal = float(np.hypot(height, width))
    step = max(2.0, 2 * smoothness * diagonal)
    knots = [int(np.ceil(length / step)) + 4 for length in size]
    noise = np.random.default_rng(seed).normal(0, amplitude * diagonal, (2, *knots)).astype(np.float32)
    down, across = (cubic_weights(length, step, count) for length, count in zip(size, knots, strict=True))
    dx, dy = (_product(_product(down, part), across, flags=cv2.GEMM_2_T) for part in noise)
    return dx, dy


def _product(a: Field, b: Field, flags: int = 0) -> Field:
    """Multiply matrices by OpenCV: NumPy's product starts threads, which compete with other workers."""
    return cv2.gemm(a, b, 1, None, 0, flags=flags)


def cubic_weights(length: int, step: float, knots: int) -> Field:
    """Return `(length, knots)` float32: the weight of each knot, `step` pixels apart, at each pixel (Keys 1981,
    a = -1/2).

    The first knot lies one step before the first pixel, because the kernel reaches two knots to either side.
    """
    positions = np.arange(length)[:, None] / step + 1
    distance = np.abs(positions - np.arange(knots))
    near = 1 - 2.5 * distance**2 + 1.5 * distance**3
    far = 2 - 4 * distance + 2.5 * distance**2 - 0.5 * distance**3
    return np.where(distance < 1, near, np.where(distance < 2, far, 0)).astype(np.float32)
