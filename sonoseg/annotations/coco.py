"""Annotation format `coco`: one JSON file with `images`, `annotations` and `categories`, as pycocotools reads it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeGuard

import numpy as np

from sonoseg.annotations.base import AnnotatedImage, Annotation
from sonoseg.annotations.coco_segmentation import OWN_KEY, encode, read_segmentation, write_polygon
from sonoseg.annotations.json_fields import image_size, read_json, shown
from sonoseg.annotations.labelled import (
    MAX_SHAPES,
    Entry,
    ImageFinder,
    Labels,
    annotated_images,
    check_count,
    too_many_shapes,
)
from sonoseg.annotations.unread import Unread, count_unread, filled_names
from sonoseg.errors import DataError
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.extent import extent
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error
from sonoseg.io.files import write_bytes
from sonoseg.schema.annotation_formats import Coco
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size
from sonoseg.types import Mask

INFO = {"description": "Made by SonoSeg. Not for clinical use."}

IMAGE_FIELDS = ("id", "file_name", "height", "width", "license", "flickr_url", "coco_url", "date_captured")
SHAPE_FIELDS = ("id", "image_id", "category_id", "segmentation", "area", "bbox", "num_keypoints", OWN_KEY)
"""What an entry of `images`, and of `annotations`, says besides attributes."""

Id = int | float | str
"""Of an image, a category or an annotation in the file: a whole number, but other programs also write others."""


class CocoFormat:
    written_as: ClassVar[Mapping[str, str]] = {
        "line": "a polygon one pixel wide",
        "rectangle": "a polygon",
        "ellipse": "a polygon",
    }
    states_empty: ClassVar[bool] = False
    mixed_kinds: ClassVar[bool] = True

    def read(
        self, data: Path, section: Coco, structures: Sequence[Structure]
    ) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Read polygons, run lengths and boxes; the names of the categories are the labels.

        Whether an image without annotations shows no structure, the file does not say: `section.without_annotation`
        does. Faults: entries without an image file, several for one, annotations of unknown images or categories or
        without an area, ids that repeat, unknown labels. Raises DataError when the folder or the file is missing or
        the file is not of the format.
        """
        path = data / section.file
        document = read_json(path, data)
        for key in ("images", "annotations", "categories"):
            if not isinstance(document, dict) or not isinstance(document.get(key), list):
                raise DataError(f"no object with a list `{key}`; expected a file of COCO, export it again", path)
        finder = ImageFinder(data, section)
        images = _Images(finder, section)
        faults = [*finder.faults, *images.read(document["images"], path)]
        categories, more = _categories(document["categories"], section.file, path)
        faults += more
        reader = _AnnotationReader(images, categories, Labels(section, structures), section.file)
        faults += reader.read(document["annotations"], path)
        entries = {
            identity: Entry(tuple(reader.shapes.get(identity, ())), size, images.unread[identity])
            for identity, size in images.size_of.items()
        }
        items, more = annotated_images(entries, finder, section, data, images.size_of.keys() - reader.annotated)
        return items, [*faults, *reader.labels.faults(section.file), *more]

    def write(self, data: Path, section: Coco, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write shapes as polygons and bitmaps as run lengths, with ids from 1 in the given order."""
        labels = Labels(section, ())
        images: list[dict[str, Any]] = []
        written: list[str] = []  # as text, which takes a fifth of the memory
        category_of: dict[str, int] = {}
        for item in annotations:
            if item.size is None:
                raise ValueError(f"{item.image}: has no size, which this format stores")
            height, width = item.size
            images.append({"id": len(images) + 1, "file_name": item.image, "width": width, "height": height})
            for shape in item.shapes:
                category = category_of.setdefault(labels.label_of(shape.structure), len(category_of) + 1)
                ids = {"id": len(written) + 1, "image_id": len(images), "category_id": category}
                written.append(_text({**ids, **_entry(shape, item.image, item.size)}))
        categories = [{"id": index, "name": name, "supercategory": ""} for name, index in category_of.items()]
        lists = {"images": map(_text, images), "annotations": written, "categories": map(_text, categories)}
        # An entry per line. A number per line, as `json_text` has it, would make the file of a large dataset too large.
        parts = [f'"{key}": [\n' + ",\n".join(entries) + "\n]" for key, entries in lists.items()]
        text = ",\n".join([f'{{"info": {_text(INFO)}', '"licenses": []', *parts]) + "}\n"
        write_bytes(data / section.file, text.encode("utf-8"), sync)

    def image_files(self, section: Coco, image: str) -> list[str]:
        return []

    def shared_files(self, section: Coco) -> list[str]:
        return [section.file]

    def folders(self, section: Coco) -> list[str]:
        return [section.images]

    def is_annotation(self, path: Path, section: Coco) -> bool:
        return False


class _Images:
    """The entries of `images`.

    id_of: id in the file -> id of the image, None for an entry with a fault; size_of, unread: id of the image -> its
    size, and its attributes.
    """

    def __init__(self, finder: ImageFinder, section: Coco):
        self.id_of: dict[Id, str | None] = {}
        self.size_of: dict[str, Size | None] = {}
        self.unread: dict[str, Unread] = {}
        self._finder, self._section = finder, section

    def read(self, entries: list[Any], path: Path) -> list[Fault]:
        faults: list[Fault] = []
        for number, entry in enumerate(entries):
            check_count(faults, path)
            where = f"{self._section.file}, images, entry {number}"
            try:
                key = _id_of(entry, self.id_of)
                self.id_of[key] = None
                self._add(key, entry)
            except ValueError as problem:
                kind = "no_image" if isinstance(problem, _NoImage) else ""
                name = entry.get("file_name") if isinstance(entry, dict) else None
                identity = self._finder.find(name) if isinstance(name, str) else None
                faults.append(error(where, str(problem), kind, identity))
        return faults

    def _add(self, key: Id, entry: dict[str, Any]) -> None:
        name = entry.get("file_name")
        if not isinstance(name, str):
            raise ValueError(f"found {shown(name)} as file_name; expected the name of an image")
        identity = self._finder.find(name)
        if identity is None:
            if self._finder.is_refused(name):  # it has its own fault already
                return
            missing = f"no image {shown(name)} in {self._section.images}/; put it there, or remove the entry"
            raise _NoImage(self._finder.problem(name, missing))
        if identity in self.size_of:
            raise ValueError(f"a second entry of the image {identity}; keep one")
        self.id_of[key], self.size_of[identity], self.unread[identity] = identity, None, Unread()
        count_unread(self.unread[identity], filled_names(entry, IMAGE_FIELDS), "image")
        self.size_of[identity] = image_size(entry.get("height"), entry.get("width"))


class _NoImage(ValueError):
    """There is no image of this name."""


class _AnnotationReader:
    """The entries of `annotations`: shapes by the id of the image, and the ids of the images that have an entry."""

    def __init__(self, images: _Images, categories: Mapping[Id, str], labels: Labels, file: str):
        self.shapes: dict[str, list[tuple[int, Shape | Bitmap]]] = {}
        self.annotated: set[str] = set()
        self.labels = labels
        self._images, self._categories, self._file = images, categories, file
        self._count: dict[str, int] = {}
        self._ids: set[Id] = set()

    def read(self, entries: list[Any], path: Path) -> list[Fault]:
        faults: list[Fault] = []
        for number, entry in enumerate(entries):
            check_count(faults, path)
            try:
                self._add(entry)
            except ValueError as problem:
                key = entry.get("id") if isinstance(entry, dict) else None
                named = f"id {shown(key)}" if _is_id(key) else f"entry {number}"
                image = entry.get("image_id") if isinstance(entry, dict) else None
                identity = self._images.id_of.get(image) if _is_id(image) else None
                faults.append(error(f"{self._file}, annotations, {named}", str(problem), "shape", identity))
        for identity in sorted(name for name, last in self._count.items() if last >= MAX_SHAPES):
            faults.append(too_many_shapes(f"{self._file}, image {identity}", identity))
        return faults

    def _add(self, entry: Any) -> None:
        key = _id_of(entry, self._ids)
        self._ids.add(key)
        image, category = entry.get("image_id"), entry.get("category_id")
        if not _is_id(image) or image not in self._images.id_of:
            raise ValueError(f"its image_id is {shown(image)}, and no image has this id; correct it")
        identity = self._images.id_of[image]
        if identity is None:  # the image has its own fault already
            return
        self.annotated.add(identity)
        position = self._count[identity] = self._count.get(identity, -1) + 1
        if position >= MAX_SHAPES:
            return
        if not _is_id(category) or category not in self._categories:
            raise ValueError(f"its category_id is {shown(category)}, and no category has this id; correct it")
        structure = self.labels.structure(self._categories[category])
        if structure is None:
            return
        try:
            read = read_segmentation(structure, entry, self._images.size_of[identity])
        except ValueError as problem:
            raise ValueError(f"{structure.name}: {problem}") from None
        self.shapes.setdefault(identity, []).extend((position, shape) for shape in read)
        count_unread(self._images.unread[identity], filled_names(entry, SHAPE_FIELDS))


def _categories(entries: list[Any], file: str, path: Path) -> tuple[dict[Id, str], list[Fault]]:
    """Return {id: name} of the categories, and their faults."""
    names: dict[Id, str] = {}
    faults: list[Fault] = []
    for number, entry in enumerate(entries):
        check_count(faults, path)
        try:
            key, name = _id_of(entry, names), entry.get("name")
            if not isinstance(name, str) or len(name) > 1000:
                raise ValueError(f"found {shown(name)} as name; expected a text")
            names[key] = name
        except ValueError as problem:
            faults.append(error(f"{file}, categories, entry {number}", str(problem)))
    return names, faults


def _is_id(value: Any) -> TypeGuard[Id]:
    return isinstance(value, Id) and not isinstance(value, bool)


def _id_of(entry: Any, taken: Iterable[Id]) -> Id:
    """Return the id of an entry. Raises ValueError when it has none, or one of those that are `taken`."""
    key = entry.get("id") if isinstance(entry, dict) else None
    if not _is_id(key):
        found = f"{shown(key)} as its id" if isinstance(entry, dict) else shown(entry)
        raise ValueError(f"found {found}; expected an object with an id of its own")
    if key in taken:
        raise ValueError(f"a second entry with the id {shown(key)}; give each its own")
    return key


def _entry(shape: Shape | Bitmap, image: str, size: Size) -> dict[str, Any]:
    """Return what an annotation says of a shape. Raises ValueError for a bitmap without a pixel in the image."""
    mask = np.zeros(size, dtype=bool)
    if isinstance(shape, Bitmap):
        window, pixels = shape.draw(size)
        if not pixels.any():
            raise ValueError(f"{image}: {shape.structure} has no pixel in the image, and this format stores none")
        mask[window] = pixels
        return {"segmentation": encode(mask), **_measures(mask)}
    # In hundredths first, as the key has it, so that the same polygon is made of the key when it is read.
    shape = Shape(shape.structure, shape.kind, shape.points.round(2))
    window, pixels = shape.draw(size)
    mask[window] = pixels
    own = {OWN_KEY: {"shape": shape.to_json()}}
    return {"segmentation": write_polygon(shape), **_measures(mask), **own}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _measures(mask: Mask) -> dict[str, Any]:
    """Return area and box of a mask `(H, W)` bool, in pixels; zeros for an empty one."""
    rows, columns = extent(mask)
    box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
    return {"area": int(np.count_nonzero(mask)), "bbox": box, "iscrowd": 0}
