"""What every kind of phantom brings: a plan of its cases, the files that a case becomes, and its tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sonoseg.io.tables import write_csv

VERSION = 1  # raise it whenever the same seed gives other images

Row = Mapping[str, Any]
WriteTable = Callable[[Path, Sequence[Row]], object]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of a dataset. size_scale shrinks the pixel grid, not the anatomy."""

    kind: str = "spine"
    images: int = 70
    seed: int = 42
    size_scale: float = 1.0
    version: int = VERSION


@dataclass(frozen=True)
class Files:
    """A finished case: uint8 (H, W) pictures in the order of its kind's `pictures`, and what the tables say of it."""

    pictures: tuple[NDArray[np.uint8], ...]
    row: Row


class Case(Protocol):
    """One image to be made. name: what its files are called, without folder and suffix; subject: who it shows."""

    @property
    def name(self) -> str: ...

    @property
    def subject(self) -> str: ...

    def files(self) -> Files:
        """The pictures and their truth; the same at every call."""
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of phantom and the layout of its dataset.

    plan: the cases of some settings, each draw from a stream of its own, so that none depends on order; pictures: paths
    below the dataset's folder with {} for a case's name, whose suffix says the format; tables: writers by file name,
    called in order once all pictures are there, with one row per case. The last table's presence means "finished".
    smallest: the least size_scale at which the anatomy can still be seen.
    """

    plan: Callable[[Settings], Sequence[Case]]
    pictures: tuple[str, ...]
    tables: Mapping[str, WriteTable]
    smallest: float = 0.15

    @property
    def last_table(self) -> str:
        """Name of the table that is written last."""
        return list(self.tables)[-1]

    @property
    def folders(self) -> list[str]:
        """The folders that hold the pictures, each once, in order."""
        return list(dict.fromkeys(str(PurePosixPath(picture).parent) for picture in self.pictures))

    def paths(self, name: str) -> list[str]:
        """Paths of a case's pictures below the dataset's folder."""
        return [picture.format(name) for picture in self.pictures]


def csv_table(*columns: str) -> WriteTable:
    """A writer of a CSV table with these columns; what else a row holds is left out."""
    return lambda path, rows: write_csv(path, columns, rows)


def numbered(prefix: str, i: int, count: int) -> str:
    """Name of case i (from 0) of count, from 1 and with leading zeros: Image_001."""
    return f"{prefix}{i + 1:0{max(3, len(str(count)))}d}"


def streams(seed: int, parts: int) -> list[np.random.SeedSequence]:
    """Independent streams for the parts of a plan."""
    return np.random.SeedSequence(seed).spawn(parts)


def generators(seed: np.random.SeedSequence, count: int) -> list[np.random.Generator]:
    """A random generator of its own for each of count draws."""
    return [np.random.default_rng(child) for child in seed.spawn(count)]
