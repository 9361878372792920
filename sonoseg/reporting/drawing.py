"""Class colours and outlines on grey images."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.io.masks import rgb
from sonoseg.types import Picture, Pixels


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


THUMBNAIL_WIDTH_PX = 320
"""Width of a thumbnail: wide enough to judge an outline, and 36 of them stay below a megabyte."""
OUTLINE_PX = 2


def thumbnail(image: Pixels, labels: Pixels, colors: Sequence[str], width: int = THUMBNAIL_WIDTH_PX) -> Picture:
    """Return `image` `(H, W)` uint8 as RGB `(h, width, 3)` uint8 with the outline of each class of `labels` `(H, W)`.

    It is never higher than twice `width`. Outlines run along the outermost pixels of each class.
    """
    scale = min(width / image.shape[1], 2 * width / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    picture = np.repeat(small[..., None], 3, axis=2)
    small_labels = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    for index, color in enumerate(colors, start=1):
        mask = (small_labels == index).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, rgb(color), OUTLINE_PX, cv2.LINE_AA)
    return picture
