"""Contrast: grey values move away from their mean, or towards it."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from sonoseg.preprocess.augmentation.intensity.step import apply_levels, draw_factor
from sonoseg.schema.images import Contrast
from sonoseg.types import Pixels


@dataclass(frozen=True)
class ContrastStep:
    """Multiplies the distance of each grey value from the mean by `factor`; 1 changes nothing."""

    factor: float

    @classmethod
    def draw(cls, settings: Contrast, rng: Generator) -> "ContrastStep":
        """Draw the factor."""
        return cls(draw_factor(settings.limit, rng))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. Black pixels stay black and do not count for the mean: most are padding.

        Dark pixels become at most twice as bright, so that they do not stand out against black ones.
        """
        visible = image[image > 0]
        mean = float(visible.mean()) if visible.size else 0.0
        values = np.arange(256)
        return apply_levels(image, np.minimum(mean + (values - mean) * self.factor, 2 * values))
