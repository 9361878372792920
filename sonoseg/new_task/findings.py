"""Everything that `new-task` recognises in a folder."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.annotations import FORMATS, AnnotatedImage
from sonoseg.annotations.labelled import quoted
from sonoseg.errors import DataError, TaskError, choices, counted, first_of
from sonoseg.io.faults import Fault
from sonoseg.io.readers import image_suffixes
from sonoseg.new_task.contents import Contents, contents_of
from sonoseg.new_task.label_structures import structures_of_labels, structures_of_shapes_json
from sonoseg.new_task.layouts import Layout, find_layouts
from sonoseg.new_task.masks.structures import structures_of_masks
from sonoseg.new_task.names import alike_labels
from sonoseg.new_task.patients import HeaderFacts, PatientRule, header_facts, patient_rules
from sonoseg.new_task.structures import FoundStructure
from sonoseg.new_task.tables import Table, find_table
from sonoseg.new_task.unread import unread_annotations
from sonoseg.prepare.verify import ASKED
from sonoseg.schema.annotation_formats import Annotations, LabelledFormat, MaskFolder, section_of
from sonoseg.schema.drafts import AUTO
from sonoseg.schema.task import Task

IF_EMPTY = {"without_annotation": "empty"}
"""Fields of a section with which no image is refused because its annotation is missing."""
MAX_ALIKE, NAMED = 3, 3


@dataclass(frozen=True)
class Findings:
    """What a folder contains. section: `annotations` of the task. others: layouts that were possible as well.

    items: the annotated images. patients: rules, the proposed one first. without_annotation: names of images that
    lack a mask, or have no shape, about which stage 1 asks. faults: other errors that stage 1 will list before it
    decodes an image. notes: sentences on what was not looked at or cannot be used.
    headers: what the files of the images state themselves.
    """

    folder: Path
    layout: Layout
    section: Mapping[str, Any]
    structures: Sequence[FoundStructure]
    items: Sequence[AnnotatedImage]
    table: Table | None
    patients: Sequence[PatientRule]
    others: Sequence[Layout]
    without_annotation: Sequence[str]
    faults: Sequence[Fault]
    notes: Sequence[str]
    headers: HeaderFacts


def look_at(folder: Path, only: str | None = None) -> Findings:
    """Return what was recognised in a folder; only: the one annotation format that is considered.

    Raises DataError when there is no such folder, no image in it, or no annotation that can be read; OSError.
    """
    if not folder.is_dir():
        raise DataError("no such folder; expected one with images and their annotations", folder)
    contents = contents_of(folder)
    if not contents.images:
        raise DataError(
            f"no picture ({choices(image_suffixes())}) in this folder{_because(contents, [])}; expected images and "
            "their annotations",
            folder,
        )
    layouts = [one for one in find_layouts(contents) if only in (None, one.section["format"])]
    problems: list[str] = []
    for layout in layouts:
        try:
            return _findings(contents, layout, [one for one in layouts if one is not layout])
        except (DataError, TaskError) as problem:
            problems.append(f"{layout.reason}: {problem}")
    for sentence in [] if only else unread_annotations(contents):
        raise DataError(f"{contents.pictures} pictures, and no annotations that are read: {sentence}", folder)
    known = choices([only] if only else list(FORMATS))
    raise DataError(
        f"{contents.pictures} pictures, and no annotations recognised in one of the formats {known}"
        f"{_because(contents, problems)}. Masks need the name of their image, in a folder of their own or with an "
        "ending such as _mask",
        folder,
    )


def read_further(folder: Path, task: Task) -> tuple[list[AnnotatedImage], list[Fault]]:
    """Return images and faults of a further folder of a task, read as the task says, or as the folder is recognised.

    Labels mean the structures of the task. Raises DataError when nothing is recognised.
    """
    read: tuple[list[AnnotatedImage], list[Fault]] = [], []
    with suppress(DataError, TaskError):
        read = FORMATS[task.annotations.format].read(folder, task.annotations, task.structures)
    if read[0]:
        return read
    try:
        section = recognised_section(folder, task)[0]
    except DataError:
        if read[1]:  # they say more: every image has a fault
            return read
        raise
    return FORMATS[section.format].read(folder, section, task.structures)


def recognised_section(folder: Path, task: Task, only: str | None = None) -> tuple[Annotations, str]:
    """Return how a folder with the structures of a task is read, and why; only: the one format that is considered.

    Labels are those of the task, and images that nobody has annotated are left out. Of masks, what their values mean,
    whether they are outlines and whether several are united is what the task says, where it has masks as well. Raises
    DataError when nothing is recognised, or masks are of other structures.
    """
    layouts = [one for one in find_layouts(contents_of(folder)) if only in (None, one.section["format"])]
    layouts = [one for one in layouts if not _is_ignored(one, task)]
    if not layouts:
        found = f"no annotations of the format {only} in this folder" if only else "no annotated images recognised"
        known = choices(list(FORMATS)) if only else "those of the task, or files of an annotation tool"
        raise DataError(f"{found}; expected {known}", folder)
    section: Annotations = section_of(layouts[0].section)
    if isinstance(section, LabelledFormat):
        labels = getattr(task.annotations, "labels", {})
        section = section.model_copy(update={"labels": labels, "without_annotation": "leave_out"})
    elif layouts[0].is_masks:
        section = _masks_of_task(folder, layouts[0], task)
    return section, layouts[0].reason


def _is_ignored(layout: Layout, task: Task) -> bool:
    """Return whether a layout takes pictures as masks that the task says are none."""
    ignored = {*task.annotations.ignore} if isinstance(task.annotations, MaskFolder) else set()
    return layout.is_masks and any(masks.suffix in ignored for masks in section_of(layout.section).mask_sets)


def _masks_of_task(folder: Path, layout: Layout, task: Task) -> MaskFolder:
    """Return the section of a folder of masks, whose pixels mean what they mean in the task.

    Where the task has another format, outlines are recognised. Raises DataError for masks of other structures.
    """
    fields, of_task, names = dict(layout.section), task.annotations, list(task.class_names)
    choice = {"without_annotation": getattr(of_task, "without_annotation", None)}
    if isinstance(of_task, MaskFolder):
        found: MaskFolder = section_of(fields)
        binary = bool(found.per_structure) or len(names) == 1
        fields["unite"] = found.unite or (of_task.unite and binary and all(one.suffix for one in found.mask_sets))
        fields["ignore"] = list(dict.fromkeys([*found.ignore, *of_task.ignore]))
        fields["fill_outlines"] = of_task.fill_outlines
        fields["values"] = {} if found.per_structure else of_task.values
    else:
        fields = _structures(folder, layout)[1]
    section: MaskFolder = section_of(fields | choice)
    if section.structures_problem(names):
        what = [*map(str, section.values)] or [str(masks.structure or "all") for masks in section.mask_sets]
        raise DataError(
            f"its masks {'have the values' if section.values else 'are those of'} {', '.join(what)}; expected those of "
            f"the task, {', '.join(names)}: a folder, or an end of the names, that is called after each structure, or "
            "their positions in the task as the values, from 1",
            folder,
        )
    return section


def _because(contents: Contents, problems: Sequence[str]) -> str:
    reasons = [*problems, *contents.notes][:3]
    return f": {'; '.join(reasons)}" if reasons else ""


def _findings(contents: Contents, layout: Layout, others: Sequence[Layout]) -> Findings:
    """Return all that follows from a layout. Raises DataError or TaskError where it has no annotated image."""
    folder = contents.folder
    structures, section = _structures(folder, layout)
    items, faults = _read(folder, section, structures)
    asked = [fault.where for fault in faults if fault.kind in ASKED]
    errors = [fault for fault in faults if fault.level == "error" and fault.kind not in ASKED]
    if asked and layout.is_masks:  # those with one of several masks are annotated as well
        items = [item for item in _read(folder, section | IF_EMPTY, structures)[0] if item.masks]
    if not items:
        raise DataError(f"no annotated image{f', such as {errors[0]}' if errors else ''}")
    files = list(dict.fromkeys(item.image.path for item in items))
    names = {item.image.path: item.path_name for item in items}
    table, headers = find_table(folder, files), header_facts(files)
    return Findings(
        folder=folder,
        layout=layout,
        section=section,
        structures=structures,
        items=items,
        table=table,
        patients=patient_rules([names[file] for file in files], table, headers),
        others=others,
        without_annotation=asked,
        faults=errors,
        notes=[*_alike(structures, items), *contents.notes],
        headers=headers,
    )


def _alike(structures: Sequence[FoundStructure], items: Sequence[AnnotatedImage]) -> list[str]:
    """Return a sentence for each pair of labels that may mean one structure."""
    name_of = {label: structure.name for structure in structures for label in structure.labels}
    images = {
        label: [item.image.path.name for item in items if any(shape.structure == name for _, shape in item.shapes)]
        for label, name in name_of.items()
    }
    notes = []
    for first, second in alike_labels(list(name_of))[:MAX_ALIKE]:
        rarer = min((second, first), key=lambda label: len(images[label]))
        where = f"{counted(len(images[rarer]), 'image')} ({first_of(images[rarer], NAMED)})"
        notes.append(
            f"labels {quoted(first)} and {quoted(second)} differ little; if they mean one structure, correct the "
            f"label, or map both to one structure in annotations.labels. {quoted(rarer)} is on {where}"
        )
    return notes


def _read(
    folder: Path, section: Mapping[str, Any], structures: Sequence[FoundStructure]
) -> tuple[list[AnnotatedImage], list[Fault]]:
    settings = section_of(section)
    return FORMATS[settings.format].read(folder, settings, [one.structure() for one in structures])


def _structures(folder: Path, layout: Layout) -> tuple[list[FoundStructure], dict[str, Any]]:
    """Return the structures of a layout and its whole section of the task."""
    if layout.section["format"] == "shapes_json":
        return structures_of_shapes_json(folder, layout.section)
    if not layout.is_masks:
        return structures_of_labels(folder, layout.section)
    items, _ = _read(folder, {**layout.section, **IF_EMPTY}, [])
    return structures_of_masks([item for item in items if item.masks], layout.section)


def task_name(folder: Path, taken: Sequence[str] = ()) -> str:
    """Return a valid name of a task from a folder's; with an ending where another task has it already."""
    name = re.sub(r"[^a-z0-9]+", "_", folder.resolve().name.lower()).strip("_")[:80]
    if not name[:1].isalpha() or name == AUTO:
        name = f"task_{name}".rstrip("_")
    return f"{name}_data" if name in taken else name
