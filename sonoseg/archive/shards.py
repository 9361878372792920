"""Shards: groups of files whose results are one Parquet file, and what makes two of them the same.

The files of an archive come in a stable order, and a group ends at files that are chosen by their names: a file that is
added or removed changes the group it lies in, and seldom another one, in contrast to groups of a fixed number. The
name of a shard is a digest of its files' names, sizes, modification times and spacings, and of the run's fingerprint.
So a shard that is there is finished, whichever run or process has made it, and the shards of any process that makes it
a second time have the same name and the same bytes.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sonoseg.archive.inputs import Unit
from sonoseg.io.readers import READERS

SHARDS, OVERLAYS = "shards", "overlays"
"""Folders of the tables, and of the overlays with a folder for each shard."""
SHARD_IMAGES = 256
"""Images in a shard, about."""
SHARD_NAME = re.compile(r"shard-([0-9a-f]{16})\.parquet")
ID_DIGITS = 16

_BYTES_AN_IMAGE = 1 << 20
"""A file of so many bytes counts twice, so that loops have smaller groups."""
_BYTES_A_VIDEO_FRAME = 1 << 14
_SHORTEST, _LONGEST = 4, 2
"""A group has at least a fourth of the wanted number, and at most twice as many."""
_HASH_RANGE = 1 << 64


@dataclass(frozen=True)
class Shard:
    """A group of files. identity: 16 hexadecimal digits, see the module."""

    identity: str
    units: tuple[Unit, ...]

    @property
    def file(self) -> str:
        """The name of its table, below the output folder."""
        return f"{SHARDS}/shard-{self.identity}.parquet"

    @property
    def overlays(self) -> str:
        """The folder of its overlays, below the output folder."""
        return f"{OVERLAYS}/{self.identity}"


def group(units: Iterable[Unit], fingerprint: str, images: int = SHARD_IMAGES) -> Iterator[Shard]:
    """Yield the shards of files, in their order. images: wanted number of images in each, at least 1."""
    waiting: list[Unit] = []
    total = 0.0
    for unit in units:
        waiting.append(unit)
        weight = _weight(unit)
        total += weight
        chosen = _hash(unit.name) < _HASH_RANGE * min(1.0, weight / max(1.0, images * (1 - 1 / _SHORTEST)))
        if (chosen and total >= images / _SHORTEST) or total >= images * _LONGEST:
            yield _shard(waiting, fingerprint)
            waiting, total = [], 0.0
    if waiting:
        yield _shard(waiting, fingerprint)


def _shard(units: list[Unit], fingerprint: str) -> Shard:
    files = [(unit.name, unit.size, unit.mtime_ns, unit.spacing, unit.spacing_from, unit.problem) for unit in units]
    text = json.dumps([fingerprint, *files])
    return Shard(hashlib.sha256(text.encode()).hexdigest()[:ID_DIGITS], tuple(units))


def _weight(unit: Unit) -> float:
    """Return the number of images that the work on a file is like, as far as its name and size tell."""
    is_video = Path(unit.name).suffix.lower() in READERS["video"].suffixes
    return 1 + max(unit.size, 0) / (_BYTES_A_VIDEO_FRAME if is_video else _BYTES_AN_IMAGE)


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()[:8], "big")
