"""Image size and pixel spacing, and limits of counts. Imports no numpy: command lines and task files load at once."""

from dataclasses import dataclass

Size = tuple[int, int]
"""(height, width) in pixels."""

Spacing = tuple[float, float]
"""(row_mm, col_mm): millimetres from one pixel row, or column, to the next."""


@dataclass(frozen=True)
class Region:
    """Part of a frame that is an ultrasound image by the file's own statement: its top left pixel, and its size."""

    top: int
    left: int
    size: Size
    spacing: Spacing | None = None

    @property
    def window(self) -> tuple[slice, slice]:
        """Return the rows and columns of the region, with which an array `(H, W)` of its frame is indexed."""
        return slice(self.top, self.top + self.size[0]), slice(self.left, self.left + self.size[1])


MAX_EPOCHS = 1_000_000
MAX_COPIES = 1000
"""Most epochs of a training, and augmented copies of an image, in task files and on the command line."""
