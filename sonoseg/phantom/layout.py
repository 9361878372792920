"""What every kind of phantom defines: a plan of its cases, its annotation format, its files and its tables."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sonoseg.annotations import FORMATS
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotation_formats import MaskFolder, ShapesJson
from sonoseg.types import Pixels

VERSION = 2  # raise it whenever the same seed gives other files

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Settings:
    """Everything that decides the bytes of a dataset.

    size_scale: shrinks the pixel grid, not the anatomy. artefacts: three of four spinal images begin with a frame,
    ring-down of the transducer or a line of text, in more gel than usual.
    """

    kind: str = "spine"
    images: int = 70
    seed: int = 42
    size_scale: float = 1.0
    artefacts: bool = False
    version: int = VERSION


@dataclass(frozen=True)
class Simulated:
    """A simulated case: the image `(H, W)` uint8, its row of the tables, and its annotation as shapes or as a mask.

    mask: `(H, W)` uint8, as the files of the kind store it.
    """

    image: Pixels
    row: Row
    shapes: tuple[Shape, ...] = ()
    mask: Pixels | None = None


class SimulatedImage(Protocol):
    """An image to be simulated. name: of its files, without folder and suffix; subject: the patient."""

    @property
    def name(self) -> str: ...

    @property
    def subject(self) -> str: ...

    def simulate(self) -> Simulated:
        """Return the image and its annotation; the same at every call."""
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of phantom and the layout of its dataset.

    plan: returns the cases of some settings, each drawn from a random stream of its own, so that none depends on the
    order. annotations: section of a task that reads the dataset. image_suffix: file format of the images. tables:
    columns by file name; they are written in this order after all images, with a row per case, and the presence of the
    last one means that the dataset is complete. smallest: least size_scale at which the anatomy is visible.
    """

    plan: Callable[[Settings], Sequence[SimulatedImage]]
    annotations: ShapesJson | MaskFolder
    tables: Mapping[str, tuple[str, ...]]
    image_suffix: str = ".png"
    smallest: float = 0.15

    @property
    def last_table(self) -> str:
        return list(self.tables)[-1]

    @property
    def shared_files(self) -> list[str]:
        """The files with entries of all images, relative to the dataset's folder, the last table last."""
        return [*FORMATS[self.annotations.format].shared_files(self.annotations), *self.tables]

    def image_name(self, name: str) -> str:
        """Return the file name of a case's image."""
        return name + self.image_suffix

    def files(self, name: str) -> list[str]:
        """Return the files of a case, relative to the dataset's folder: the image, then its annotation, if any."""
        image = self.image_name(name)
        annotation = FORMATS[self.annotations.format].image_files(self.annotations, image)
        return [f"{self.annotations.images}/{image}", *annotation]


def numbered(prefix: str, i: int, count: int) -> str:
    """Name of case i (from 0) of count, from 1 and with leading zeros: Image_001."""
    return f"{prefix}{i + 1:0{max(3, len(str(count)))}d}"


def streams(seed: int, parts: int) -> list[np.random.SeedSequence]:
    """Independent streams for the parts of a plan."""
    return np.random.SeedSequence(seed).spawn(parts)


def generators(seed: np.random.SeedSequence, count: int) -> list[np.random.Generator]:
    """A random generator of its own for each of count draws."""
    return [np.random.default_rng(child) for child in seed.spawn(count)]
