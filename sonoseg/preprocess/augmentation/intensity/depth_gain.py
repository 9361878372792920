"""Depth-dependent gain: an error of the time gain compensation, which makes depths too bright or too dark."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from sonoseg.preprocess.augmentation.intensity.step import to_pixels
from sonoseg.preprocess.augmentation.interpolation import cubic_weights
from sonoseg.schema.images import DepthGain
from sonoseg.types import Pixels


@dataclass(frozen=True)
class DepthGainStep:
    """Multiplies each row by a smooth curve. gains: its values at equidistant depths, at least 2, from the first row to
    the last; all 1 change nothing."""

    gains: tuple[float, ...]

    @classmethod
    def draw(cls, settings: DepthGain, rng: Generator) -> "DepthGainStep":
        """Draw the gains."""
        return cls(tuple(map(float, 1 + rng.uniform(-1, 1, settings.knots) * settings.limit)))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. Black stays black."""
        rows = image.shape[0]
        # The curve is flat beyond its ends: each has one more knot of the same value, and one for the last row.
        knots = np.pad(np.asarray(self.gains, np.float32), (1, 2), mode="edge")
        curve = cubic_weights(rows, max(1, rows - 1) / (len(self.gains) - 1), len(knots)) * knots
        return to_pixels(image * curve.sum(axis=1, keepdims=True))
