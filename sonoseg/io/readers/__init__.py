"""Image readers: a registry from the name of a family of formats to its reader.

The reader of a file is chosen by the file's content; suffixes only decide which files of a folder are images.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sonoseg.errors import DataError, choices
from sonoseg.io.image_ref import ImageHeader, ImageRecord, ImageRef, suffix_of
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.readers.base import ImageReader
from sonoseg.io.readers.dicom import DicomReader
from sonoseg.io.readers.opening import opened
from sonoseg.io.readers.raster import RasterReader, is_single
from sonoseg.io.readers.video import VideoReader
from sonoseg.io.readers.volume import VolumeReader
from sonoseg.io.reading import open_regular

READERS: dict[str, ImageReader] = {
    "raster": RasterReader(),
    "dicom": DicomReader(),
    "video": VideoReader(),
    "volume": VolumeReader(),
}

DICOM_DIRECTORY = "DICOMDIR"
"""Name of the list of files on a DICOM medium."""

START_BYTES = 132
"""Bytes at the start of a file from which its reader is chosen; the mark of DICOM is in bytes 128 to 131."""


MOST_LOOKED_AT = 1000
"""Files of sub-folders that are looked at, to tell whether there are images among them."""

HEAD_BYTES = 1 << 16
"""Bytes at the start of a file from which a single picture is told."""


def read_image_header(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Return size, frames, spacing and patient of a file without decoding pixels. Raises DataError."""
    return _reader_of(path).read_header(path, limits)


def count_frames(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> int:
    """Return the number of frames of a file; no pixel of a picture with one is decoded. Raises DataError."""
    with opened(path) as stream:
        start = stream.read(HEAD_BYTES)
    return 1 if is_single(start) else read_image_header(path, limits).frames


def states_regions(path: Path) -> bool:
    """Return whether a file is of a family whose headers state regions. Raises DataError."""
    return _reader_of(path) is READERS["dicom"]


def states_spacing(path: Path) -> bool:
    """Return whether a file is of a family whose headers state spacings. Raises DataError."""
    return _reader_of(path) in (READERS["dicom"], READERS["volume"])


def read_image(image: ImageRef | Path, limits: ReadLimits = DEFAULT_LIMITS, data: bytes | None = None) -> ImageRecord:
    """Decode one image; a path stands for a file with a single picture. Raises DataError, see `base.ImageReader`.

    data: the file's bytes (`opening.read_file`) where their digest is stored beside what is computed from the pixels;
    read from the file when None.
    """
    ref = ImageRef(image) if isinstance(image, Path) else image
    return _reader_of(ref.path, data).read_image(ref, limits, data)


def read_frames(
    images: Sequence[ImageRef], limits: ReadLimits = DEFAULT_LIMITS, data: bytes | None = None
) -> Iterator[ImageRecord | DataError]:
    """Yield some images of one file, see `base.ImageReader.read_frames`. Raises DataError."""
    yield from _reader_of(images[0].path, data).read_frames(images, limits, data)


def read_loop(image: ImageRef, limits: ReadLimits = DEFAULT_LIMITS) -> Iterator[ImageRecord | DataError]:
    """Yield the frames of a file in order, see `base.ImageReader.read_loop`. Raises DataError."""
    yield from _reader_of(image.path).read_loop(image, limits)


def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of all readers, in lower case."""
    return tuple(suffix for reader in READERS.values() for suffix in reader.suffixes)


def is_image(path: Path) -> bool:
    """Return whether a file has the name of an image that can be read, or is DICOM; hidden files are none.

    DICOM files often have no suffix, or the last part of an identifier in its place.
    """
    if path.name.startswith(".") or path.name == DICOM_DIRECTORY:
        return False
    return suffix_of(path).lower() in image_suffixes() or is_dicom(path)


def is_dicom(path: Path) -> bool:
    """Return whether a file that can be read begins as DICOM does."""
    try:
        with open_regular(path) as stream:
            return READERS["dicom"].accepts(stream.read(START_BYTES))
    except OSError:
        return False


def list_images(folder: Path) -> list[Path]:
    """Return the images directly in `folder`, sorted by name. Raises DataError when the folder does not exist."""
    if not folder.is_dir():
        raise DataError(f"no such folder; expected a folder of images ({choices(image_suffixes())})", folder)
    return sorted(path for path in folder.iterdir() if is_image(path) and path.is_file())


def image_folders_below(folder: Path) -> list[Path]:
    """Return the first folder with an image in each sub-folder of `folder`, by name; those without one are left out.

    Media of DICOM keep images several folders deep. Links are not followed, hidden folders are left out, and the search
    ends after `MOST_LOOKED_AT` files.
    """
    found: dict[str, Path] = {}
    looked_at = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(root)
        first = "" if here == folder else here.relative_to(folder).parts[0]
        for name in sorted(names) if first and first not in found else ():
            looked_at += 1
            if looked_at > MOST_LOOKED_AT:
                return list(found.values())
            if is_image(here / name):
                found[first] = here
                break
        if first in found:
            folders.clear()
    return list(found.values())


def _reader_of(path: Path, data: bytes | None = None) -> ImageReader:
    if data is None:
        with opened(path) as stream:
            data = stream.read(START_BYTES)
    start = data[:START_BYTES]
    for reader in READERS.values():
        if reader.accepts(start):
            return reader
    raise DataError(f"not a readable picture ({choices(image_suffixes())}); replace the file", path)
