"""Foreground-centred sampling: the copy is enlarged about a random pixel of a small structure."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from sonoseg.preprocess.augmentation.interpolation import Field
from sonoseg.schema.images import ForegroundZoom
from sonoseg.types import Pixels


@dataclass(frozen=True)
class ForegroundZoomStep:
    """Enlarges by `factor` (1 or more) about a pixel of a structure that covers less than `max_area_fraction`.

    structure, pixel: numbers from 0 up to, not including, 1, which select the structure and its pixel once the mask is
    known.
    """

    factor: float
    structure: float
    pixel: float
    max_area_fraction: float

    @classmethod
    def draw(cls, settings: ForegroundZoom, rng: Generator) -> "ForegroundZoomStep":
        """Draw the factor and the numbers that select the pixel."""
        factor, structure, pixel = rng.uniform(*settings.factor), rng.random(), rng.random()
        return cls(float(factor), float(structure), float(pixel), settings.max_area_fraction)

    def choose_pixel(self, mask: Pixels) -> tuple[int, int] | None:
        """Return the (x, y) of a pixel of `mask`, `(H, W)` class indices uint8; None without a small structure.

        All small structures are equally probable, and all pixels of one.
        """
        counts = np.bincount(mask.ravel())
        counts[0] = 0  # the background
        small = np.flatnonzero((counts > 0) & (counts < self.max_area_fraction * mask.size))
        if not small.size:
            return None
        pixels = np.flatnonzero(mask == small[int(self.structure * small.size)])
        y, x = divmod(int(pixels[int(self.pixel * pixels.size)]), mask.shape[1])
        return x, y

    def apply(self, across: Field, down: Field, mask: Pixels) -> tuple[Field, Field]:
        """Return the sampling map (x, y) with the enlargement, two `(H, W)` float32 fields.

        mask: `(H, W)` uint8, not yet sampled. The chosen pixel is shown where the given map shows it, or, where that
        is outside the copy, at the position of the nearest pixel which the map shows.
        """
        chosen = self.choose_pixel(mask)
        if chosen is None:
            return across, down
        x, y = chosen
        position = np.unravel_index(np.argmin((across - x) ** 2 + (down - y) ** 2), across.shape)
        return x + (across - across[position]) / self.factor, y + (down - down[position]) / self.factor
