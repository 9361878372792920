"""What an image is named by, and what reading it returns: `ImageRef`, `ImageHeader` and `ImageRecord`."""

from dataclasses import dataclass, field
from pathlib import Path

from sonoseg.errors import DataError
from sonoseg.sizes import Region, Size, Spacing
from sonoseg.types import Pixels

UNKNOWN = "unknown"
"""Source of a spacing that is not known; the reason may follow in brackets."""
REGION_FIELD = "SequenceOfUltrasoundRegions"
"""Source of a spacing that a DICOM file states for a region."""
WHOLE_FRAME = -1
"""`ImageRef.region` of a frame that is read as a whole, with what its device has drawn around the ultrasound image."""


_SECONDS = 1e-4, 600.0
"""Shortest and longest time between two frames that is taken for one."""


def plausible_seconds(seconds: float) -> float | None:
    """Return the time between two frames in seconds, None for one that no loop has: then it is unknown."""
    return seconds if _SECONDS[0] <= seconds <= _SECONDS[1] else None


PACKED = ".nii.gz"
"""The suffix of two parts."""


def suffix_of(path: Path) -> str:
    """Return a file's suffix with its dot, as it is spelled; that of a packed file has two parts."""
    return path.name[-len(PACKED) :] if path.name.lower().endswith(PACKED) else path.suffix


def stem_of(path: Path) -> str:
    """Return a file's name without its suffix; a suffix of digits is part of the name, as in `1.2.840.113`."""
    return path.name if path.suffix[1:].isdigit() else path.name.removesuffix(suffix_of(path))


@dataclass(frozen=True)
class ImageRef:
    """An image: a file, the frame where the file has several, and the region where a frame shows several images.

    frame: counted from 0; None for a file with a single picture. region: counted from 0; None for the only one, or for
    the whole frame of a file that states no regions; `WHOLE_FRAME` for the whole frame although it has regions. In
    everything that is written (file names, tables, JSON, messages) both are counted from 1, see `frame_number`.
    """

    path: Path
    frame: int | None = None
    region: int | None = None

    @property
    def frame_number(self) -> int | None:
        """The frame counted from 1; None for a single picture."""
        return None if self.frame is None else self.frame + 1

    @property
    def region_number(self) -> int | None:
        """The region counted from 1, 0 for the whole frame; None for the only region."""
        return None if self.region is None else self.region + 1

    @property
    def name(self) -> str:
        """The stem of the file name, with `_frame0001` for the first frame of several, and `_region2` likewise."""
        frame = "" if self.frame is None else f"_frame{self.frame_number:04d}"
        return stem_of(self.path) + frame + (f"_region{self.region_number}" if self.region_number else "")

    def __str__(self) -> str:
        frame = "" if self.frame is None else f", frame {self.frame_number}"
        return f"{self.path}{frame}" + (f", region {self.region_number}" if self.region_number else "")


@dataclass(frozen=True)
class ImageHeader:
    """What a file states about its images before any pixel is decoded.

    size: (height, width) of the first frame as displayed. frames: 1 for a single picture. spacing: as (row_mm,
    col_mm), None when the file does not contain it or its regions differ in it; spacing_from: the field of the file
    that it comes from, or `unknown` and why. patient: the patient's identity as the file has it, to be replaced by a
    pseudonym before it is written anywhere; None when the file does not contain it. regions: the images in each frame;
    empty when the frame itself is the image. is_loop: the frames show one scene over time; frame_seconds: time from
    one frame to the next, None when it is unknown.
    """

    size: Size
    frames: int = 1
    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN
    patient: str | None = field(default=None, repr=False)
    regions: tuple[Region, ...] = ()
    is_loop: bool = False
    frame_seconds: float | None = None

    def refs(self, path: Path, keep_frame: bool = False) -> list[ImageRef]:
        """Return the images of the file `path`, one per frame and region; `keep_frame`: one per frame, as a whole."""
        frames = [None] if self.frames == 1 else list(range(self.frames))
        return [ImageRef(path, frame, region) for region in self._regions(keep_frame) for frame in frames]

    def loop_refs(self, path: Path, keep_frame: bool = False) -> list[ImageRef]:
        """Return the loops of the file `path`, one per region, without the number of a frame."""
        return [ImageRef(path, region=region) for region in self._regions(keep_frame)]

    def _regions(self, keep_frame: bool) -> list[int | None]:
        if keep_frame and self.regions:
            return [WHOLE_FRAME]
        return list(range(len(self.regions))) if len(self.regions) > 1 else [None]

    def region_of(self, image: ImageRef) -> Region | None:
        """Return the region that `image` names, None for the whole frame.

        Raises DataError when there are several and it names none, or there is no such region.
        """
        if image.region == WHOLE_FRAME or (image.region is None and not self.regions):
            return None
        if image.region is None and len(self.regions) > 1:
            raise DataError(
                f"{len(self.regions)} ultrasound images side by side in each frame; expected the number of one", image
            )
        number = image.region or 0
        if number >= len(self.regions):
            raise DataError(f"the file states {len(self.regions)} regions; it has changed, or states fewer", image)
        return self.regions[number]

    def spacing_of(self, image: ImageRef) -> tuple[Spacing | None, str]:
        """Return the spacing of an image of the file, and where it comes from. Raises DataError as `region_of` does."""
        region = self.region_of(image)
        if region is None or region.spacing == self.spacing:
            return self.spacing, self.spacing_from
        return region.spacing, REGION_FIELD if region.spacing else UNKNOWN


@dataclass(frozen=True)
class ImageRecord:
    """A decoded image: `pixels` `(H, W)` uint8 grey, oriented as displayed; the other fields as in the header.

    Of a frame with regions, `pixels` are those of one region, whose place in the frame is `region`; what surrounds it,
    such as a burned-in name, has not been kept. frame_size: (height, width) of that frame; None without a
    region, when `pixels` are the frame.
    """

    ref: ImageRef
    pixels: Pixels
    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN
    patient: str | None = field(default=None, repr=False)
    region: Region | None = None
    frame_size: Size | None = None
