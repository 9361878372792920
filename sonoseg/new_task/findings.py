"""Everything that `new-task` recognises in a folder."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.annotations import FORMATS
from sonoseg.errors import DataError, TaskError, choices
from sonoseg.io.readers import image_suffixes
from sonoseg.new_task.layouts import Layout, find_layouts
from sonoseg.new_task.patients import PatientRule, patient_rules
from sonoseg.new_task.structures import (
    ADAPTER,
    FoundStructure,
    structures_of_labels,
    structures_of_masks,
    structures_of_shapes_json,
)
from sonoseg.new_task.tables import Table, find_table


@dataclass(frozen=True)
class Findings:
    """What a folder contains. section: `annotations` of the task. others: layouts that were possible as well.

    images: those that are annotated. patients: rules, the proposed one first.
    """

    folder: Path
    layout: Layout
    section: Mapping[str, Any]
    structures: Sequence[FoundStructure]
    images: Sequence[Path]
    table: Table | None
    patients: Sequence[PatientRule]
    others: Sequence[Layout]


def look_at(folder: Path) -> Findings:
    """Return what was recognised in a folder.

    Raises DataError when there is no such folder, no image in it, or no annotation that can be read.
    """
    if not folder.is_dir():
        raise DataError("no such folder; expected one with images and their annotations", folder)
    layouts = find_layouts(folder)
    problems = []
    for layout in layouts:
        try:
            found = _structures(folder, layout)
        except (DataError, TaskError) as problem:
            problems.append(str(problem))
            continue
        if found is None:
            continue
        structures, section = found
        items, _ = FORMATS[section["format"]].read(
            folder, ADAPTER.validate_python(dict(section)), [one.structure() for one in structures]
        )
        images = [item.image.path for item in items]
        table = find_table(folder, images)
        rules = patient_rules([image.stem for image in images], table)
        others = [one for one in layouts if one is not layout]
        return Findings(folder, layout, section, structures, images, table, rules, others)
    why = problems[0] if problems else "masks need the name of their image, alone in a folder or with an ending"
    raise DataError(
        f"no annotated images recognised, as {choices(image_suffixes())} files with annotations in one of the formats "
        f"{choices(list(FORMATS))}: {why}",
        folder,
    )


def _structures(folder: Path, layout: Layout) -> tuple[list[FoundStructure], dict[str, Any]] | None:
    """Return the classes of a layout and its section of the task; None where its pictures are no masks."""
    section = dict(layout.section)
    if section["format"] == "shapes_json":
        return structures_of_shapes_json(folder, section), section
    if section["format"] == "mask_folder":
        items, _ = FORMATS["mask_folder"].read(folder, ADAPTER.validate_python(section), [])
        masks = [mask.path for item in items for mask in item.masks]
        found = structures_of_masks(masks, section) if masks else None
        if not found:
            return None
        structures, outlines = found
        return structures, section | ({"fill_outlines": True} if outlines else {})
    structures = structures_of_labels(folder, section)
    labels = {label: one.name for one in structures for label in one.labels if label != one.name}
    section |= {"labels": labels} if labels else {}
    if layout.annotated < layout.images:
        section["without_annotation"] = "leave_out"
    return (structures, section) if structures else None


def task_name(folder: Path) -> str:
    """Return a valid name of a task from a folder's."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")
    return name if name[:1].isalpha() else f"task_{name}".rstrip("_")
