"""Colours over grey images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sonoseg.core.images import Pixels, rgb


def tint(image: Pixels, labels: Pixels, colors: Sequence[str], opacity: float = 0.45) -> NDArray[np.uint8]:
    """Return `image` (H, W) as RGB (H, W, 3) uint8 with each class of `labels` (H, W) laid over it in its colour."""
    table = np.array([(0, 0, 0), *map(rgb, colors)], np.float32)
    grey = np.repeat(image[..., None], 3, axis=2)
    mixed = (1 - opacity) * grey + opacity * table[labels]
    return np.where((labels > 0)[..., None], np.rint(mixed), grey).astype(np.uint8)
