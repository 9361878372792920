"""What every annotation reader gives back, and how images get their ids."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error
from sonoseg.io.names import is_inside, name_key, name_problem
from sonoseg.io.readers import list_images
from sonoseg.schema.task import Task


@dataclass(frozen=True)
class Annotated:
    """One image with its annotation: either `mask`, a picture, or `shapes`, keyed by their place in the file (from 0).

    An image that shows no structure has empty `shapes` and no mask.
    """

    id: str
    image: Path
    mask: Path | None = None
    shapes: tuple[tuple[int, Shape], ...] = ()


Reader = Callable[[Path, Task], tuple[list[Annotated], list[Fault]]]
"""(data folder, task) -> annotated images sorted by id, and the faults of files that could not be taken."""


def folder_inside(data: Path, name: str) -> tuple[list[Path], list[Fault]]:
    """Return the pictures of a data folder's sub-folder; none and a fault when a link or `..` leads out of it.

    Raises DataError when there is no such folder.
    """
    folder = data / name
    if not is_inside(folder, data):
        return [], [
            error(name, f"leads out of the data folder; move the files there, or give --data {folder.resolve()}")
        ]
    return list_images(folder), []


def with_ids(images: Sequence[Path], data: Path) -> tuple[dict[str, Path], list[Fault]]:
    """Return {id: image} and the faults of images that cannot have an id.

    The id is the file's stem. Two images that would share one, or whose ids differ only in letter case or in the
    Unicode form of a letter, are a fault of both: on other file systems one would overwrite the other.
    """
    found: dict[str, Path] = {}
    owner: dict[str, Path] = {}
    faults = []
    for image in images:
        name, identity = image.relative_to(data).as_posix(), image.stem.strip()
        problem = name_problem(image.name)
        if problem:
            faults.append(error(name, f"{problem} in the file name; rename it"))
            continue
        if not is_inside(image, data):
            faults.append(error(name, "is a link that leads out of the data folder; copy the image there instead"))
            continue
        key = name_key(identity)
        if key in owner:
            other = owner[key].relative_to(data).as_posix()
            faults.append(error(name, f"has the same id as {other} (or one that differs only in case); rename one"))
            continue
        owner[key] = image
        found[identity] = image
    return found, faults
