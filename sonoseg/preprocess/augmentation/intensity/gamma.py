"""Gamma: a power of the grey values, as the grey map of a scanner."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from sonoseg.preprocess.augmentation.intensity.step import apply_levels, draw_factor
from sonoseg.schema.images import Gamma
from sonoseg.types import Pixels


@dataclass(frozen=True)
class GammaStep:
    """Raises grey values / 255 to `exponent`: above 1 darker, below 1 brighter, 1 changes nothing."""

    exponent: float

    @classmethod
    def draw(cls, settings: Gamma, rng: Generator) -> "GammaStep":
        """Draw the exponent."""
        return cls(draw_factor(settings.limit, rng))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. Black and white stay as they are."""
        return apply_levels(image, np.linspace(0, 1, 256) ** self.exponent * 255)
