"""Whether a JPEG is whole: decoders fill in grey for data that end too early, and say nothing of it."""

import io
import re

from PIL import Image

_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_RESTARTS = range(0xD0, 0xD8)
_MORE = bytes(range(1, 129))
"""Data that a picture which has all of its own does not need."""


def has_all_its_data(jpeg: bytes, picture: Image.Image) -> bool:
    """Tell whether a JPEG has the data of all its pixels: with more of them at the end of each scan it is the same.

    Pillow says nothing of a scan that ends too early, as one flipped bit can make it; what is missing becomes grey.
    """
    with Image.open(io.BytesIO(_with_longer_scans(jpeg))) as longer:
        return longer.tobytes() == picture.tobytes()


def _with_longer_scans(jpeg: bytes) -> bytes:
    """Return a JPEG with `_MORE` before every marker that ends a part of its compressed data."""
    parts, start, at = [], 0, 2
    while (found := _MARKER.search(jpeg, at)) and (marker := jpeg[found.end() - 1]) != 0xD9:
        at = found.end()
        if marker == 0x01 or marker in _RESTARTS:
            continue
        at += int.from_bytes(jpeg[at : at + 2])
        while marker == 0xDA and (found := _MARKER.search(jpeg, at)):
            parts += [jpeg[start : found.start()], _MORE]
            start = at = found.start()
            if jpeg[found.end() - 1] not in _RESTARTS:
                break
            at = found.end()
    return b"".join([*parts, jpeg[start:]])
