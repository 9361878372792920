"""Building blocks of any anatomy: a tilted coordinate frame, curves that become reflecting surfaces, tissue texture."""

from dataclasses import dataclass

import cv2
import numpy as np

from sonoseg.phantom.acoustics import Array, Curve, Surface

_RIGID_MM = 15.0  # how far to the side tissue turns with the spine; beyond it the probe keeps the layers flat


@dataclass(frozen=True)
class Frame:
    """Body coordinates (u lateral, v along the midline, both mm, origin on the skin) laid over the image.

    x0_mm, z0_mm: where the midline meets the skin; tilt_deg: midline from vertical, positive when its deep end goes to
    the right. Close to the midline this is a rotation; far from it the layers stay parallel to the probe.
    """

    x0_mm: float
    z0_mm: float
    tilt_deg: float
    size: tuple[int, int]  # rows, columns
    spacing: tuple[float, float]  # row_mm, col_mm

    def to_image(self, u: Curve, v: Curve) -> tuple[Curve, Curve]:
        """Body (u, v) to image (x_mm, z_mm); exact on the midline."""
        sin, cos = np.sin(np.radians(self.tilt_deg)), np.cos(np.radians(self.tilt_deg))
        x = self.x0_mm + u * cos + v * sin
        z = self.z0_mm - _RIGID_MM * np.tanh(u / _RIGID_MM) * sin + v * cos
        return x, z

    def to_body(self) -> tuple[Array, Array]:
        """u and v, each float32 (H, W), of every pixel: the inverse of to_image by fixed-point iteration."""
        sin, cos = np.sin(np.radians(self.tilt_deg)), np.cos(np.radians(self.tilt_deg))
        dx = np.arange(self.size[1], dtype=np.float32)[None] * np.float32(self.spacing[1]) - np.float32(self.x0_mm)
        dz = np.arange(self.size[0], dtype=np.float32)[:, None] * np.float32(self.spacing[0]) - np.float32(self.z0_mm)
        u = np.repeat(dx, self.size[0], axis=0)
        v = np.repeat(dz, self.size[1], axis=1)
        for _ in range(4):
            v = (dz + np.float32(_RIGID_MM * sin) * np.tanh(u / np.float32(_RIGID_MM))) / np.float32(cos)
            u = (dx - v * np.float32(sin)) / np.float32(cos)
        return u, v

    def pixel(self, u: float, v: float) -> list[int]:
        """[x, y] in whole pixels of a body point, moved to the image's edge if it lies outside."""
        x, z = self.to_image(np.array(u), np.array(v))
        column = int(np.clip(np.rint(float(x) / self.spacing[1]), 0, self.size[1] - 1))
        row = int(np.clip(np.rint(float(z) / self.spacing[0]), 0, self.size[0] - 1))
        return [column, row]

    def surface(self, u: Curve, v: Curve, strength_db: Curve | float, **options: float) -> Surface | None:
        """The reflector along body points (u, v), (n,) each with u increasing; options: see surface_through.

        None when it lies wholly outside the image.
        """
        x, z = self.to_image(u, v)
        return surface_through(x, z, strength_db, (self.size[1], self.spacing[1]), **options)


def surface_through(
    x: Curve,
    z: Curve,
    strength_db: Curve | float,
    columns: tuple[int, float],
    *,
    taper_mm: float = 2.0,
    **options: float,
) -> Surface | None:
    """The reflector through the points (x, z), mm, (n,) each with x increasing, fading over taper_mm at both ends.

    columns: number of columns of the image and their width in mm; options: those of Surface. None when it lies wholly
    outside the image.
    """
    width, col_mm = columns
    first = max(0, int(np.ceil(x[0] / col_mm)))
    last = min(width - 1, int(x[-1] / col_mm))
    if last - first < 1:
        return None
    at = np.arange(first, last + 1) * col_mm
    level = np.interp(at, x, np.broadcast_to(np.asarray(strength_db, float), x.shape))
    inward = np.minimum(at - x[0], x[-1] - at)
    level += 14.0 * (np.clip(inward / taper_mm, 0.0, 1.0) - 1.0)
    return Surface(first, np.interp(at, x, z), level, **options)


def smooth_noise(
    size: tuple[int, int], spacing: tuple[float, float], scale_mm: tuple[float, float], rng: np.random.Generator
) -> Array:
    """Smooth random field, float32 (H, W), mean 0 and deviation about 1; scale_mm: (depth, lateral) grain."""
    grains = zip(size, spacing, scale_mm, strict=True)
    coarse = [max(4, int(np.ceil(n * pixel_mm / grain_mm)) + 3) for n, pixel_mm, grain_mm in grains]
    noise = rng.standard_normal(coarse, dtype=np.float32)
    fine = cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine / max(float(fine.std()), 1e-6), np.float32)


def wavy(u: Curve, amplitude_mm: float, period_mm: float, rng: np.random.Generator) -> Curve:
    """Smooth random undulation (n,) in mm along u (n,)."""
    knots = rng.normal(0.0, amplitude_mm, int((u[-1] - u[0]) / period_mm) + 4)
    at = (u - u[0]) / period_mm + 1.0
    index = np.minimum(at.astype(int), knots.size - 2)
    t = at - index
    t = t * t * (3.0 - 2.0 * t)
    return knots[index] * (1.0 - t) + knots[index + 1] * t


def step(distance_mm: Array | Curve, softness_mm: float = 0.4) -> Array:
    """0 for distance far below zero, 1 far above: membership of a region with a soft border."""
    return np.asarray(0.5 + 0.5 * np.tanh(distance_mm / softness_mm), np.float32)


def blend(below: Array, above: Array | float, weight: Array) -> Array:
    """below where weight is 0, above where it is 1."""
    return below + weight * (above - below)
