"""What every intensity step offers, and what several of them share."""

from typing import Any, Protocol, Self

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sonoseg.types import Pixels


class IntensityStep(Protocol):
    """One intensity step with its drawn parameters: a small frozen dataclass."""

    @classmethod
    def draw(cls, settings: Any, rng: Generator) -> Self:
        """Draw the parameters. settings: the step's section of the task file."""

    def apply(self, image: Pixels) -> Pixels:
        """Return the changed image, `(H, W)` uint8; the same parameters and image give the same bytes."""


def draw_factor(limit: float, rng: Generator) -> float:
    """Draw a factor between 1 - limit and 1 + limit."""
    return 1 + float(rng.uniform(-1, 1)) * limit


def apply_levels(image: Pixels, levels: NDArray[np.floating]) -> Pixels:
    """Replace each grey value by `levels[value]`. levels: `(256,)`, rounded and limited to 0 to 255."""
    return cv2.LUT(image, to_pixels(levels))


def to_pixels(values: NDArray[np.floating]) -> Pixels:
    """Return grey values as uint8, rounded and limited to 0 to 255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
