"""Masks and label maps: `(H, W)` uint8 of stored values or class indices, read from pictures and written as PNG."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sonoseg.errors import DataError
from sonoseg.io.files import write_bytes
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.png import encode_png
from sonoseg.io.readers.opening import opened
from sonoseg.io.readers.raster import decode_picture
from sonoseg.io.readers.volume import is_volume, stored_values
from sonoseg.types import Pixels

START = 132
"""Bytes from which the family of a file is told."""


def read_mask(image: Path | ImageRef, limits: ReadLimits = DEFAULT_LIMITS, data: bytes | None = None) -> Pixels:
    """Decode a mask to `(H, W)` uint8 of the values as stored: palette files give their indices, never their colours.

    image: a file with a single picture, or a page of one with several. RGB masks are read when all three channels
    agree. Raises DataError as `readers.read_image` does, and for coloured masks. data: the file's bytes, read from the
    file when None.
    """
    ref = ImageRef(image) if isinstance(image, Path) else image
    if is_volume(data[:START] if data is not None else _start_of(ref.path)):
        return stored_values(ref, limits, data)
    picture = decode_picture(ref, limits, data)
    values = np.asarray(picture)
    if picture.mode in ("LA", "PA", "RGBA"):
        values = values[..., :-1]
    if values.ndim == 3:
        if not (values == values[..., :1]).all():
            raise DataError(
                f"a coloured mask ({picture.mode}); expected class indices; save it as grey or palette PNG", ref
            )
        values = values[..., 0]
    if values.min() < 0 or values.max() > 255:
        raise DataError(f"mask values up to {values.max()}; expected 0 to 255; save it as grey or palette PNG", ref)
    return np.ascontiguousarray(values).astype(np.uint8)


def _start_of(path: Path) -> bytes:
    with opened(path) as stream:
        return stream.read(START)


LOSSLESS_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
"""Of file formats that keep the values of a mask."""


def encode_picture(pixels: Pixels, suffix: str) -> bytes:
    """Return `(H, W)` uint8 in the file format of `suffix`, such as `.png` or `.tif`, as OpenCV encodes it.

    Raises DataError when OpenCV cannot write the format.
    """
    try:
        encoded, data = cv2.imencode(suffix, pixels)
    except cv2.error:
        encoded = False
    if not encoded:
        raise DataError(f"an image of shape {pixels.shape} cannot be encoded as {suffix}")
    return bytes(data)


def write_label_map(path: Path, labels: Pixels, colors: Sequence[str], sync: bool = True) -> Path:
    """Write a label map as `encode_label_map` encodes it, atomically."""
    return write_bytes(path, encode_label_map(labels, colors), sync)


def encode_label_map(labels: Pixels, colors: Sequence[str]) -> bytes:
    """Return class indices `(H, W)` uint8 as a palette PNG: programs read the indices, people see the colours.

    `colors` are `#rrggbb` for classes 1, 2, ...; background is black.
    """
    return encode_png(labels, [(0, 0, 0), *map(rgb, colors)])


def decode_label_map(png: bytes) -> Pixels:
    """Return the class indices `(H, W)` uint8 of a PNG that `encode_label_map` made."""
    return np.asarray(Image.open(io.BytesIO(png))).astype(np.uint8)


def rgb(color: str) -> tuple[int, int, int]:
    """Return `#rrggbb` as three integers 0 to 255."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)
