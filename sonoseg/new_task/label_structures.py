"""The structures of files with shapes: those of annotation tools, and shapes_json."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from sonoseg.annotations import FORMATS, AnnotatedImage
from sonoseg.annotations.json_fields import read_json
from sonoseg.annotations.labelled import quoted
from sonoseg.annotations.shapes_json import KIND_OF
from sonoseg.annotations.shapes_of_masks import union
from sonoseg.errors import DataError, is_machine_error
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import KindName, Shape
from sonoseg.io.faults import Fault
from sonoseg.io.names import text_problem
from sonoseg.io.readers import read_image_header
from sonoseg.new_task.label_files import is_shape
from sonoseg.new_task.names import structure_names
from sonoseg.new_task.structures import (
    SAMPLED,
    FoundStructure,
    color_of,
    fitted,
    with_covers,
)
from sonoseg.schema.annotation_formats import section_of
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size
from sonoseg.types import Mask

MOST_STRUCTURES = 254
LINE_WIDTH = 0.0125
"""Drawing width that is proposed for lines, whose annotations have none: part of the image's diagonal."""


class _Recorder(dict[str, str | None]):
    """`labels` of a section that maps every label to a structure, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def get(self, label: str, default: Any = None) -> str:
        return self.seen.setdefault(label, f"LABEL_{len(self.seen) + 1}")


def structures_of_labels(folder: Path, section: Mapping[str, Any]) -> tuple[list[FoundStructure], dict[str, Any]]:
    """Return the structures of files of an annotation tool, in the order of their first use, and the whole section.

    Raises DataError and TaskError as the format does for files that cannot be read as a whole, and for files without a
    shape, with the first fault.
    """
    settings = section_of({**section, "without_annotation": "empty"})
    recorder = _Recorder()
    # Lines accept every kind of shape, so that nothing is refused before the kinds are known.
    anything = [
        Structure(name=f"LABEL_{number + 1}", shape="line", color=color_of(0), thickness_px=1)
        for number in range(MOST_STRUCTURES)
    ]
    items, faults = FORMATS[settings.format].read(folder, settings.model_copy(update={"labels": recorder}), anything)
    label_of = {placeholder: label for label, placeholder in recorder.seen.items()}
    _refuse(recorder.seen, items, faults)
    kinds: dict[str, Counter[KindName]] = {label: Counter() for label in recorder.seen}
    for item in items:
        for _, shape in item.shapes:
            kinds[label_of[shape.structure]][_drawn_as(shape)] += 1
    names = structure_names(list(kinds))
    drawn = [_Drawn(names[label], recorder.seen[label], counts) for label, counts in kinds.items()]
    found = _found(drawn, items, fits_regions=True)
    found = [replace(one, labels=(label,)) for one, label in zip(found, kinds, strict=True)]
    labels = {label: name for label, name in names.items() if label != name}
    return found, dict(section) | ({"labels": labels} if labels else {})


def _drawn_as(shape: Shape | Bitmap) -> KindName:
    """Return the kind whose results can be like this shape: the rectangles of stage 4 are not turned."""
    return "region" if isinstance(shape, Bitmap) or shape.is_turned else shape.kind


def _refuse(labels: Mapping[str, str], items: Sequence[AnnotatedImage], faults: Sequence[Fault]) -> None:
    """Raise DataError for files from which no task follows."""
    if not any(item.shapes for item in items):
        first = next((str(fault) for fault in faults if fault.level == "error"), "")
        raise DataError("no shape that can be read in the annotation files" + (f", such as {first}" if first else ""))
    if len(labels) > MOST_STRUCTURES:
        raise DataError(f"{len(labels)} labels, more than {MOST_STRUCTURES}; rename or merge some in the tool")
    for label in labels:
        if problem := text_problem(label):
            raise DataError(f"label {quoted(label)}: {problem}; rename it in the tool")


def structures_of_shapes_json(folder: Path, section: Mapping[str, Any]) -> tuple[list[FoundStructure], dict[str, Any]]:
    """Return the structures of a file of the format shapes_json, which names the kind of each shape.

    Raises DataError for a class whose name no structure can have.
    """
    kinds: dict[str, Counter[KindName]] = defaultdict(Counter)
    path = folder / section["file"]
    for entries in read_json(path, folder).values():
        for entry in filter(is_shape, entries if isinstance(entries, list) else []):
            is_turned = KIND_OF[entry[1]] == "rectangle" and len(entry[2]) == 4
            kinds[entry[0]]["region" if is_turned else KIND_OF[entry[1]]] += 1
    if len(kinds) > MOST_STRUCTURES:
        raise DataError(f"{len(kinds)} classes, more than {MOST_STRUCTURES}; merge some", path)
    drawn = [_Drawn(name, name, counts) for name, counts in sorted(kinds.items())]
    structures = []
    for one in drawn:
        try:
            structures.append(one.found(0, 1.0).structure())
        except ValidationError:
            raise DataError(
                f"class {quoted(one.name)}: expected a name of letters, digits and underscores; rename it in the file",
                path,
            ) from None
    items, _ = FORMATS["shapes_json"].read(folder, section_of(section), structures)
    return _found(drawn, items), dict(section)


@dataclass(frozen=True)
class _Drawn:
    """A structure as it was drawn. key: how the shapes name it. counts: of its shapes, by their kind."""

    name: str
    key: str
    counts: Counter[KindName]

    def found(self, number: int, line_width: float) -> FoundStructure:
        """Return the structure of the kind that was drawn most; number: its position, line_width: in pixels."""
        kind = self.counts.most_common(1)[0][0] if self.counts else "region"
        how = ", ".join(f"{count} drawn as {name}" for name, count in self.counts.most_common()) or "no shape is read"
        one = FoundStructure(self.name, kind, color_of(number), how)
        if kind != "line":
            return one
        return replace(one, thickness_px=line_width, reason=f"{how}; thickness_px is the drawing width, to be chosen")


def _found(
    drawn: Sequence[_Drawn], items: Sequence[AnnotatedImage], fits_regions: bool = False
) -> list[FoundStructure]:
    """Return the structures of images with shapes; fits_regions: those drawn as regions may be of another kind."""
    sampled = [item for item in items if item.shapes][:SAMPLED]
    width = _line_width(sampled)
    masks_of = [_masks(item, width) for item in sampled]
    found = []
    for number, structure in enumerate(drawn):
        one = structure.found(number, width)
        if fits_regions and one.shape == "region":
            fit = fitted(one.name, one.color, [masks[structure.key] for masks in masks_of if structure.key in masks])
            one = replace(fit, reason=f"{one.reason}; {fit.reason}")
        found.append(one)
    return with_covers(found, masks_of, [structure.key for structure in drawn])


def _size(item: AnnotatedImage) -> Size | None:
    """Return (height, width) of an image; None where it cannot be read."""
    try:
        return read_image_header(item.image.path).size
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        return None


def _line_width(items: Sequence[AnnotatedImage]) -> float:
    """Return a drawing width in pixels that suits the size of the images; 10 where none can be read."""
    diagonals = [float(np.hypot(*size)) for item in items if (size := _size(item))]
    return max(2.0, float(round(LINE_WIDTH * float(np.median(diagonals))))) if diagonals else 10.0


def _masks(item: AnnotatedImage, line_width: float) -> dict[str, Mask]:
    """Return {structure: mask} of an image's shapes; empty where the image cannot be read."""
    size = _size(item)
    if size is None:
        return {}
    shapes = [shape for _, shape in item.shapes]
    names = dict.fromkeys(shape.structure for shape in shapes)
    return {name: union((one for one in shapes if one.structure == name), size, line_width) for name in names}
