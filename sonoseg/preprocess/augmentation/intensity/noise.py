"""Noise: independent Gaussian noise is added to each pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from sonoseg.preprocess.augmentation.intensity.step import to_pixels
from sonoseg.schema.images import Noise
from sonoseg.types import Pixels


@dataclass(frozen=True)
class NoiseStep:
    """Adds noise of standard deviation `sd` in grey values; 0 changes nothing. seed: of the noise."""

    seed: int
    sd: float

    @classmethod
    def draw(cls, settings: Noise, rng: Generator) -> "NoiseStep":
        """Draw the seed and the standard deviation."""
        return cls(int(rng.integers(2**31)), float(rng.uniform(*settings.sd)))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. Black pixels stay black: most are padding."""
        noise = np.random.default_rng(self.seed).standard_normal(image.shape, np.float32)
        return np.where(image > 0, to_pixels(image + self.sd * noise), np.uint8(0))
