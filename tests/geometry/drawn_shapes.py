"""Masks of shapes drawn pixel by pixel from their definition: the known answers of these tests."""

import math

import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.points import Ellipse

Mask = NDArray[np.bool_]


def line(shape: tuple[int, int], start: tuple[float, float], end: tuple[float, float], thickness: float = 10) -> Mask:
    """Every pixel centre within half the thickness of the segment."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    dx, dy = end[0] - start[0], end[1] - start[1]
    position = np.clip(((x - start[0]) * dx + (y - start[1]) * dy) / max(dx * dx + dy * dy, 1e-12), 0, 1)
    return np.hypot(x - start[0] - position * dx, y - start[1] - position * dy) <= thickness / 2


def ellipse(shape: tuple[int, int], expected: Ellipse, scale: tuple[float, float] = (1.0, 1.0)) -> Mask:
    """Every pixel centre, times `scale` (x, y), inside the ellipse."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    turn = math.radians(expected.angle_deg)
    dx, dy = x * scale[0] - expected.x, y * scale[1] - expected.y
    along, across = dx * math.cos(turn) + dy * math.sin(turn), dy * math.cos(turn) - dx * math.sin(turn)
    return (2 * along / expected.major) ** 2 + (2 * across / expected.minor) ** 2 <= 1


def rectangle(shape: tuple[int, int], left: int, top: int, right: int, bottom: int) -> Mask:
    """Both corners inside."""
    mask = np.zeros(shape, bool)
    mask[top : bottom + 1, left : right + 1] = True
    return mask
