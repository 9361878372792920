"""Image readers: a registry from the name of a family of formats to its reader.

The reader of a file is chosen by the file's content; suffixes only decide which files of a folder are images.
"""

from pathlib import Path

from sonoseg.errors import DataError, choices
from sonoseg.io.image_ref import ImageHeader, ImageRecord, ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.readers.base import ImageReader
from sonoseg.io.readers.opening import opened
from sonoseg.io.readers.raster import RasterReader

READERS: dict[str, ImageReader] = {"raster": RasterReader()}

START_BYTES = 132
"""Bytes at the start of a file from which its reader is chosen; the mark of DICOM is in bytes 128 to 131."""


def read_image_header(path: Path, limits: ReadLimits = DEFAULT_LIMITS) -> ImageHeader:
    """Return size, frames, spacing and patient of a file without decoding pixels. Raises DataError."""
    return _reader_of(path).read_header(path, limits)


def read_image(image: ImageRef | Path, limits: ReadLimits = DEFAULT_LIMITS, data: bytes | None = None) -> ImageRecord:
    """Decode one image; a path stands for a file with a single picture. Raises DataError, see `base.ImageReader`.

    data: the file's bytes (`opening.read_file`) where their digest is stored beside what is computed from the pixels;
    read from the file when None.
    """
    ref = ImageRef(image) if isinstance(image, Path) else image
    return _reader_of(ref.path, data).read_image(ref, limits, data)


def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of all readers, in lower case."""
    return tuple(suffix for reader in READERS.values() for suffix in reader.suffixes)


def is_image(path: Path) -> bool:
    """Return whether a file has the name of an image that can be read; hidden files are none."""
    return path.suffix.lower() in image_suffixes() and not path.name.startswith(".")


def list_images(folder: Path) -> list[Path]:
    """Return the images directly in `folder`, sorted by name. Raises DataError when the folder does not exist."""
    if not folder.is_dir():
        raise DataError(f"no such folder; expected a folder of images ({choices(image_suffixes())})", folder)
    return sorted(path for path in folder.iterdir() if is_image(path) and path.is_file())


def _reader_of(path: Path, data: bytes | None = None) -> ImageReader:
    if data is None:
        with opened(path) as stream:
            data = stream.read(START_BYTES)
    start = data[:START_BYTES]
    for reader in READERS.values():
        if reader.accepts(start):
            return reader
    raise DataError(f"not a readable picture ({choices(image_suffixes())}); replace the file", path)
