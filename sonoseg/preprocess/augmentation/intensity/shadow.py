"""Acoustic shadow: bone, gas or a poor contact of the probe darkens a band along the beam."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sonoseg.preprocess.augmentation.intensity.step import to_pixels
from sonoseg.schema.images import Shadow
from sonoseg.types import Pixels

ONSET = 0.05
"""Share of the image's height over which it begins."""


@dataclass(frozen=True)
class ShadowStep:
    """Darkens a band below the point (x, depth) by the share `strength` in its middle; strength 0 changes nothing.

    x, depth: of the start point, fractions of width and height. width: of the band at its start / image width; the
    shadow fades out towards both edges.
    divergence: beams start at the top and are 1 + divergence times as far apart at the bottom, as those of a convex
    probe; 0: parallel beams. The probe is taken to be at the top of the picture.
    """

    x: float
    depth: float
    width: float
    strength: float
    divergence: float

    @classmethod
    def draw(cls, settings: Shadow, rng: Generator) -> "ShadowStep":
        """Draw the start point, not close to the image's sides, and the band's form."""
        ranges = ((0.1, 0.9), settings.depth, settings.width, settings.strength, settings.divergence)
        return cls(*(float(rng.uniform(*limits)) for limits in ranges))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. Black stays black."""
        height, width = image.shape
        x = (np.arange(width, dtype=np.float32) + 0.5) / width - 0.5
        y = (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height
        # A beam is named by where it leaves the top, as a fraction of the width, 0 in the middle.
        beam = x / (1 + self.divergence * y)
        spread = 1 + self.divergence * self.depth
        distance = np.abs(beam - (self.x - 0.5) / spread) / max(self.width / 2 / spread, 1e-6)
        shade = _smooth_step(1 - distance) * _smooth_step((y - self.depth) / ONSET)
        return to_pixels(image * (1 - self.strength * shade))


def _smooth_step(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 3 t^2 - 2 t^3 of values limited to 0 to 1: a smooth transition between them."""
    values = np.clip(values, 0, 1)
    return values * values * (3 - 2 * values)
