"""Annotation format `shapes_json`: one file `{"image name": [["MID", "line", [[x, y], [x, y]]], ...], ...}`."""

import json
from pathlib import Path
from typing import Any

from sonoseg.annotations.base import Annotated, folder_inside, with_ids
from sonoseg.errors import DataError, choices
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.names import is_inside, name_problem
from sonoseg.schema.annotations import ShapesJson
from sonoseg.schema.task import Task

KIND_OF = {kind.json_name: name for name, kind in SHAPE_KINDS.items()}
"""Name of a shape in a file -> kind."""


def read_shapes_json(data: Path, task: Task) -> tuple[list[Annotated], list[Fault]]:
    """Read the annotation file; its keys are image names with or without the extension.

    Faults: a key that is no image's name or is there twice, a shape whose class, kind or points are not what the task
    says. An image that is not in the file is left out with a warning. Raises DataError when the folder or the file is
    missing or the file is not JSON of the expected form.
    """
    layout = task.annotations
    assert isinstance(layout, ShapesJson)
    images, faults = folder_inside(data, layout.images)
    found, more = with_ids(images, data)
    faults += more
    by_name = {path.name: identity for identity, path in found.items()}
    by_name |= {path.stem: identity for identity, path in found.items()}
    refused = {path.name for path in images} - {path.name for path in found.values()}
    refused |= {Path(name).stem for name in refused}

    shapes_of: dict[str, tuple[tuple[int, Shape], ...]] = {}
    for key, entries in _read_pairs(data, layout.file):
        where = f"{layout.file}, {key!r}"
        problem = name_problem(key)
        if problem:
            faults.append(error(where, f"{problem}; expected the name of an image in {layout.images}/"))
        elif key in by_name and by_name[key] in shapes_of:
            faults.append(error(where, "a second annotation of the same image; keep one"))
        elif key in by_name:
            shapes, more = _shapes(where, entries, task)
            shapes_of[by_name[key]] = shapes
            faults += more
        elif key not in refused:  # an image that was refused has its own fault already
            faults.append(error(where, f"annotation for an image that is not there; expected it in {layout.images}/"))
    for identity, path in found.items():
        if identity not in shapes_of:
            faults.append(warning(path.relative_to(data).as_posix(), f"not in {layout.file}; left out", "left_out"))
    items = [Annotated(name, found[name], shapes=shapes) for name, shapes in sorted(shapes_of.items())]
    return items, faults


def _read_pairs(data: Path, name: str) -> list[tuple[str, Any]]:
    """Return (key, value) pairs of the top level, duplicates kept; deeper objects are no shapes and stay pairs too."""
    path = data / name
    if not is_inside(path, data):
        raise DataError(f"{path}: leads out of the data folder; copy the file there")
    try:
        pairs = json.loads(path.read_bytes().decode("utf-8-sig"), object_pairs_hook=_Pairs)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such annotation file; put it there or name it in annotations.file") from None
    except json.JSONDecodeError as problem:
        raise DataError(f"{path}, line {problem.lineno}, column {problem.colno}: not JSON: {problem.msg}") from None
    except UnicodeDecodeError as problem:
        raise DataError(f"{path}: not UTF-8 text (byte {problem.start}); save it as UTF-8") from None
    except (RecursionError, ValueError) as problem:
        raise DataError(f"{path}: not readable as JSON: {problem}") from None
    if not isinstance(pairs, _Pairs):
        raise DataError(f'{path}: expected {{"image name": [[class, shape, points], ...], ...}}')
    return pairs


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as a list of pairs: a dictionary would silently keep the last of two equal keys."""


def _shapes(where: str, entries: Any, task: Task) -> tuple[tuple[tuple[int, Shape], ...], list[Fault]]:
    if not isinstance(entries, list) or isinstance(entries, _Pairs):
        return (), [error(where, "expected a list of [class, shape, points]")]
    shapes, faults = [], []
    for index, entry in enumerate(entries):
        try:
            shapes.append((index, _shape(entry, task)))
        except ValueError as problem:
            faults.append(error(f"{where}, shape {index}", str(problem)))
    return tuple(shapes), faults


def _shape(entry: Any, task: Task) -> Shape:
    """Return one shape with finite points in the right number. Raises ValueError with what is wrong."""
    if not isinstance(entry, list) or isinstance(entry, _Pairs) or len(entry) != 3:
        raise ValueError("expected [class, shape, points]")
    name, word, points = entry
    structure = next((structure for structure in task.structures if structure.name == name), None)
    if structure is None:
        raise ValueError(f"unknown class {name!r}; the classes are {choices(task.class_names)}")
    if not isinstance(word, str) or word not in KIND_OF:
        raise ValueError(f"{name}: unknown shape {word!r}; expected {choices(list(KIND_OF))}")
    if KIND_OF[word] != structure.shape:
        raise ValueError(f"{name} is annotated as {KIND_OF[word]}; the task says {structure.shape}")
    try:
        return Shape(name, structure.shape, SHAPE_KINDS[structure.shape].read_points(points))
    except ValueError as problem:
        raise ValueError(f"{name}: {problem}") from None
