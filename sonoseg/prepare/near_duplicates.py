"""Pictures that are almost the same: a copy of another size, brightness or compression under another patient's name.

A perceptual hash finds candidates, the correlation of small pictures confirms them. On HC18 (799 images of 634
subjects, 318 603 pairs of two subjects) the hashes of two subjects' images differ in at least 8 of 64 bits: 8 bits in
10 pairs, 10 bits in 39, 12 in 174, 14 in 641; the closest pairs correlate by 0.4 to 0.7, all pairs by at most 0.89.
Copies of every eighth image, halved, enlarged by 1.3, brightened by 20 grey levels or a fifth, with a gamma of 0.8 or
as JPEG of quality 30, differ from their source in at most 6 bits and correlate by at least 0.98; shifted by 8 pixels,
in up to 10 bits and by at least 0.83. So 10 bits and 0.9 find such copies and no pair of two subjects. A copy that was
cropped by 3 % on each side (up to 18 bits), turned or mirrored is not found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.core.images import Pixels
from sonoseg.core.manifest import Sample
from sonoseg.prepare.faults import Fault, warning

SIDE = 32
"""Pixels per side of the small picture that is hashed and compared."""

MAX_BITS, MIN_CORRELATION = 10, 0.9

ROWS = 256
"""Hashes compared with all others at a time: 20 MB of memory for 10 000 images."""

MAX_CANDIDATES = 1_000_000
"""More candidates than these are not confirmed one by one; a film of one patient under many names has as many."""


@dataclass(frozen=True)
class Alike:
    """Two images of different patients that are almost the same, by their places in the list that was searched."""

    first: int
    second: int
    bits: int
    correlation: float


def small_picture(image: Pixels) -> Pixels:
    """Return `(32, 32)` uint8: the mean grey of each part of an image `(H, W)`, whatever its shape."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def perceptual_hash(small: Pixels) -> int:
    """Return 64 bits of a small picture: which of its 8 x 8 lowest cosine coefficients lie above their median.

    The DCT hash of Zauner (2010, "Implementation and benchmarking of perceptual image hash functions"). The median
    leaves the mean grey out, so brightness and contrast change few bits. A picture of one grey value hashes to 0 or 1.
    """
    low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
    above = low > np.median(low[1:])
    return int.from_bytes(np.packbits(above).tobytes(), "big")


def find_alike(smalls: Sequence[Pixels], patients: Sequence[str]) -> list[Alike]:
    """Return the pairs of almost equal pictures of different patients, most alike first.

    `smalls` are pictures of `small_picture`, one per image; `patients` their patients. Pictures without any contrast
    are like nothing. Time grows with the square of the count (10 000 images: about a second), memory does not.
    """
    if len(smalls) < 2:
        return []
    hashes = np.array([perceptual_hash(small) for small in smalls], dtype=np.uint64)
    group = np.unique(np.array(patients), return_inverse=True)[1]
    vectors, contrast = _normalised(smalls)
    found: list[Alike] = []
    examined = 0
    for start in range(0, len(hashes), ROWS):
        rows = slice(start, start + ROWS)
        bits = np.bitwise_count(hashes[rows, None] ^ hashes[None, start:])
        near = (bits <= MAX_BITS) & (group[rows, None] != group[None, start:])
        near &= contrast[rows, None] & contrast[None, start:]
        first, second = np.nonzero(np.triu(near, k=1))
        keep = slice(0, max(0, MAX_CANDIDATES - examined))
        first, second = first[keep], second[keep]
        examined += len(first)
        for begin in range(0, len(first), ROWS * ROWS // 4):
            part = slice(begin, begin + ROWS * ROWS // 4)
            a, b = first[part], second[part]
            correlation = np.einsum("ij,ij->i", vectors[start + a], vectors[start + b])
            for at in np.flatnonzero(correlation >= MIN_CORRELATION):
                pair = int(start + a[at]), int(start + b[at])
                found.append(Alike(*pair, int(bits[a[at], b[at]]), float(correlation[at])))
    return sorted(found, key=lambda pair: (-round(pair.correlation, 6), pair.bits, pair.first, pair.second))


def _normalised(smalls: Sequence[Pixels]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return unit vectors `(N, 1024)` with mean 0, whose products are correlations, and which had any contrast."""
    vectors = np.stack(smalls).reshape(len(smalls), -1).astype(np.float32)
    vectors -= vectors.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norm, 1e-6), norm[:, 0] > 1


def alike_faults(pairs: Sequence[Alike], samples: Sequence[Sample], names: Mapping[str, str]) -> list[Fault]:
    """Return a warning per pair that names both files, their parts and patients; `names` are the paths by id."""
    faults = []
    for pair in pairs:
        first, second = samples[pair.first], samples[pair.second]
        across = (first.fold is None) != (second.fold is None)
        message = (
            f"{part_of(first)}, patient {first.patient}: almost the same picture as {names[second.id]}, "
            f"{part_of(second)}, patient {second.patient} ({pair.bits} of 64 bits differ, "
            f"correlation {pair.correlation:.3f})"
        )
        faults.append(warning(names[first.id], message, "alike_across" if across else "alike"))
    return faults


def part_of(sample: Sample) -> str:
    """Return `test`, or `training, fold 2`."""
    return "test" if sample.fold is None else f"training, fold {sample.fold}"
