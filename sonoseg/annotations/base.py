"""The contract of an annotation format, and what all formats share."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from posixpath import normpath
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

from sonoseg.annotations.unread import Unread
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.names import is_inside, name_key, name_problem
from sonoseg.io.readers import list_images
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Region, Size
from sonoseg.types import Pixels

_NO_FOLDER = (".", "__MACOSX")
"""Beginnings of names of folders that no `*` stands for."""


@dataclass(frozen=True)
class MaskFile:
    """A mask of an image. structure: the one that a binary mask shows; None for a mask with values of all classes.

    values: (stored value or colour `#rrggbb`, structure) pairs of a mask of all classes; empty when the values are the
    class indices. page: of a file with a mask for each frame, from 0; None for a file with one.
    """

    path: Path
    structure: str | None = None
    values: tuple[tuple[int | str, str | None], ...] = ()
    page: int | None = None


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of a data folder with its annotation, as a reader returns it: mask files, or shapes.

    id: unique in the data folder: the stem of the image's file name, with the numbers of frame and region where a file
    has several; image: as readers return it, a file or a frame, whose regions `prepare.reading.regions` tells apart;
    masks: empty when the annotation consists of shapes; outlined: the masks contain outlines, and the enclosed
    area is to be filled; shapes: (position in the file, from 0; shape or bitmap). An image without structures has no
    mask and no shapes, or empty masks. Coordinates, and the pixels of masks, are those of the whole frame. size: of the
    frame as the annotation states it, None when it does not. drop_empty: a mask without a structure means that nobody
    has annotated the image. regions: all of the frame where it has several, of which `image` names one. folder: what
    each `*` in the folder of the images stands for, with `/` after it; empty without `*`. unread: attributes of the
    image and of its shapes that the reader knows nothing of; the writers do not write them.
    """

    id: str
    image: ImageRef
    masks: tuple[MaskFile, ...] = ()
    outlined: bool = False
    shapes: tuple[tuple[int, Shape | Bitmap], ...] = ()
    size: Size | None = None
    drop_empty: bool = False
    regions: tuple[Region, ...] = ()
    folder: str = ""
    unread: Unread = field(default_factory=Counter, compare=False)

    @property
    def path_name(self) -> str:
        """What a pattern for the patient is matched with: `folder` and the stem of the image's file name."""
        return self.folder + stem_of(self.image.path)

    @property
    def file_id(self) -> str:
        """The id of the image's file, the same for all its frames and regions."""
        return id_in(self.folder, stem_of(self.image.path).strip())

    def name_in(self, data: Path) -> str:
        """Return how messages name the image: its path relative to the data folder, and its frame and region if any.

        The path is whole for an image of another folder.
        """
        path = self.image.path
        return str(replace(self.image, path=path.relative_to(data) if path.is_relative_to(data) else path))


@dataclass(frozen=True)
class Annotation:
    """The annotation of an image, as a writer takes it.

    image: name of the image file; shapes: for formats that store shapes; mask: for formats that store masks, `(H, W)`
    uint8 of the values to be stored, or of the positions of their colours from 1. Both may be given. An image without
    structures has no shapes, and a mask of zeros. size: of the image, which the formats of annotation tools store.
    path: of the image, from the folder of its annotation file, for formats that store it; None: from the folder of the
    images to that of the annotations.
    """

    image: str
    shapes: tuple[Shape | Bitmap, ...] = ()
    mask: Pixels | None = None
    size: Size | None = None
    path: str | None = None


class AnnotationFormat(Protocol):
    """Reads and writes the annotations of one format.

    `section` is the format's section of the task, `data` the data folder, to which all names in a section are
    relative. A format has no state. What `write` writes, `read` returns: the same ids, shapes to hundredths of a pixel
    and masks value by value.
    """

    written_as: ClassVar[Mapping[str, str]]
    """Kind of a shape, or `bitmap`, that the format does not have -> what stands for it in a file. A caller of `write`
    makes polygons of bitmaps, and masks of all kinds; for other kinds `write` does."""

    states_empty: ClassVar[bool]
    """Whether a file tells an image that shows no structure from one that nobody has annotated."""

    mixed_kinds: ClassVar[bool]
    """Whether a structure may have shapes of other kinds than the task gives it."""

    def read(
        self, data: Path, section: Any, structures: Sequence[Structure]
    ) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Return the annotated images, sorted by id, and the faults of the others. No image is decoded.

        Every image and every annotation of the folder is either returned or named by a fault. Raises DataError when a
        folder or file of the section is missing or unusable as a whole, TaskError for a section without meaning.
        """
        ...

    def write(self, data: Path, section: Any, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write annotations, each file atomically and replacing an earlier one; images are not written.

        `annotations` is consumed once, and no mask of it is kept. A file for all images is written last. `sync`: see
        `write_bytes`. Raises ValueError for an annotation without what the format stores, OSError.
        """
        ...

    def image_files(self, section: Any, image: str) -> list[str]:
        """Return the files of one image's annotation, relative to the data folder; `image` is its file name."""
        ...

    def shared_files(self, section: Any) -> list[str]:
        """Return the files with the annotations of all images, relative to the data folder."""
        ...

    def folders(self, section: Any) -> list[str]:
        """Return the folders that contain nothing but images and annotations, relative to the data folder."""
        ...

    def is_annotation(self, path: Path, section: Any) -> bool:
        """Return whether an image file in the folder of the images is, by its name, an annotation."""
        ...


def folder_inside(data: Path, name: str) -> tuple[list[Path], list[Fault]]:
    """Return the image files of a data folder's sub-folder; none and a fault when a link or `..` leads out of it.

    Raises DataError when there is no such folder.
    """
    folder = data / name
    if not is_inside(folder, data):
        message = f"leads out of the data folder; move the files there, or use {folder.resolve()} as the data folder"
        return [], [error(name, message)]
    return list_images(folder), []


def matching_folders(data: Path, pattern: str) -> dict[tuple[str, ...], str]:
    """Return {what each `*` stands for: folder, relative to `data`} of the folders that a name with `*` means.

    A `*` is one folder, or a part of a folder's name, of at least one letter; hidden folders have none. Links are
    followed; `folder_inside` refuses those that lead out.
    """
    found: dict[tuple[str, ...], str] = {(): ""}
    for part in Path(normpath(pattern)).parts:
        meant = re.compile("(.+)".join(map(re.escape, part.split("*"))), re.DOTALL)
        further: dict[tuple[str, ...], str] = {}
        for stars, folder in found.items():
            names = sorted(one.name for one in (data / folder).iterdir() if one.is_dir()) if "*" in part else [part]
            for name in names:
                match = meant.fullmatch(name)
                if match and (data / folder / name).is_dir() and not ("*" in part and name.startswith(_NO_FOLDER)):
                    further[(*stars, *match.groups())] = f"{folder}/{name}" if folder else name
        found = further
    return found


def id_in(folder: str, stem: str) -> str:
    """Return the id of a file: its stem, with the folders that `*` stand for before it unless it begins with them."""
    folders = folder.rstrip("/").replace("/", "_")
    return stem if stem.casefold().startswith(folders.casefold()) else f"{folders}_{stem}"


def with_ids(
    images: Sequence[Path], data: Path, folder_of: Mapping[Path, str] = MappingProxyType({})
) -> tuple[dict[str, Path], list[Fault]]:
    """Return {id: image} and the faults of images that cannot have an id. folder_of: see `id_in`.

    The id is the file's stem (`stem_of`). Images with the same id, or with ids that differ only in letter case or in
    the Unicode form of a letter, are a fault: on other file systems one would overwrite the other.
    """
    image_of: dict[str, Path] = {}
    first_with: dict[str, Path] = {}
    faults = []
    for image in images:
        name, identity = image.relative_to(data).as_posix(), id_in(folder_of.get(image, ""), stem_of(image).strip())
        problem = name_problem(image.name) or name_problem(identity)
        if problem:
            faults.append(error(name, f"{problem} in the file name; rename it"))
            continue
        if not is_inside(image, data):
            faults.append(error(name, "is a link that leads out of the data folder; copy the image there instead"))
            continue
        key = name_key(identity)
        if key in first_with:
            other = first_with[key].relative_to(data).as_posix()
            faults.append(error(name, f"has the same id as {other} (or one that differs only in case); rename one"))
            continue
        first_with[key] = image
        image_of[identity] = image
    return image_of, faults
