"""What an image is named by, and what reading it returns: `ImageRef`, `ImageHeader` and `ImageRecord`."""

from dataclasses import dataclass
from pathlib import Path

from sonoseg.sizes import Size, Spacing
from sonoseg.types import Pixels

UNKNOWN = "unknown"
"""Source of a spacing that is not known."""


@dataclass(frozen=True)
class ImageRef:
    """An image: a file, and the frame where the file has several.

    frame: counted from 0; None for a file with a single picture. In everything that is written (file names, tables,
    JSON, messages) frames are counted from 1, see `frame_number`.
    """

    path: Path
    frame: int | None = None

    @property
    def frame_number(self) -> int | None:
        """The frame counted from 1; None for a single picture."""
        return None if self.frame is None else self.frame + 1

    @property
    def name(self) -> str:
        """The stem of the file name, with `_frame0001` for the first frame of several."""
        return self.path.stem + ("" if self.frame is None else f"_frame{self.frame_number:04d}")

    def __str__(self) -> str:
        return str(self.path) if self.frame is None else f"{self.path}, frame {self.frame_number}"


@dataclass(frozen=True)
class ImageHeader:
    """What a file states about its images before any pixel is decoded.

    size: (height, width) as displayed, of the first frame. frames: 1 for a single picture. spacing: as (row_mm,
    col_mm), None when the file does not contain it; spacing_from: the field of the file that it comes from. patient:
    key of the patient, None when the file does not contain it.
    """

    size: Size
    frames: int = 1
    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN
    patient: str | None = None

    def refs(self, path: Path) -> list[ImageRef]:
        """Return the images of the file `path`, one per frame."""
        return [ImageRef(path)] if self.frames == 1 else [ImageRef(path, frame) for frame in range(self.frames)]


@dataclass(frozen=True)
class ImageRecord:
    """A decoded image: `pixels` `(H, W)` uint8 grey, oriented as displayed; the other fields as in the header."""

    ref: ImageRef
    pixels: Pixels
    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN
    patient: str | None = None
