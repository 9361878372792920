"""Annotation format `labelme`: a JSON file of labelme, versions 4 to 7, for each image.

The coordinates are ours, with whole numbers at pixel centres: labelme's own rasteriser draws 100 pixels for a square
from 0 to 9, as `Shape.draw` does. labelme has no ellipse; it is written as the rectangle around it, with a key of our
own, which labelme keeps.
"""

import base64
import math
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from sonoseg.annotations import drawn
from sonoseg.annotations.base import AnnotatedImage, Annotation
from sonoseg.annotations.json_fields import coordinate_pairs, embedded_png, image_size, read_json, shown
from sonoseg.annotations.labelled import Entry, ImageFinder, Labels, annotated_images, check_count, first_shapes
from sonoseg.annotations.unread import Unread, count_unread, filled_names
from sonoseg.errors import DataError, choices
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error
from sonoseg.io.files import json_text, write_bytes
from sonoseg.io.image_ref import stem_of
from sonoseg.io.limits import MAX_PIXELS
from sonoseg.io.names import is_inside, name_problem
from sonoseg.io.png import encode_png
from sonoseg.schema.annotation_formats import LabelMe
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size

VERSION = "6.3.1"
"""Of labelme, in the files that are written."""

OWN_KEY = "sonoseg"
ELLIPSE = {"shape": "ellipse"}
"""Value of `OWN_KEY` in an oriented rectangle that stands for the ellipse inside it."""

FIELDS = ("version", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth", "lineColor", "fillColor")
SHAPE_FIELDS = ("label", "points", "shape_type", "mask", "line_color", "fill_color", OWN_KEY)
"""What a file, and a shape, says besides attributes."""


class LabelMeFormat:
    written_as: ClassVar[Mapping[str, str]] = {"ellipse": "the oriented rectangle around it"}
    states_empty: ClassVar[bool] = True
    mixed_kinds: ClassVar[bool] = True

    def read(
        self, data: Path, section: LabelMe, structures: Sequence[Structure]
    ) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Read the JSON files; each belongs to the image with the same stem, whatever its `imagePath`.

        A file without shapes states that its image shows no structure. Faults: a file without an image, one that
        cannot be read or names another image, a shape that is no area, unknown labels. Raises DataError when a folder
        is missing.
        """
        finder, labels = ImageFinder(data, section), Labels(section, structures)
        faults = [*finder.faults]
        entries: dict[str, Entry] = {}
        for path in _json_files(data / section.annotations, data):
            where, name = path.relative_to(data).as_posix(), path.stem.strip()
            identity = name if name in finder.image_of else finder.find(path.stem) or name
            problem = name_problem(path.name)
            if problem:
                faults.append(error(where, f"{problem} in the file name; rename it", "names"))
            elif identity in entries:
                faults.append(error(where, f"a second annotation of the image {identity}; keep one", "", identity))
            elif finder.find(identity) == identity:
                entries[identity], more = _read_file(path, data, finder, labels, identity)
                faults += more
                check_count(faults, data / section.annotations, "save the files in labelme again")
            elif not finder.is_refused(identity):  # an image that was refused has its own fault already
                message = f"annotation of an image that is not there; expected {identity} in {section.images}/"
                faults.append(error(where, finder.problem(path.stem, message), "no_image"))
        items, more = annotated_images(entries, finder, section, data)
        return items, [*faults, *labels.faults(section.annotations), *more]

    def write(self, data: Path, section: LabelMe, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write a JSON file for each image, which labelme opens; with an ellipse from version 6 on."""
        labels = Labels(section, ())
        for item in annotations:
            if item.size is None:
                raise ValueError(f"{item.image}: has no size, which this format stores")
            document: dict[str, Any] = {
                "version": VERSION,
                "flags": {},
                "shapes": [_entry(shape, labels, item.image, item.size) for shape in item.shapes],
                "imagePath": item.path or posixpath.relpath(f"{section.images}/{item.image}", section.annotations),
                "imageData": None,
                "imageHeight": item.size[0],
                "imageWidth": item.size[1],
            }
            (name,) = self.image_files(section, item.image)
            write_bytes(data / name, json_text(document).encode("utf-8"), sync)

    def image_files(self, section: LabelMe, image: str) -> list[str]:
        return [f"{section.annotations}/{stem_of(Path(image))}.json"]

    def shared_files(self, section: LabelMe) -> list[str]:
        return []

    def folders(self, section: LabelMe) -> list[str]:
        return [section.images, section.annotations]

    def is_annotation(self, path: Path, section: LabelMe) -> bool:
        one_folder = posixpath.normpath(section.images) == posixpath.normpath(section.annotations)
        return one_folder and path.suffix.lower() == ".json"


def _json_files(folder: Path, data: Path) -> list[Path]:
    """Return the JSON files directly in a folder, sorted; hidden ones, such as those of macOS, are left out."""
    if not folder.is_dir():
        raise DataError("no such folder; expected the JSON files of labelme, see annotations.annotations", folder)
    if not is_inside(folder, data):
        raise DataError(f"leads out of the data folder; move the files there, from {folder.resolve()}", folder)
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".json" and path.name[0] != ".")


def _read_file(path: Path, data: Path, finder: ImageFinder, labels: Labels, identity: str) -> tuple[Entry, list[Fault]]:
    """Return shapes and size in the file of an image, as far as they can be read, and its faults."""
    where = path.relative_to(data).as_posix()
    try:
        document = read_json(path, data)
    except DataError as problem:
        return Entry(), [error(where, problem.reason, "unreadable", identity)]
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        message = "no object with a list `shapes`; expected a file of labelme, save it there again"
        return Entry(), [error(where, message, "unreadable", identity)]
    faults, size, unread = [], None, Unread()
    count_unread(unread, filled_names(document, FIELDS), "image")
    try:
        size = image_size(document.get("imageHeight"), document.get("imageWidth"))
    except ValueError as problem:
        faults.append(error(where, f"{problem}; correct imageHeight and imageWidth", "", identity))
    other = _path_problem(document.get("imagePath"), identity, finder)
    if other:
        faults.append(error(where, other, "", identity))
    shapes: list[tuple[int, Shape | Bitmap]] = []
    for index, entry in enumerate(first_shapes(document["shapes"], faults, where, identity)):
        try:
            found = _shapes(entry, labels, size)
            shapes += [(index, shape) for shape in found]
            count_unread(unread, filled_names(entry, SHAPE_FIELDS) if found else ())
        except ValueError as problem:
            faults.append(error(f"{where}, shape {index}", str(problem), "shape", identity))
    return Entry(tuple(shapes), size, unread), faults


def _path_problem(name: Any, identity: str, finder: ImageFinder) -> str | None:
    """Return why a file's `imagePath` does not fit the image of its stem; a name that no image has does."""
    if name is None:
        return None
    if not isinstance(name, str):
        return f"found {shown(name)} as imagePath; expected the name of the image"
    if finder.find(name) in (None, identity):
        return None
    return (
        f"its imagePath is {shown(name)}, which is another image than {identity}; rename the file, or correct the path"
    )


def _shapes(entry: Any, labels: Labels, size: Size | None) -> Sequence[Shape | Bitmap]:
    """Return what an entry of `shapes` draws, nothing for a label without a structure. Raises ValueError."""
    if not isinstance(entry, dict):
        raise ValueError(f"found {shown(entry)}; expected an object with label, points and shape_type")
    label, kind = entry.get("label"), entry.get("shape_type")
    if not isinstance(label, str) or len(label) > 1000:
        raise ValueError(f"found {shown(label)} as label; expected a text")
    structure = labels.structure(label)
    if structure is None:
        return ()
    kind = "polygon" if kind is None else kind  # as labelme reads old files
    if not isinstance(kind, str) or kind not in _READERS:
        raise ValueError(f"{structure.name}: unknown shape_type {shown(kind)}; expected {choices(list(_READERS))}")
    try:
        return _READERS[kind](structure, coordinate_pairs(entry.get("points")), entry, size)
    except ValueError as problem:
        raise ValueError(f"{structure.name}: {problem}") from None


_Points = list[list[float]]


def _rectangle(structure: Structure, points: _Points, entry: dict[str, Any], size: Size | None) -> Sequence[Shape]:
    if len(points) == 4:  # some programs that write this format give all corners
        return [drawn.four_corners(structure, points)]
    first, second = _exactly(points, 2, "rectangle")
    return [drawn.box(structure, first, second)]


def _oriented(structure: Structure, points: _Points, entry: dict[str, Any], size: Size | None) -> Sequence[Shape]:
    corners = np.array(_exactly(points, 4, "oriented_rectangle"), dtype=np.float64)
    if entry.get(OWN_KEY) != ELLIPSE:
        return [drawn.four_corners(structure, points)]
    left, right = corners[[0, 3]].mean(axis=0), corners[[1, 2]].mean(axis=0)
    upper, lower = corners[:2].mean(axis=0), corners[2:].mean(axis=0)
    return [Shape(structure.name, "ellipse", np.array([left, right, upper, lower]))]


def _circle(structure: Structure, points: _Points, entry: dict[str, Any], size: Size | None) -> Sequence[Shape]:
    centre, on_circle = _exactly(points, 2, "circle")
    radius = math.dist(centre, on_circle)
    return [drawn.ellipse(structure, centre, (radius, radius))]


def _point(structure: Structure, points: _Points, entry: dict[str, Any], size: Size | None) -> Sequence[Shape]:
    raise ValueError("a point has no area; draw the structure's outline, or map the label to null to ignore it")


def _mask(structure: Structure, points: _Points, entry: dict[str, Any], size: Size | None) -> Sequence[Bitmap]:
    """Return the pixels in a box of the image; nothing is decoded unless the PNG states the size of the box."""
    # labelme cuts off decimals, which the box of a mask that was moved may have.
    (left, top), (right, bottom) = ([math.trunc(value) for value in point] for point in _exactly(points, 2, "mask"))
    height, width = bottom - top + 1, right - left + 1
    rows, columns = size or (bottom + 1, right + 1)
    if left < 0 or top < 0 or height < 1 or width < 1 or bottom >= rows or right >= columns:
        box = f"({left}, {top}) to ({right}, {bottom})"
        raise ValueError(f"the box of its mask, {box}, is not inside the image of {columns}x{rows} pixels")
    if width * height > MAX_PIXELS:
        raise ValueError(f"the box of its mask has {width}x{height} pixels; at most {MAX_PIXELS} are read")
    values = embedded_png(entry.get("mask"), (height, width))
    return [Bitmap.of(structure.name, values > 0, left, top)]


def _exactly(points: _Points, count: int, kind: str) -> _Points:
    if len(points) != count:
        raise ValueError(f"{len(points)} points; a {kind} of labelme has {count}")
    return points


_Reader = Callable[[Structure, _Points, dict[str, Any], Size | None], Sequence[Shape | Bitmap]]
_READERS: dict[str, _Reader] = {
    "polygon": lambda structure, points, *_: [drawn.polygon(structure, points)],
    "rectangle": _rectangle,
    "oriented_rectangle": _oriented,
    "circle": _circle,
    "line": lambda structure, points, *_: drawn.polyline(structure, _exactly(points, 2, "line")),
    "linestrip": lambda structure, points, *_: drawn.polyline(structure, points),
    "point": _point,
    "points": _point,
    "mask": _mask,
}
"""`shape_type` -> function that returns what an entry draws; it raises ValueError with the reason."""

_TYPE_OF = {"line": "line", "rectangle": "rectangle", "ellipse": "oriented_rectangle", "region": "polygon"}
"""Kind of a shape -> `shape_type` as which it is written."""


def _entry(shape: Shape | Bitmap, labels: Labels, image: str, size: Size) -> dict[str, Any]:
    """Return an entry of `shapes`. Raises ValueError for a bitmap without a pixel in the image."""
    entry: dict[str, Any] = {
        "label": labels.label_of(shape.structure),
        "group_id": None,
        "description": "",
        "flags": {},
    }
    if isinstance(shape, Bitmap):
        (rows, columns), mask = shape.draw(size)
        if not mask.any():
            raise ValueError(f"{image}: {shape.structure} has no pixel in the image, and this format stores none")
        points = [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]]
        png = base64.b64encode(encode_png(mask.astype(np.uint8) * np.uint8(255))).decode("ascii")
        return {**entry, "points": points, "shape_type": "mask", "mask": png}
    entry["shape_type"] = _TYPE_OF[shape.kind]
    if shape.kind == "ellipse":
        return {**entry, "points": drawn.rectangle_around(shape.points).round(4).tolist(), OWN_KEY: ELLIPSE}
    if shape.is_turned:
        entry["shape_type"] = "oriented_rectangle"
    return {**entry, "points": SHAPE_KINDS[shape.kind].write_points(shape.points)}
