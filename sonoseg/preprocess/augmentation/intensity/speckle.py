"""Speckle: grey values are multiplied by a random field that is correlated over a few pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from sonoseg.preprocess.augmentation.intensity.step import to_pixels
from sonoseg.schema.images import Speckle
from sonoseg.types import Pixels

ACROSS = 2.0
"""Extent of speckle across the beam / along it: the lateral resolution of a scanner is lower than the axial one."""


@dataclass(frozen=True)
class SpeckleStep:
    """Multiplies by 1 + `strength` times a Gaussian field of unit variance; strength 0 changes nothing.

    seed: of the field. size_px: sigma in pixels of its smoothing along the beam, which is taken as vertical.
    """

    seed: int
    strength: float
    size_px: float

    @classmethod
    def draw(cls, settings: Speckle, rng: Generator) -> "SpeckleStep":
        """Draw the seed, the strength and the size."""
        strength, size_px = rng.uniform(*settings.strength), rng.uniform(*settings.size_px)
        return cls(int(rng.integers(2**31)), float(strength), float(size_px))

    def apply(self, image: Pixels) -> Pixels:
        """Return the image, `(H, W)` uint8. Black stays black."""
        return to_pixels(image * (1 + np.float32(self.strength) * self._field(image.shape)))

    def _field(self, size: tuple[int, ...]) -> np.ndarray:
        """Return the field, `(H, W)` float32: smoothed white noise of unit variance."""
        noise = np.random.default_rng(self.seed).standard_normal(size, np.float32)
        down, across = (_gaussian(sigma) for sigma in (self.size_px, ACROSS * self.size_px))
        return cv2.sepFilter2D(noise, cv2.CV_32F, across, down, borderType=cv2.BORDER_REFLECT)


def _gaussian(sigma: float) -> np.ndarray:
    """Return a Gaussian kernel, `(N, 1)` float32, that keeps the variance of white noise."""
    kernel = cv2.getGaussianKernel(2 * int(np.ceil(3 * sigma)) + 1, sigma, cv2.CV_32F)
    return kernel / np.linalg.norm(kernel)
