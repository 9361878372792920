"""Annotated pixels of a structure, as brushes and run lengths give them."""

import zlib
from dataclasses import dataclass, replace

import numpy as np

from sonoseg.geometry.extent import Window, extent
from sonoseg.sizes import Size
from sonoseg.types import Mask


@dataclass(frozen=True)
class Bitmap:
    """Pixels of a structure in a window of its image; drawn as a `Shape` is.

    left, top: column and row of the window's first pixel, which may lie outside the image. size: of the window.
    packed: its pixels, a bit each, compressed: a few hundred bytes, so that those of thousands of images fit into
    memory.
    """

    structure: str
    left: int
    top: int
    size: Size
    packed: bytes

    @classmethod
    def of(cls, structure: str, mask: Mask, left: int = 0, top: int = 0) -> "Bitmap":
        """Return the bitmap of a mask `(h, w)` bool whose first pixel is at column `left` and row `top`."""
        rows, columns = extent(mask)
        window = mask[rows, columns]
        packed = zlib.compress(np.packbits(window).tobytes(), 1)
        return cls(structure, left + columns.start, top + rows.start, window.shape, packed)

    @property
    def mask(self) -> Mask:
        """The pixels of the window, `(h, w)` bool; without any pixel (0, 0)."""
        height, width = self.size
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(bool)

    def moved(self, columns: int, rows: int) -> "Bitmap":
        """Return the same pixels further to the right and down."""
        return replace(self, left=self.left + columns, top=self.top + rows)

    def draw(self, size: Size, thickness_px: float | None = None) -> tuple[Window, Mask]:
        """Return the window of an image of `size` that the bitmap touches, and its mask there; the rest is cut off."""
        (height, width), (rows, columns) = self.size, size
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = max(top, min(rows, self.top + height)), max(left, min(columns, self.left + width))
        inside = self.mask[top - self.top : bottom - self.top, left - self.left : right - self.left]
        return (slice(top, bottom), slice(left, right)), inside
