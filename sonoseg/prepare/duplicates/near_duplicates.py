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
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sonoseg.errors import first_of
from sonoseg.io.faults import Fault, warning
from sonoseg.runs.split_tables import Sample
from sonoseg.types import Pixels

SIDE = 32
"""Pixels per side of the thumbnail that is hashed and compared."""

MAX_BITS, MIN_CORRELATION = 10, 0.9

BLOCK_ROWS = 256
"""Hashes compared with all others at a time: 20 MB of memory for 10 000 images."""

MAX_CANDIDATES = 1_000_000
"""Candidates after which the search ends: as many as a cine loop of 1400 frames has, each under its own patient."""

MAX_NAMED = 3
"""Images that a warning names of each part of a group."""

Column = NDArray[np.intp]


@dataclass(frozen=True)
class NearDuplicatePair:
    """Two images of different patients that are almost the same, by their places in the list that was searched.

    `across`: one of them trains, the other tests.
    """

    first: int
    second: int
    bits: int
    correlation: float
    across: bool


@dataclass(frozen=True)
class Group:
    """Images, by their places in order, each of which is almost the same as another of them; `closest` are two."""

    images: Column
    closest: NearDuplicatePair
    across: bool


@dataclass(frozen=True)
class NearDuplicatePairs:
    """All pairs of almost equal images that were found, most alike first, as columns `(N,)`: N may be a million.

    The search was cut short when `unsearched` is above 0: that many images at the end of the list were not compared
    with each other.
    """

    first: Column
    second: Column
    bits: NDArray[np.uint8]
    correlation: NDArray[np.float32]
    across: NDArray[np.bool_]
    unsearched: int = 0

    def __len__(self) -> int:
        return len(self.first)

    def most_alike(self, count: int) -> list[NearDuplicatePair]:
        """Return the `count` most alike pairs."""
        return [self._pair(at) for at in range(min(count, len(self)))]

    def for_review(self, count: int) -> list[NearDuplicatePair]:
        """Return `count` pairs to look at: training with test before others, then one of each group before a second."""
        key = 2 * self._components()[2] + self.across
        # Pairs with the same key, the most alike first, are ranked 0, 1, 2, ...
        order = np.argsort(key, kind="stable")
        starts = np.flatnonzero(np.diff(key[order], prepend=-1))
        rank = np.empty(len(self), dtype=np.intp)
        rank[order] = np.arange(len(self)) - np.repeat(starts, np.diff(starts, append=len(self)))
        return [self._pair(at) for at in np.lexsort((rank, ~self.across))[:count]]

    def groups(self) -> list[Group]:
        """Return the groups of images that pairs connect, that with the most alike pair first."""
        images, of_image, of_pair = self._components()
        members = np.split(images[np.argsort(of_image, kind="stable")], np.cumsum(np.bincount(of_image))[:-1])
        closest = np.unique(of_pair, return_index=True)[1]
        across = np.bincount(of_pair, weights=self.across) > 0
        return [Group(members[at], self._pair(closest[at]), bool(across[at])) for at in np.argsort(closest)]

    def _components(self) -> tuple[Column, Column, Column]:
        """Return the images that have a pair, in order, the number of the group of each, and that of each pair."""
        if not len(self):
            return self.first, self.first, self.first
        # Images without a pair would be groups of their own.
        images, places = np.unique(np.concatenate([self.first, self.second]), return_inverse=True)
        first, second = places[: len(self)], places[len(self) :]
        links = coo_array((np.ones(len(self), dtype=np.bool_), (first, second)), shape=(len(images), len(images)))
        of_image = connected_components(links, directed=False)[1].astype(np.intp)
        return images, of_image, of_image[first]

    def _pair(self, at: int) -> NearDuplicatePair:
        correlation, across = float(self.correlation[at]), bool(self.across[at])
        return NearDuplicatePair(int(self.first[at]), int(self.second[at]), int(self.bits[at]), correlation, across)


def thumbnail_of(image: Pixels) -> Pixels:
    """Return `(32, 32)` uint8: the mean grey of each part of an image `(H, W)`, whatever its shape."""
    return cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def perceptual_hash(thumbnail: Pixels) -> int:
    """Return 64 bits of a thumbnail: which of its 8 x 8 lowest cosine coefficients lie above their median.

    The DCT hash of Zauner (2010, "Implementation and benchmarking of perceptual image hash functions"). The median
    leaves the mean grey out, so brightness and contrast change few bits. A picture of one grey value hashes to 0 or 1.
    """
    low = cv2.dct(thumbnail.astype(np.float32))[:8, :8].ravel()
    above = low > np.median(low[1:])
    return int.from_bytes(np.packbits(above).tobytes(), "big")


def find_near_duplicates(thumbnails: Sequence[Pixels], samples: Sequence[Sample]) -> NearDuplicatePairs:
    """Return the pairs of almost equal pictures of different patients.

    `thumbnails` are those of `thumbnail_of`, one per sample.
    """
    testing = np.array([sample.fold is None for sample in samples], dtype=bool)
    return similar_pairs(thumbnails, [sample.patient for sample in samples], testing)


def similar_pairs(
    thumbnails: Sequence[Pixels], groups: Sequence[str], testing: NDArray[np.bool_]
) -> NearDuplicatePairs:
    """Return the pairs of almost equal pictures of different groups, one name of a group per picture.

    testing: `(N,)`, whether a picture is in the test part. Pictures without any contrast are like nothing. Time grows
    with the square of the count (10 000 images: about a second), memory does not.
    """
    hashes = np.array([perceptual_hash(thumbnail) for thumbnail in thumbnails], dtype=np.uint64)
    group = np.unique(np.array(groups), return_inverse=True)[1]
    vectors, contrast = unit_vectors(thumbnails)
    parts, examined, unsearched = [], 0, 0
    for start in range(0, len(hashes), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        bits = np.bitwise_count(hashes[rows, None] ^ hashes[None, start:])
        near = (bits <= MAX_BITS) & (group[rows, None] != group[None, start:])
        near &= contrast[rows, None] & contrast[None, start:]
        first, second = np.nonzero(np.triu(near, k=1))
        room = MAX_CANDIDATES - examined
        if len(first) > room:
            unsearched = len(hashes) - start - int(first[room])
            first, second = first[:room], second[:room]
        examined += len(first)
        for begin in range(0, len(first), BLOCK_ROWS * BLOCK_ROWS // 4):
            part = slice(begin, begin + BLOCK_ROWS * BLOCK_ROWS // 4)
            a, b = first[part], second[part]
            correlation = np.einsum("ij,ij->i", vectors[start + a], vectors[start + b])
            sure = correlation >= MIN_CORRELATION
            parts.append((start + a[sure], start + b[sure], bits[a[sure], b[sure]], correlation[sure]))
        if unsearched:
            break
    return _sorted(parts, testing, unsearched)


def _sorted(
    parts: Sequence[tuple[Column, Column, NDArray[np.uint8], NDArray[np.float32]]],
    testing: NDArray[np.bool_],
    unsearched: int,
) -> NearDuplicatePairs:
    """Join (first, second, bits, correlation) of each part of the search, most alike first."""
    none = (np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0, np.uint8), np.empty(0, np.float32))
    first, second, bits, correlation = (np.concatenate(column) for column in zip(none, *parts, strict=True))
    order = np.lexsort((second, first, bits, -np.round(correlation, 6)))
    first, second = first[order], second[order]
    return NearDuplicatePairs(
        first, second, bits[order], correlation[order], testing[first] != testing[second], unsearched
    )


def unit_vectors(thumbnails: Sequence[Pixels]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return unit vectors `(N, 1024)` with mean 0, whose products are correlations, and which had any contrast."""
    vectors = np.array(thumbnails, dtype=np.float32).reshape(len(thumbnails), SIDE * SIDE)
    vectors -= vectors.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norm, 1e-6), norm[:, 0] > 1


def near_duplicate_faults(
    pairs: NearDuplicatePairs, samples: Sequence[Sample], names: Mapping[str, str]
) -> list[Fault]:
    """Return a warning per group of almost equal images, and one when the search was cut short.

    `pairs` are of these samples; `names` are their images' paths by id.
    """
    faults = []
    for group in pairs.groups():
        message = _of_two(group, samples, names) if len(group.images) == 2 else _of_many(group, samples, names)
        where = names[samples[group.images[0]].id]
        faults.append(warning(where, message, "alike_across" if group.across else "alike"))
    if pairs.unsearched:
        message = (
            f"the search for almost equal images ended after {MAX_CANDIDATES} candidates: this image and those after "
            f"it, {pairs.unsearched} of {len(samples)}, were not compared with each other"
        )
        faults.append(warning(names[samples[-pairs.unsearched].id], message, "alike_cut"))
    return faults


def _of_two(group: Group, samples: Sequence[Sample], names: Mapping[str, str]) -> str:
    pair = group.closest
    first, second = samples[pair.first], samples[pair.second]
    return (
        f"{first.part}, patient {first.patient}: almost the same picture as {names[second.id]}, "
        f"{second.part}, patient {second.patient} ({pair.bits} of 64 bits differ, correlation {pair.correlation:.3f})"
    )


def _of_many(group: Group, samples: Sequence[Sample], names: Mapping[str, str]) -> str:
    images = [samples[at] for at in group.images]
    parts = []
    for part, members in (
        ("training", [sample for sample in images if sample.fold is not None]),
        ("test", [sample for sample in images if sample.fold is None]),
    ):
        if members:
            named = first_of([f"{names[sample.id]} of patient {sample.patient}" for sample in members], MAX_NAMED)
            parts.append(f"{len(members)} in {part} ({named})")
    patients = len({sample.patient for sample in images})
    return (
        f"one of {len(images)} images of {patients} patients, each almost the same picture as another of them: "
        f"{' and '.join(parts)}; are they frames of one cine loop?"
    )
