"""Label maps of all frames of a loop in one file, a page each."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np
import tifffile

from sonoseg.io.masks import rgb
from sonoseg.types import Pixels

_TO_16_BITS = 257
_SOFTWARE = "SonoSeg"


class MaskPages:
    """Writes label maps `(H, W)` uint8 as a TIFF of several pages: a context manager, with one page in memory.

    Pages are compressed (zlib) and have the palette of the classes, as the label maps of stills. Raises OSError.
    """

    def __init__(self, path: Path, colors: Sequence[str]):
        """colors: `#rrggbb` of the classes 1, 2, ...; the background is black."""
        self._writer = tifffile.TiffWriter(path)
        self._palette = np.zeros((3, 256), np.uint16)
        for value, color in enumerate(colors, start=1):
            self._palette[:, value] = np.array(rgb(color)) * _TO_16_BITS

    def __enter__(self) -> "MaskPages":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def write(self, labels: Pixels) -> None:
        """Append the page of the next frame."""
        self._writer.write(
            labels,
            compression="zlib",
            photometric="palette",
            colormap=self._palette,
            contiguous=False,  # a page of its own for each frame
            metadata=None,
            software=_SOFTWARE,
        )
