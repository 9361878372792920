"""Whether a JPEG is complete: decoders replace missing data by grey without an error."""

import io
import re

from PIL import Image

_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_RESTARTS = range(0xD0, 0xD8)
_PADDING = bytes(range(1, 129))
"""Data that are not decoded when a picture is complete."""


def decode_luma(jpeg: bytes) -> tuple[Image.Image, bool]:
    """Return the first component of a JPEG, which is grey in YCbCr, and whether the data of all its pixels are there.

    The decoder leaves the colours out, which takes half the time. Raises errors of Pillow for a damaged file.
    """
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
        picture.draft("L", picture.size)
        picture.load()
    return picture, is_complete(jpeg, picture)


def is_complete(jpeg: bytes, picture: Image.Image) -> bool:
    """Return whether a JPEG contains the data of all its pixels: further data at the end of each scan change nothing.

    picture: the decoded JPEG, or its luma. Pillow raises no error for a scan that ends too early, as after one flipped
    bit; missing pixels become grey.
    """
    with Image.open(io.BytesIO(with_longer_scans(jpeg))) as longer:
        if picture.mode == "L":
            longer.draft("L", longer.size)
        return longer.tobytes() == picture.tobytes()


def with_longer_scans(jpeg: bytes) -> bytes:
    """Return a JPEG with `_PADDING` before every marker that ends a part of its compressed data."""
    parts, start, at = [], 0, 2
    while (match := _MARKER.search(jpeg, at)) and (marker := jpeg[match.end() - 1]) != 0xD9:
        at = match.end()
        if marker == 0x01 or marker in _RESTARTS:
            continue
        at += int.from_bytes(jpeg[at : at + 2])
        while marker == 0xDA and (match := _MARKER.search(jpeg, at)):
            parts += [jpeg[start : match.start()], _PADDING]
            start = at = match.start()
            if jpeg[match.end() - 1] not in _RESTARTS:
                break
            at = match.end()
    return b"".join([*parts, jpeg[start:]])
