"""Intensity normalisation: grey values to network input."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sonoseg.types import Pixels


def normalise(image: Pixels, scheme: Literal["unit", "z_score"]) -> NDArray[np.float32]:
    """Return `image` (h, w) uint8 as float32: `unit` is 0 to 1; `z_score` has mean 0 and deviation 1, flat images 0."""
    values = image.astype(np.float32)
    if scheme == "unit":
        return values / np.float32(255)
    return (values - values.mean()) / max(float(values.std()), 1e-6)
