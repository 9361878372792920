"""Gain: all grey values are multiplied by one factor."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from sonoseg.preprocess.augmentation.intensity.step import apply_levels, draw_factor
from sonoseg.schema.images import Gain
from sonoseg.types import Pixels


@dataclass(frozen=True)
class GainStep:
    """Multiplies by `factor`; 1 changes nothing."""

    factor: float

    @classmethod
    def draw(cls, settings: Gain, rng: Generator) -> "GainStep":
        """Draw the factor."""
        return cls(draw_factor(settings.limit, rng))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. Black stays black."""
        return apply_levels(image, np.arange(256) * self.factor)
