"""The run lengths of Label Studio's brush: the bytes of an image of red, green, blue and alpha, packed bit by bit.

A header of 32 bits for the number of bytes, 5 for the bits of a value less one, and four times 4 for the bits of a
count less one. Then blocks: a bit that is set where one value repeats, 2 bits that choose one of the four sizes of a
count, the count less one, and the value once, or `count` values.
"""

from typing import Any

import numpy as np

from sonoseg.io.limits import MAX_PIXELS
from sonoseg.sizes import Size
from sonoseg.types import Mask

CHANNELS = 4
VALUE_BITS = 8
COUNT_BITS = (3, 4, 8, 16)
"""Sizes of a count that are written; any four are read."""

OPAQUE = 255


def decode_brush(rle: Any, size: Size) -> Mask:
    """Return the pixels `(H, W)` bool whose alpha is above 0, of a JSON list of bytes; `size` is that of the image.

    Raises ValueError when it is no such list, ends early, or is of an image of another size or too large; nothing is
    allocated before that is known.
    """
    height, width = size
    pixels = height * width
    if pixels > MAX_PIXELS:
        raise ValueError(f"a brush of {width}x{height} pixels; at most {MAX_PIXELS} are read")
    bits = _Bits(rle)
    declared, value_bits = bits.read(32), bits.read(5) + 1
    count_bits = [bits.read(4) + 1 for _ in COUNT_BITS]
    if (declared, value_bits) != (pixels * CHANNELS, VALUE_BITS):
        raise ValueError(
            f"its rle has {declared} values of {value_bits} bits; an image of {width}x{height} pixels has "
            f"{pixels * CHANNELS} of {VALUE_BITS}; export the JSON again"
        )
    alpha = np.zeros(pixels, dtype=bool)
    start = 0
    while start < declared:
        is_run = bits.read(1)
        end = start + bits.read(count_bits[bits.read(2)]) + 1
        if end > declared:
            raise ValueError(f"its rle has more than the {declared} values that it declares; export the JSON again")
        # The last of the four values of a pixel is its alpha.
        inside = slice(start // CHANNELS, end // CHANNELS)
        if is_run:
            if bits.read(VALUE_BITS):
                alpha[inside] = True
        else:
            values = np.frombuffer(bits.read_bytes(end - start), np.uint8)
            alpha[inside] = values[CHANNELS - 1 - start % CHANNELS :: CHANNELS] > 0
        start = end
    return alpha.reshape(height, width)


def encode_brush(mask: Mask) -> list[int]:
    """Return the bytes of a mask `(H, W)` bool: opaque white where it is set, else transparent black."""
    flat = mask.ravel()
    borders = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.array([0, *borders])[: flat.size]
    lengths = np.diff([*starts, flat.size]) * CHANNELS
    parts = [f"{flat.size * CHANNELS:032b}{VALUE_BITS - 1:05b}", *(f"{bits - 1:04b}" for bits in COUNT_BITS)]
    for length, is_set in zip(lengths.tolist(), flat[starts].tolist(), strict=True):
        for count in _counts(length):
            kind = next(index for index, bits in enumerate(COUNT_BITS) if count <= 1 << bits)
            parts.append(f"1{kind:02b}{count - 1:0{COUNT_BITS[kind]}b}{OPAQUE * is_set:0{VALUE_BITS}b}")
    text = "".join(parts)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def _counts(length: int) -> list[int]:
    """Return the counts of the blocks that make up a run."""
    most = 1 << max(COUNT_BITS)
    return [most] * (length // most) + ([length % most] if length % most else [])


class _Bits:
    """Numbers of any number of bits, one after the other, the highest bit first."""

    def __init__(self, values: Any):
        """Raises ValueError for what is not a list of bytes."""
        try:
            if not isinstance(values, list):
                raise TypeError
            self._data = bytes(values)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("its rle is no list of bytes; export the JSON again") from None
        self._position = 0

    def read(self, bits: int) -> int:
        """Return the next number. Raises ValueError at the end."""
        start, end = self._position, self._position + bits
        if end > len(self._data) * 8:
            raise ValueError("its rle ends early; export the JSON again")
        self._position = end
        covered = int.from_bytes(self._data[start // 8 : (end + 7) // 8], "big")
        return covered >> (-end % 8) & ((1 << bits) - 1)

    def read_bytes(self, count: int) -> bytes:
        return self.read(8 * count).to_bytes(count, "big")
