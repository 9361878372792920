"""Blur: a Gaussian filter."""

from dataclasses import dataclass

import cv2
from numpy.random import Generator

from sonoseg.schema.images import Blur
from sonoseg.types import Pixels


@dataclass(frozen=True)
class BlurStep:
    """Smooths with a Gaussian of standard deviation `sigma_px` in pixels; below 0.1 it changes nothing."""

    sigma_px: float

    @classmethod
    def draw(cls, settings: Blur, rng: Generator) -> "BlurStep":
        """Draw the standard deviation."""
        return cls(float(rng.uniform(*settings.sigma_px)))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. The border of black padding is smoothed too."""
        return cv2.GaussianBlur(image, (0, 0), self.sigma_px)
