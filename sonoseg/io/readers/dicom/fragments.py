"""The frames of encapsulated pixels: which fragments of the file belong to which frame (DICOM PS3.5, A.4)."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
"""How the first fragment of a frame begins: JPEG and JPEG-LS, JPEG 2000."""
_MOST_FRAGMENTS = 100_000


class WrongFragments(ValueError):
    """The fragments are not those of the stated number of frames; the text is what is wrong."""


@dataclass(frozen=True)
class Fragment:
    """A part of a frame in the file: where its bytes begin, how many there are, and its first four."""

    start: int
    length: int
    head: bytes


def frames_of(stream: BinaryIO, count: int, is_rle: bool) -> list[list[Fragment]]:
    """Return the fragments of each frame of a stream that is at the item of the Basic Offset Table.

    count: of frames, as the header states it. is_rle: a frame of RLE is one fragment. Where there are as many fragments
    as frames, each is one, whatever the tables of offsets state; else frames begin where the Basic Offset Table says,
    if it fits the fragments, or where a picture begins. The list is shorter than `count` where the file is cut short.
    Raises WrongFragments where there are more frames than stated, or their beginnings are unknown.
    """
    offsets, fragments = _scan(stream)
    if len(fragments) == count:
        return [[fragment] for fragment in fragments]
    begin = fragments[0].start - 8 if fragments else 0
    table = {begin + offset for offset in offsets}
    by_table = [index for index, fragment in enumerate(fragments) if fragment.start - 8 in table]
    by_picture = [index for index, fragment in enumerate(fragments) if is_rle or fragment.head.startswith(_STARTS)]
    if len(by_picture) > count:
        raise WrongFragments(f"its pixels are those of {len(by_picture)} frames, and it states {count}")
    if len(by_table) == len(offsets) == count and by_table[:1] == [0]:
        return _grouped(fragments, by_table)
    if count == 1 and fragments:
        return [fragments]
    if by_picture[:1] == [0]:
        return _grouped(fragments, by_picture)
    if len(fragments) < count:
        return [[fragment] for fragment in fragments]
    raise WrongFragments("its pixels do not tell where a frame begins")


def joined(stream: BinaryIO, fragments: Sequence[Fragment]) -> bytes:
    """Return the bytes of a frame. Raises EOFError where the file ends before them."""
    end = stream.seek(0, 2)
    if any(fragment.start + fragment.length > end for fragment in fragments):
        raise EOFError
    parts = []
    for fragment in fragments:
        stream.seek(fragment.start)
        parts.append(stream.read(fragment.length))
    return b"".join(parts)


def _grouped(fragments: list[Fragment], begins: Sequence[int]) -> list[list[Fragment]]:
    ends = [*begins[1:], len(fragments)]
    return [fragments[begin:end] for begin, end in zip(begins, ends, strict=True)]


def _scan(stream: BinaryIO) -> tuple[tuple[int, ...], list[Fragment]]:
    """Return the Basic Offset Table and the fragments up to the end of the pixels, or of a file that is cut short."""
    fragments: list[Fragment] = []
    begin, offsets = stream.tell(), tuple[int, ...]()
    while len(item := stream.read(8)) == 8:
        group, element, length = struct.unpack("<HHL", item)
        if (group, element) == _END:
            break
        if (group, element) != _ITEM or len(fragments) >= _MOST_FRAGMENTS:
            raise WrongFragments("its pixels are damaged")
        start = stream.tell()
        if start == begin + 8:
            table = stream.read(length)
            offsets = struct.unpack(f"<{len(table) // 4}L", table[: len(table) // 4 * 4])
        else:
            fragments.append(Fragment(start, length, stream.read(min(length, 4))))
        stream.seek(start + length)
    return offsets, fragments
