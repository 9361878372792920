"""What a coded frame states about itself, read before it is decoded: a decoder allocates as much as that."""

import re
import struct
from itertools import pairwise

from sonoseg.sizes import Size

_FRAME_HEADER = re.compile(rb"\xff+[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]")
"""Start of frame of JPEG (ITU-T T.81, B.2.2) and of JPEG-LS (ITU-T T.87)."""
_MARKER = re.compile(rb"\xff+[^\x00\xff]")
_JP2 = b"\0\0\0\x0cjP  "
_RLE_HEADER = struct.Struct("<16L")


def plain(coded: bytes) -> bytes:
    """Return a coded frame without the boxes of a JP2 file around its codestream, which some writers leave there."""
    if not coded.startswith(_JP2):
        return coded
    at = 0
    while at + 16 <= len(coded):
        length, kind, long = struct.unpack_from(">L4sQ", coded, at)
        if kind == b"jp2c":
            return coded[at + (16 if length == 1 else 8) :]
        at += max(long, 16) if length == 1 else length if length >= 8 else len(coded)
    return coded


def coded_size(coded: bytes) -> Size | None:
    """Return (height, width) of a JPEG, JPEG-LS or JPEG 2000, None for other data."""
    if coded.startswith(b"\xff\x4f\xff\x51"):
        if len(coded) < 24:
            return None
        right, bottom, left, top = struct.unpack(">4L", coded[8:24])
        return bottom - top, right - left
    header = _jpeg_segments(coded).get("frame")
    if header is None or len(header) < 5:
        return None
    height, width = struct.unpack(">HH", header[1:5])
    return height, width


def stores_luma(coded: bytes) -> bool:
    """Return whether a JPEG states that its first component is luma (JFIF, or transform 1 of Adobe).

    Its header decides, and not the Photometric Interpretation, which is RGB in many files that are not.
    """
    segments = _jpeg_segments(coded)
    adobe = segments.get("adobe")
    return adobe[11:12] == b"\x01" if adobe is not None else "jfif" in segments


def has_colour_transform(coded: bytes) -> bool:
    """Return whether a JPEG 2000 has the multiple component transformation, after which it is RGB (T.800, A.6.1)."""
    at = coded.find(b"\xff\x52") if coded.startswith(b"\xff\x4f\xff\x51") else -1
    return at >= 0 and coded[at + 8 : at + 9] == b"\x01"


def is_longer(coded: bytes, limit: int) -> bool:
    """Return whether a segment of an RLE frame (DICOM PS3.5, G.3) decodes to more than `limit` bytes."""
    if len(coded) < _RLE_HEADER.size:
        return False
    count, *offsets = _RLE_HEADER.unpack_from(coded)
    begins = [*offsets[: min(count, 15)], len(coded)]
    return any(_runs_longer(coded[begin:end], limit) for begin, end in pairwise(begins))


def _runs_longer(segment: bytes, limit: int) -> bool:
    if 64 * len(segment) <= limit:  # a run of 128 bytes takes 2
        return False
    at = total = 0
    while at < len(segment) and total <= limit:
        control = segment[at]
        total += control + 1 if control < 128 else 257 - control if control > 128 else 0
        at += control + 2 if control < 128 else 2 if control > 128 else 1
    return total > limit


def _jpeg_segments(coded: bytes) -> dict[str, bytes]:
    """Return the contents of the segments `frame`, `jfif` and `adobe` of a JPEG, as far as it has them."""
    found: dict[str, bytes] = {}
    if not coded.startswith(b"\xff\xd8"):
        return found
    at = 2
    while match := _MARKER.match(coded, at):
        at = match.end()
        contents = coded[at + 2 : at + int.from_bytes(coded[at : at + 2])]
        if _FRAME_HEADER.fullmatch(match.group()):
            found["frame"] = contents
        if match.group()[-1] == 0xE0 and contents.startswith(b"JFIF\0"):
            found["jfif"] = contents
        if match.group()[-1] == 0xEE and contents.startswith(b"Adobe"):
            found["adobe"] = contents
        if match.group()[-1] in (0xDA, 0xD9):
            break
        at += int.from_bytes(coded[at : at + 2])
    return found
