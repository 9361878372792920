"""The conversion of a data folder: read, decide over all images, write, and read again."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from sonoseg.annotations import FORMATS, AnnotatedImage, Annotation
from sonoseg.annotations.shapes_of_masks import BITMAP, kind_of, stand_in_lines, union
from sonoseg.annotations.unread import unread_line
from sonoseg.convert.source import AnnotatedFolder
from sonoseg.convert.structures import Choice, Part, choice_line, choose, parts_of, shapes_of
from sonoseg.errors import DataError, UsageError, counted, is_machine_error
from sonoseg.io.faults import Fault, error, group_faults, stop_on_errors
from sonoseg.io.files import new_folder, write_bytes, write_text
from sonoseg.io.image_ref import stem_of
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import encode_label_map
from sonoseg.io.readers import read_image_header
from sonoseg.prepare.duplicates.selection import without_excluded
from sonoseg.prepare.reading.labels import read_labels
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.annotations import Structure, label_values
from sonoseg.sizes import Size
from sonoseg.types import Pixels

SECTION_FILE = "annotations_section.yaml"
"""What is written beside images and annotations: the section `annotations` of a task for them."""

MASKS = "mask_folder"


@dataclass(frozen=True)
class _Image:
    """An image that was read. parts: for formats with shapes; mask_png: label map as PNG, for masks.

    covered: structures whose annotation another one covers in part.
    """

    item: AnnotatedImage
    size: Size
    parts: Mapping[str, Part]
    mask_png: bytes
    covered: int


def check_out(out: Path, folder: Path) -> None:
    """Raise UsageError unless `out` is new, or an empty folder, outside of the folder that is converted."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(
            f"{out}: exists already and is not an empty folder; nothing is overwritten, choose another one"
        )
    if out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{out}: lies in the folder that is converted; choose a folder outside of it")


def convert(source: AnnotatedFolder, out: Path, to: str, limits: ReadLimits = DEFAULT_LIMITS) -> list[str]:
    """Write images and annotations of a folder into the new folder `out`, in the format `to`; return a summary.

    Shapes stay what they are where the format has them, see `AnnotationFormat.written_as`; masks become shapes where
    those of the structure's kind reproduce them, see `structures.choose`. The metadata table is copied too. What was
    written is read again before `out` appears; on an error there is none. Raises UsageError as `check_out`, DataError
    for annotations with a fault, all of which are listed, and when there are none; OSError.
    """
    check_out(out, source.folder)
    images, faults = _read(source, to, limits)
    stop_on_errors(str(source.folder), faults)
    if not images:
        raise DataError("no annotated image in this folder; nothing was written", source.folder)
    fields = {} if FORMATS[to].states_empty else {"without_annotation": "empty"}
    section = annotations_section(to, **fields)
    with new_folder(out) as made:
        for path, name in {image.item.image.path: _file_name(image.item) for image in images}.items():
            _copy(path, made / section.images / name)
        choices: dict[str, Choice] = {}
        if to == MASKS:
            lines = _write_masks(images, made, section)
        else:
            lines, choices = _write_shapes(images, source.structures, made, section)
        structures = [_changed(structure, choices.get(structure.name)) for structure in source.structures]
        if source.table and (source.folder / source.table).is_file():
            _copy(source.folder / source.table, made / source.table)
            lines.append(f"{source.table} copied")
        text = _section_text(section, [one for one in structures if one not in source.structures])
        write_text(made / SECTION_FILE, text)
        stop_on_errors(f"{out}, read again", FORMATS[to].read(made, section, structures)[1])
    empty = sum(not image.parts for image in images)
    shown = f", {empty} of them without a structure" if empty else ""
    remarks = [line for group in group_faults(faults) for line in group.lines()]
    head = [source.reason, *remarks, f"{counted(len(images), 'image')} written as {to}{shown}"]
    unread = unread_line(image.item.unread for image in images)
    lines += [unread] if unread else []
    return [*head, *lines, f"written: {out}; its section for a task, in {SECTION_FILE}:", text.splitlines()[-1]]


def _read(source: AnnotatedFolder, to: str, limits: ReadLimits) -> tuple[list[_Image], list[Fault]]:
    """Return the annotated images that are not excluded, in order, and all faults."""
    items, faults = FORMATS[source.section.format].read(source.folder, source.section, source.structures)
    items, faults = without_excluded(items, faults, source.excluded)
    images = []
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    try:
        for image, more in pool.map(lambda item: _read_image(item, source, to, limits), items):
            images += [image] if image else []
            faults += more
    finally:
        pool.shutdown(cancel_futures=True)
    return images, faults


def _read_image(
    item: AnnotatedImage, source: AnnotatedFolder, to: str, limits: ReadLimits
) -> tuple[_Image | None, list[Fault]]:
    where = item.name_in(source.folder)
    try:
        header = read_image_header(item.image.path, limits)
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        reason = problem.reason if isinstance(problem, DataError) else f"cannot be read: {problem.strerror}"
        return None, [error(where, reason, "unreadable", item.id)]
    labels, faults = read_labels(item, header.size, source.folder, source.structures, limits)
    if labels is None:
        return None, faults
    parts = parts_of(item, labels, source.structures, FORMATS[to])
    if to != MASKS:
        return _Image(item, header.size, parts, b"", 0), faults
    png = encode_label_map(labels, [structure.color for structure in source.structures])
    return _Image(item, header.size, parts, png, _covered(item, labels, source.structures)), faults


def _covered(item: AnnotatedImage, labels: Pixels, structures: Sequence[Structure]) -> int:
    """Return how many structures have fewer pixels in the label map `(H, W)` uint8 than their shapes cover."""
    values, size = label_values(structures), (labels.shape[0], labels.shape[1])
    covered = 0
    for structure in () if item.masks else structures:
        shapes = [shape for _, shape in item.shapes if shape.structure == structure.name]
        drawn = union(shapes, size, structure.thickness_px)
        covered += bool(np.count_nonzero(drawn) > np.count_nonzero(labels == values[structure.name]))
    return covered


def _write_masks(images: Sequence[_Image], made: Path, section: Any) -> list[str]:
    """Write a label map as palette PNG for each image; return remarks."""
    for image in images:
        stem = stem_of(Path(_file_name(image.item))) if image.item.image.frame is None else image.item.id
        write_bytes(made / section.masks / f"{stem}{section.mask_suffix}.png", image.mask_png, sync=False)
    kinds = Counter(kind_of(shape) for image in images for _, shape in image.item.shapes)
    lines = stand_in_lines(kinds, MASKS, FORMATS[MASKS])
    covered = sum(image.covered for image in images)
    if covered:
        number = "1 structure lies" if covered == 1 else f"{covered} structures lie"
        lines.append(f"{number} partly under another: a mask has one structure per pixel")
    return lines


def _write_shapes(
    images: Sequence[_Image], structures: Sequence[Structure], made: Path, section: Any
) -> tuple[list[str], dict[str, Choice]]:
    """Write shapes and bitmaps; return remarks, and what was chosen for each structure."""
    target = FORMATS[section.format]
    with_bitmaps = BITMAP not in target.written_as
    parts = {one.name: [image.parts[one.name] for image in images if one.name in image.parts] for one in structures}
    choices = {one.name: choose(one, parts[one.name], target) for one in structures}
    counts: Counter[str] = Counter()

    def annotations() -> Iterator[Annotation]:
        for image in images:
            shapes: list[Any] = []
            for one in structures:
                if one.name in image.parts:
                    shapes += shapes_of(image.parts[one.name], one, choices[one.name], with_bitmaps, counts)
            counts.update(kind_of(shape) for shape in shapes)
            ref = image.item.image
            name = _file_name(image.item) if ref.frame is None else f"{image.item.id}.png"
            yield Annotation(name, tuple(shapes), size=image.size)

    try:
        target.write(made, section, annotations(), sync=False)
    except ValueError as problem:
        raise DataError(f"{problem}; nothing was written") from None
    said = [choice_line(one, parts[one.name], choices[one.name], with_bitmaps) for one in structures]
    lines = [line for line in said if line]
    written = ", ".join(counted(count, kind) for kind, count in sorted(counts.items()) if count)
    lines += [written] if with_bitmaps and written else []
    return [*lines, *stand_in_lines(counts, section.format, target)], choices


def _changed(structure: Structure, choice: Choice | None) -> Structure:
    """Return the structure as a task needs it to read what was written."""
    if choice != "region":
        return structure
    return structure.model_copy(update={"shape": "region", "thickness_px": None})


def _section_text(section: Any, changed: Sequence[Structure]) -> str:
    """Return the text of the file with the section; the section is its last line."""
    fields = {"format": section.format}
    fields |= {name: value for name, value in section.model_dump().items() if value not in (None, {})}
    lines = ["# Written by sonoseg convert: the section of a task file for this folder."]
    lines += [f"# The structure {one.name} is given by polygons: set `shape: region` for it." for one in changed]
    flow = yaml.safe_dump(fields, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).strip()
    return "\n".join([*lines, f"annotations: {flow}"]) + "\n"


def _file_name(item: AnnotatedImage) -> str:
    """Return the name of an image's file in the new folder: with those of the folders that it is one of."""
    path = item.image.path
    return f"{item.file_id}{path.name.removeprefix(stem_of(path))}" if item.folder else path.name


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
