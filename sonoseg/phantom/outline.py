"""Closed outlines in the image plane: the true border of what is annotated, and of what lies around it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mm = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Outline:
    """An ellipse with waves on it. Lengths in mm, x to the right, z down.

    x, z: centre; a, b: half axes; angle_deg: a from the x axis, clockwise on the screen; waves: (order, height, phase)
    each, height as a share of the radius, phase in radians. Without waves it is an exact ellipse.
    """

    x: float
    z: float
    a: float
    b: float
    angle_deg: float = 0.0
    waves: tuple[tuple[int, float, float], ...] = ()

    def local(self, x: Mm, z: Mm) -> tuple[Mm, Mm]:
        """Coordinates (u, v) in mm along a and b of image points (x, z); arrays of any shape, equal for both."""
        cos, sin = np.cos(np.radians(self.angle_deg)), np.sin(np.radians(self.angle_deg))
        dx, dz = x - self.x, z - self.z
        return dx * cos + dz * sin, dz * cos - dx * sin

    def to_image(self, u: Mm, v: Mm) -> tuple[Mm, Mm]:
        """Image points (x, z) of local ones: the inverse of local."""
        cos, sin = np.cos(np.radians(self.angle_deg)), np.sin(np.radians(self.angle_deg))
        return self.x + u * cos - v * sin, self.z + u * sin + v * cos

    def inside_mm(self, x: Mm, z: Mm) -> Mm:
        """Distance to the outline, positive inside, 0 exactly on it; to first order in the distance elsewhere."""
        u, v = self.local(x, z)
        radius = np.hypot(u / self.a, v / self.b)
        border = np.ones_like(radius)
        if self.waves:
            around = np.arctan2(v / self.b, u / self.a)
            for order, height, phase in self.waves:
                border += height * np.cos(order * around + phase)
        steepness = np.hypot(u / self.a**2, v / self.b**2) / np.maximum(radius, 1e-6)
        return np.asarray((border - radius) / np.maximum(steepness, 1.0 / max(self.a, self.b)))

    def reach(self) -> tuple[float, float]:
        """Half width and half height in mm of the box around the ellipse without its waves."""
        cos, sin = np.cos(np.radians(self.angle_deg)), np.sin(np.radians(self.angle_deg))
        return float(np.hypot(self.a * cos, self.b * sin)), float(np.hypot(self.a * sin, self.b * cos))

    def mask(self, size: tuple[int, int], pixel_mm: float) -> NDArray[np.uint8]:
        """Filled region, uint8 (H, W) of 0 and 255, on square pixels with (0, 0) at 0 mm."""
        return np.where(self.inside_mm(*pixel_grid(size, pixel_mm)) > 0, 255, 0).astype(np.uint8)

    def outline_mask(self, size: tuple[int, int], pixel_mm: float, width_px: float) -> NDArray[np.uint8]:
        """Line of width_px pixels whose middle is the outline, uint8 (H, W) of 0 and 255."""
        distance = np.abs(self.inside_mm(*pixel_grid(size, pixel_mm)))
        return np.where(distance <= 0.5 * width_px * pixel_mm, 255, 0).astype(np.uint8)


def pixel_grid(size: tuple[int, int], pixel_mm: float) -> tuple[Mm, Mm]:
    """x and z, each float64 (H, W), in mm of the centres of square pixels."""
    x, z = np.meshgrid(np.arange(size[1]) * pixel_mm, np.arange(size[0]) * pixel_mm)
    return x, z


def draw_waves(
    orders: range, height: float, rng: np.random.Generator, smoothness: float = 1.0
) -> tuple[tuple[int, float, float], ...]:
    """Random waves of an outline; height: deviation of the first one, falling with order to the power of smoothness."""
    first = orders[0]
    return tuple(
        (order, float(rng.normal(0.0, height) * (first / order) ** smoothness), float(rng.uniform(0.0, 2 * np.pi)))
        for order in orders
    )
