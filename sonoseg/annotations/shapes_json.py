"""Annotation format `shapes_json`: one file `{"image name": [["MID", "line", [[x, y], [x, y]]], ...], ...}`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, get_args

from sonoseg.annotations.base import AnnotatedImage, Annotation, folder_inside, with_ids
from sonoseg.annotations.frames import FrameProblem, ImageFiles
from sonoseg.annotations.labelled import check_count, first_shapes, quoted
from sonoseg.errors import DataError, choices
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import KindName, Shape
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.files import json_text, write_bytes
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.names import is_inside, name_problem
from sonoseg.io.reading import read_text_file
from sonoseg.schema.annotation_formats import ShapesJson
from sonoseg.schema.annotations import Structure

KIND_OF: dict[str, KindName] = {SHAPE_KINDS[name].json_name: name for name in get_args(KindName)}
"""Name of a shape in a file -> kind."""

LONGEST_NAME = 300
"""Characters of a name that messages show whole: as many as a path that is meant as one has."""


class ShapesJsonFormat:
    written_as: ClassVar[Mapping[str, str]] = {"bitmap": "a polygon for each component, with its holes filled"}
    states_empty: ClassVar[bool] = True
    mixed_kinds: ClassVar[bool] = False

    def read(
        self, data: Path, section: ShapesJson, structures: Sequence[Structure]
    ) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Read the annotation file, whose keys are names of images or frames with or without the extension.

        Faults: a key that names no image or is a duplicate, a shape whose class, kind or points do not fit the task.
        An image that is not in the file is left out with a warning, as is a file none of whose frames is in it. Raises
        DataError when the folder or the file is missing or the file is not JSON of the expected form.
        """
        images, faults = folder_inside(data, section.images)
        image_of, more = with_ids(images, data)
        faults += more
        files = ImageFiles(image_of)
        refused = {path.name for path in images} - {path.name for path in image_of.values()}
        refused |= {stem_of(Path(name)) for name in refused}

        ref_of: dict[str, ImageRef] = {}
        mentioned: set[Path | None] = set()
        shapes_of: dict[str, tuple[tuple[int, Shape], ...]] = {}
        for key, entries in _read_pairs(data, section.file):
            check_count(faults, data / section.file, "correct the file")
            where = f"{section.file}, {key!r}" if len(key) <= LONGEST_NAME else f"{section.file}, {quoted(key)}"
            problem = name_problem(key)
            if problem:
                faults.append(error(where, f"{problem}; expected the name of an image in {section.images}/"))
                continue
            try:
                found = files.find(key)
            except FrameProblem as problem_of_frame:
                faults.append(error(where, str(problem_of_frame), "no_image"))
                mentioned.add(problem_of_frame.path)
                continue
            if found and found[0] in shapes_of:
                faults.append(error(where, "a second annotation of the same image; keep one", "", found[0]))
            elif found:
                identity, ref_of[found[0]] = found
                shapes_of[identity], more = _shapes(where, entries, structures)
                faults += [replace(fault, image=identity) for fault in more]
            elif key not in refused:  # an image that was refused has its own fault already
                message = f"annotation for an image that is not there; expected it in {section.images}/"
                faults.append(error(where, message))
        mentioned |= {ref.path for ref in ref_of.values()}
        for identity, path in image_of.items():
            if path not in mentioned:
                message = f"not in {section.file}; left out"
                faults.append(warning(path.relative_to(data).as_posix(), message, "left_out", identity))
        items = [AnnotatedImage(name, ref_of[name], shapes=shapes) for name, shapes in sorted(shapes_of.items())]
        return items, faults

    def write(self, data: Path, section: ShapesJson, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write the file with the shapes of all images; keys are image names without the extension."""
        entries = {
            stem_of(Path(item.image)): [_entry(shape, item.image) for shape in item.shapes] for item in annotations
        }
        write_bytes(data / section.file, json_text(entries).encode("utf-8"), sync)

    def image_files(self, section: ShapesJson, image: str) -> list[str]:
        return []

    def shared_files(self, section: ShapesJson) -> list[str]:
        return [section.file]

    def folders(self, section: ShapesJson) -> list[str]:
        return [section.images]

    def is_annotation(self, path: Path, section: ShapesJson) -> bool:
        return False


def _entry(shape: Shape | Bitmap, image: str) -> list[Any]:
    """Return a shape as the file has it, whole numbers without a decimal point. Raises ValueError for a bitmap."""
    if isinstance(shape, Bitmap):
        raise ValueError(f"{image}: {shape.structure} is given by its pixels, which this format does not store")
    name, kind, points = shape.to_json()
    return [name, kind, [[int(value) if value.is_integer() else value for value in point] for point in points]]


def _read_pairs(data: Path, name: str) -> list[tuple[str, Any]]:
    """Return (key, value) pairs of the top level, duplicates kept; objects below it are lists of pairs, too."""
    path = data / name
    if not is_inside(path, data):
        raise DataError("leads out of the data folder; copy the file there", path)
    try:
        pairs = json.loads(read_text_file(path).decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("no such annotation file; put it there or name it in annotations.file", path) from None
    except json.JSONDecodeError as problem:
        raise DataError(f"{path}, line {problem.lineno}, column {problem.colno}: not JSON: {problem.msg}") from None
    except UnicodeDecodeError as problem:
        raise DataError(f"not UTF-8 text (byte {problem.start}); save it as UTF-8", path) from None
    except (RecursionError, ValueError) as problem:
        raise DataError(f"not readable as JSON: {problem}", path) from None
    if not isinstance(pairs, _Pairs):
        raise DataError(f'found {_type(pairs)}; expected {{"image name": [[class, shape, points], ...], ...}}', path)
    return pairs


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as a list of pairs: a dictionary would silently keep the last of two equal keys."""


def _type(value: Any) -> str:
    """Return the JSON type of a value that `_read_pairs` returns, with its article."""
    if isinstance(value, _Pairs):
        return "an object"
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _shapes(
    where: str, entries: Any, structures: Sequence[Structure]
) -> tuple[tuple[tuple[int, Shape], ...], list[Fault]]:
    if not isinstance(entries, list) or isinstance(entries, _Pairs):
        return (), [
            error(where, f"expected a list of [class, shape, points], found {_type(entries)}; correct the entry")
        ]
    shapes: list[tuple[int, Shape]] = []
    faults: list[Fault] = []
    for index, entry in enumerate(first_shapes(entries, faults, where)):
        try:
            shapes.append((index, _shape(entry, structures)))
        except ValueError as problem:
            faults.append(error(f"{where}, shape {index}", str(problem)))
    return tuple(shapes), faults


def _shape(entry: Any, structures: Sequence[Structure]) -> Shape:
    """Return a shape with finite points in the right number. Raises ValueError with the reason."""
    if not isinstance(entry, list) or isinstance(entry, _Pairs) or len(entry) != 3:
        found = f"a list of {len(entry)}" if isinstance(entry, list) and not isinstance(entry, _Pairs) else _type(entry)
        raise ValueError(f"expected [class, shape, points], found {found}; correct the entry")
    name, word, points = entry
    structure = next((structure for structure in structures if structure.name == name), None)
    if structure is None:
        names = [structure.name for structure in structures]
        raise ValueError(f"unknown class {quoted(name)}; the classes are {choices(names)}")
    if not isinstance(word, str) or word not in KIND_OF:
        raise ValueError(f"{name}: unknown shape {quoted(word)}; expected {choices(list(KIND_OF))}")
    kind = KIND_OF[word]
    is_box = (kind, structure.shape) == ("rectangle", "region")  # a region may be drawn as a rectangle
    if kind != structure.shape and not is_box:
        raise ValueError(f"{name} is annotated as {kind}; the task says {structure.shape}")
    try:
        shape = Shape(name, kind, SHAPE_KINDS[kind].read_points(points))
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from None
    return Shape(name, "region", shape.outline()) if is_box else shape
