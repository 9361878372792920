"""Low resolution: the image is reduced and enlarged again."""

from dataclasses import dataclass

import cv2
from numpy.random import Generator

from sonoseg.schema.images import LowResolution
from sonoseg.types import Pixels


@dataclass(frozen=True)
class LowResolutionStep:
    """Reduces both sides by `factor`, above 0 to 1, where 1 changes nothing, and enlarges them to the former size."""

    factor: float

    @classmethod
    def draw(cls, settings: LowResolution, rng: Generator) -> "LowResolutionStep":
        """Draw the factor."""
        return cls(float(rng.uniform(*settings.factor)))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. The border of black padding is smoothed too."""
        height, width = image.shape
        reduced = (max(1, round(width * self.factor)), max(1, round(height * self.factor)))
        return cv2.resize(
            cv2.resize(image, reduced, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_CUBIC
        )
