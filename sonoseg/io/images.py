"""Images and masks in and out: the only place that decodes or encodes pixels.

An image is `(H, W)` uint8 grey in the orientation a person sees (EXIF rotation applied). A label map is `(H, W)` uint8
with class indices as values.
"""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from sonoseg.errors import DataError, choices
from sonoseg.io.files import write_bytes
from sonoseg.io.jpeg import has_all_its_data
from sonoseg.io.limits import MAX_FRAMES, max_pixels
from sonoseg.io.png import encode_png
from sonoseg.types import Pixels

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
"""What is read, whatever a file is called: Pillow knows others too, and has EPS drawn by another program."""
_PHOTOMETRIC = 262
_MODES_8_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_MODES = (*_MODES_8_BIT, "I;16", "I;16L", "I;16B", "I;16N", "I")


def is_image(path: Path) -> bool:
    """Tell by its name whether a file is one of the pictures that SonoSeg reads; hidden files are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def list_images(folder: Path) -> list[Path]:
    """Return the pictures directly in `folder`, sorted by name. Raises DataError when the folder does not exist."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a folder of images ({choices(SUFFIXES)})")
    return sorted(path for path in folder.iterdir() if is_image(path) and path.is_file())


def image_size(path: Path) -> tuple[int, int]:
    """Return (height, width) as a person sees the picture, from the header alone. Raises DataError."""
    with _open(path) as picture:
        try:
            # Pillow turns a TIFF by itself, and gives its size as a person sees it.
            turned = picture.format != "TIFF" and picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        except Exception as error:  # as many kinds as Pillow has decoders
            raise DataError(f"{path}: the file is damaged or cut short ({error}); replace it") from error
        width, height = picture.size
    return (width, height) if turned else (height, width)


def read_image(path: Path) -> Pixels:
    """Decode a picture to `(H, W)` uint8 grey.

    Colour becomes luma (ITU-R 601); transparency is laid over black; 16-bit pixels are scaled by 1/257, never clipped.
    Raises DataError for a file that is missing, not a picture, truncated, too large, multi-frame, or in another mode.
    """
    picture = _decode(path)
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise DataError(f"{path}: pixel values {deep.min()} to {deep.max()}; expected 8 or 16 bits per pixel")
        return ((deep + 128) // 257).astype(np.uint8)
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, (0, 0, 0, 255)), layer).convert("RGB")
    if picture.mode not in ("L", "RGB"):
        picture = picture.convert("L" if picture.mode == "1" else "RGB")
    return np.array(picture.convert("L"))


def read_mask(path: Path) -> Pixels:
    """Decode a mask to `(H, W)` uint8 of the values as stored: palette files give their indices, never their colours.

    RGB masks are read when all three channels agree. Raises DataError as `read_image` does, and for coloured masks.
    """
    picture = _decode(path)
    values = np.asarray(picture)
    if picture.mode in ("LA", "PA", "RGBA"):
        values = values[..., :-1]
    if values.ndim == 3:
        if not (values == values[..., :1]).all():
            raise DataError(f"{path}: a coloured mask ({picture.mode}); expected grey values or a palette of indices")
        values = values[..., 0]
    if values.min() < 0 or values.max() > 255:
        raise DataError(f"{path}: mask values up to {values.max()}; expected 0 to 255")
    return np.ascontiguousarray(values).astype(np.uint8)


def write_image(path: Path, image: NDArray[np.uint8], sync: bool = True) -> Path:
    """Write `(H, W)` grey or `(H, W, 3)` RGB uint8 as PNG, atomically."""
    return write_bytes(path, encode_png(image), sync)


def write_label_map(path: Path, labels: Pixels, colors: Sequence[str], sync: bool = True) -> Path:
    """Write a label map as `encode_label_map` encodes it, atomically."""
    return write_bytes(path, encode_label_map(labels, colors), sync)


def encode_label_map(labels: Pixels, colors: Sequence[str]) -> bytes:
    """Return class indices `(H, W)` uint8 as a palette PNG: programs read the indices, people see the colours.

    `colors` are `#rrggbb` for classes 1, 2, ...; background is black.
    """
    return encode_png(labels, [(0, 0, 0), *map(rgb, colors)])


def decode_label_map(png: bytes) -> Pixels:
    """Return the class indices `(H, W)` uint8 of a picture that `encode_label_map` made."""
    return np.asarray(Image.open(io.BytesIO(png))).astype(np.uint8)


def rgb(color: str) -> tuple[int, int, int]:
    """Return `#rrggbb` as three integers 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


@contextmanager
def _open(path: Path) -> Iterator[Image.Image]:
    """Open a picture and check its header, before any pixel is decoded."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    # Pillow is given the open file and not its name: by name it maps a plain TIFF into memory, and mixes up the rows
    # of one that has to be turned.
    with stream:
        yield _checked(path, stream)


def _checked(path: Path, stream: BinaryIO) -> Image.Image:
    try:
        # Pillow's own guard against huge pictures only warns below twice its limit: the check below is ours.
        Image.MAX_IMAGE_PIXELS = None
        picture = Image.open(stream, formats=_FORMATS)
    except Exception as error:  # a header that makes no sense ends in a TypeError as easily as in an OSError
        raise DataError(f"{path}: not a readable picture ({choices(SUFFIXES)}); replace the file") from error
    width, height = picture.size
    if width * height > max_pixels():
        raise DataError(
            f"{path}: {width}x{height} pixels declared; at most {max_pixels()} are decoded, --max-pixels allows more"
        )
    if _has_frame(picture, MAX_FRAMES):
        raise DataError(
            f"{path}: {MAX_FRAMES + 1} frames or more; expected a single picture, export one frame per file"
        )
    if picture.mode not in _MODES:
        raise DataError(f"{path}: colour mode {picture.mode}; expected one of {choices(_MODES)}")
    if picture.mode.startswith("I") and getattr(picture, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
        raise DataError(f"{path}: 16 bits per pixel with white as 0, which would be read as a negative; save it as PNG")
    return picture


def _has_frame(picture: Image.Image, number: int) -> bool:
    """Tell whether there is a frame of this number, from 0; counting all of a TIFF takes their number squared."""
    try:
        picture.seek(number)
    except EOFError:
        return False
    except Exception:  # there is something, which is damaged
        return True
    picture.seek(0)
    return True


def _decode(path: Path) -> Image.Image:
    with _open(path) as picture:
        try:
            picture.load()
            whole = picture.format != "JPEG" or has_all_its_data(path.read_bytes(), picture)
            turned = ImageOps.exif_transpose(picture)
        except Exception as error:  # a damaged file makes Pillow's many decoders raise as many kinds of error
            raise DataError(f"{path}: the file is damaged or cut short ({error}); replace it") from error
    if not whole:
        raise DataError(f"{path}: the file is damaged: data are missing, and grey would stand in for them; replace it")
    return turned
