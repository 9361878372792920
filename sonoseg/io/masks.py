"""Masks and label maps: `(H, W)` uint8 of stored values or class indices, read from pictures and written as PNG."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoseg.errors import DataError, choices, first_of
from sonoseg.io.files import write_bytes
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.png import encode_png
from sonoseg.io.readers.opening import opened
from sonoseg.io.readers.raster import decode_picture, over_black
from sonoseg.io.readers.volume import is_volume, stored_values
from sonoseg.types import Picture, Pixels

IntArray = NDArray[np.int64]

START = 132
"""Bytes from which the family of a file is told."""
MOST_OTHER = 0.02
"""Part of the pixels of a mask in colours that may have others than the stated ones."""
_NAMED = 3


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
                f"a coloured mask ({picture.mode}); expected class indices; name its colours in annotations.values, or "
                "save it as grey or palette PNG",
                ref,
            )
        values = values[..., 0]
    if values.min() < 0 or values.max() > 255:
        raise DataError(f"mask values up to {values.max()}; expected 0 to 255; save it as grey or palette PNG", ref)
    return np.ascontiguousarray(values).astype(np.uint8)


def read_colored_mask(
    image: ImageRef, colors: Sequence[str], limits: ReadLimits = DEFAULT_LIMITS
) -> tuple[Pixels, int]:
    """Decode a mask in colours to `(H, W)` uint8 of their positions in `colors`, from 1; black is 0, as background.

    colors: `#rrggbb`, at most 255, none of them black. Other colours, of soft edges, are read as the nearest one; how
    many pixels have them is returned too. Raises DataError as `read_mask` does, and ValueError when more than
    `MOST_OTHER` of the pixels have them, or one that is no edge, with four neighbours of its colour.
    """
    packed = read_colors(image, limits)
    known = np.array([0, *(int(color[1:], 16) for color in colors)])
    found, where, counts, inner = count_colors(packed)
    is_other = ~np.isin(found, known)
    others = int(counts[is_other].sum())
    if others > MOST_OTHER * packed.size or inner[is_other].any():
        most = sorted(np.flatnonzero(is_other), key=lambda at: (not inner[at], -counts[at]))
        names = first_of([f"#{found[at]:06x}" for at in most[: _NAMED + 1]], _NAMED)
        raise ValueError(
            f"{others} pixels ({others / packed.size:.1%}) have colours that are not in annotations.values ({names}); "
            f"expected {choices(['#000000', *colors])}; add them there, null for background"
        )
    distances = sum((_channel(found, at)[:, None] - _channel(known, at)) ** 2 for at in (16, 8, 0))
    return np.asarray(distances).argmin(axis=1).astype(np.uint8)[where], others


def read_colors(image: ImageRef, limits: ReadLimits = DEFAULT_LIMITS) -> NDArray[np.int32]:
    """Return the colours `(H, W)` of a picture, each as the number 0xrrggbb; those below a transparent pixel are black.

    Raises DataError as `readers.read_image` does, and for a volume, which is no picture.
    """
    if is_volume(_start_of(image.path)):
        raise DataError("a volume, which has numbers and no colours; save it as RGB PNG", image)
    shown = np.asarray(over_black(decode_picture(image, limits)).convert("RGB")).astype(np.int32)
    return shown[..., 0] << 16 | shown[..., 1] << 8 | shown[..., 2]


def count_colors(packed: NDArray[np.int32]) -> tuple[NDArray[np.int32], IntArray, IntArray, IntArray]:
    """Return the different colours `(N,)` of a picture `(H, W)`, see `read_colors`, and what is known of them.

    Which of them each pixel has, `(H, W)`, how many pixels have each, `(N,)`, and how many of these have four
    neighbours of their colour, as pixels inside an area have, `(N,)`; none on the border has.
    """
    found, where, counts = np.unique(packed, return_inverse=True, return_counts=True)
    inner = np.zeros(packed.shape, bool)
    middle = packed[1:-1, 1:-1]
    beside = (packed[:-2, 1:-1], packed[2:, 1:-1], packed[1:-1, :-2], packed[1:-1, 2:])
    inner[1:-1, 1:-1] = np.all([middle == one for one in beside], axis=0)
    where = where.reshape(packed.shape)
    return found, where, counts, np.bincount(where[inner], minlength=len(found))


def _channel(colors: NDArray[np.int32], at: int) -> NDArray[np.int32]:
    return (colors >> at) & 255


def _start_of(path: Path) -> bytes:
    with opened(path) as stream:
        return stream.read(START)


LOSSLESS_SUFFIXES = (".png", ".tif", ".tiff", ".bmp")
"""Of file formats that keep the values of a mask."""


def colored(positions: Pixels, colors: Sequence[str]) -> Picture:
    """Return the mask `(H, W, 3)` uint8 in colours of positions in `colors`, from 1; what `read_colored_mask` reads."""
    return np.array([(0, 0, 0), *map(rgb, colors)], np.uint8)[positions]


def encode_picture(pixels: Pixels | Picture, suffix: str) -> bytes:
    """Return `(H, W)` grey or `(H, W, 3)` RGB uint8 in the file format of `suffix`, such as `.png` or `.tif`.

    OpenCV encodes it. Raises DataError when OpenCV cannot write the format.
    """
    try:
        encoded, data = cv2.imencode(suffix, pixels[..., ::-1] if pixels.ndim == 3 else pixels)
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
