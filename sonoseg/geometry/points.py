"""Lengths, angles and ellipses in pixels and millimetres.

Points are `(N, 2)` float64 (x, y) in pixels, x right, y down, with integer values at pixel centres.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sonoseg.sizes import Spacing
from sonoseg.types import Points


def scale_of(spacing: Spacing | None) -> NDArray[np.float64]:
    """Return the factors `(2,)` of (x, y): millimetres per pixel, or ones when the spacing is unknown."""
    return np.array([spacing[1], spacing[0]]) if spacing else np.ones(2)


def length(start: Points, end: Points, spacing: Spacing | None = None) -> float:
    """Return the distance of two points `(2,)` (x, y) given in pixels: in mm with a spacing, otherwise in pixels."""
    return float(np.linalg.norm((np.asarray(end) - np.asarray(start)) * scale_of(spacing)))


def angle_from_vertical_deg(start: Points, end: Points, spacing: Spacing | None = None) -> float:
    """Return the angle of a line from vertical, -90 to 90 degrees, positive when its lower end lies to the right.

    `start` and `end` are points `(2,)` (x, y) in pixels, in any order. Without a spacing pixels are taken as square.
    """
    dx, dy = (np.asarray(end) - np.asarray(start)) * scale_of(spacing)
    if dy < 0 or (dy == 0 and dx < 0):
        dx, dy = -dx, -dy
    return math.degrees(math.atan2(dx, dy))


@dataclass(frozen=True)
class Ellipse:
    """Centre (x, y), full axes and the major axis's angle from the x axis in degrees, clockwise on the screen."""

    x: float
    y: float
    major: float
    minor: float
    angle_deg: float

    @property
    def circumference(self) -> float:
        """Ramanujan's second approximation, in the unit of the axes."""
        a, b = self.major / 2, self.minor / 2
        if a + b == 0:
            return 0.0
        h = ((a - b) / (a + b)) ** 2
        return math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))

    def axis_ends(self) -> Points:
        """Return the four ends of the axes `(4, 2)`: major, major, minor, minor."""
        turn = math.radians(self.angle_deg)
        along = np.array([math.cos(turn), math.sin(turn)]) * self.major / 2
        across = np.array([-math.sin(turn), math.cos(turn)]) * self.minor / 2
        return np.array([self.x, self.y]) + np.stack([-along, along, -across, across])

    @classmethod
    def from_axis_ends(cls, ends: Points) -> "Ellipse":
        """Return the ellipse whose axes end in four points `(4, 2)`, as `axis_ends` returns them, either axis first."""
        ends = np.asarray(ends, dtype=np.float64)
        centre = ends.mean(axis=0)
        along, across = ends[1] - ends[0], ends[3] - ends[2]
        major, minor = float(np.linalg.norm(along)), float(np.linalg.norm(across))
        if minor > major:
            along, major, minor = across, minor, major
        angle = math.degrees(math.atan2(along[1], along[0])) % 180
        return cls(float(centre[0]), float(centre[1]), major, minor, angle)

    def scaled(self, scale: NDArray[np.float64]) -> "Ellipse":
        """Return the ellipse after multiplying x and y by `scale` `(2,)`: (col_mm, row_mm) converts pixels to mm.

        Unequal factors rotate the axes: an ellipse is the image of the unit circle under a matrix, whose singular
        values are its half axes.
        """
        turn = math.radians(self.angle_deg)
        cos, sin = math.cos(turn), math.sin(turn)
        half_axes = np.array([[cos * self.major, -sin * self.minor], [sin * self.major, cos * self.minor]]) / 2
        directions, lengths, _ = np.linalg.svd(np.asarray(scale)[:, None] * half_axes)
        angle = math.degrees(math.atan2(directions[1, 0], directions[0, 0])) % 180
        x, y = np.array([self.x, self.y]) * scale
        return Ellipse(float(x), float(y), float(2 * lengths[0]), float(2 * lengths[1]), angle)
