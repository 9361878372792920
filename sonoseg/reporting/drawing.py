"""Class colours blended over grey images."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.io.masks import rgb
from sonoseg.types import Pixels


def tint(image: Pixels, labels: Pixels, colors: Sequence[str], opacity: float = 0.45) -> NDArray[np.uint8]:
    """Return `image` (H, W) as RGB (H, W, 3) uint8 with each class of `labels` (H, W) blended in its colour."""
    grey = np.arange(256, dtype=np.uint8)[:, None]
    plain = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    picture = plain.copy()
    for index, color in enumerate(colors, start=1):
        table = np.rint((1 - opacity) * grey + opacity * np.array(rgb(color), np.float32)).astype(np.uint8)
        inside = (labels == index).view(np.uint8)
        left, top, width, height = cv2.boundingRect(inside)
        if width:
            part = slice(top, top + height), slice(left, left + width)
            cv2.copyTo(cv2.LUT(plain[part], table[None]), inside[part], picture[part])
    return picture
