"""Accepted and corrected images as a data folder that stage 1 adds to the data set.

Images are written as PNG: the pixels that the network sees, and nothing of a header. Their names are such that an image
of the data set is replaced by its correction, and that another image of the same name is not.
"""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.errors import DataError, UsageError
from sonoseg.geometry.shapes import Shape
from sonoseg.io.files import new_folder
from sonoseg.io.names import name_key
from sonoseg.io.png import write_image
from sonoseg.io.tables import write_csv
from sonoseg.prepare.rasterize import label_map
from sonoseg.review.session import NotFound, Review
from sonoseg.review.shapes import stored
from sonoseg.review.sources import View
from sonoseg.review.store import REVIEWER, Entry
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import PARTS, Workspace
from sonoseg.schema.annotation_formats import MaskFolder, annotations_section
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing
from sonoseg.types import Pixels

FOLDER = "dataset"
SPACING_FROM = "spacing_from"
"""Column of the table, for people."""


@dataclass(frozen=True)
class Chosen:
    """An image of the data folder: its file's name there without `.png`, pixels `(H, W)` uint8, and shapes on them.

    spacing_from: where the spacing comes from, see `View`.
    """

    name: str
    pixels: Pixels
    shapes: list[Shape]
    spacing: Spacing | None
    spacing_from: str
    patient: str


def write_dataset(review: Review, root: Path) -> list[str]:
    """Write `dataset/` beside the decisions, in place of an earlier one; return remarks, and how much it holds.

    root: of the workspace, whose split says which images are in the data set already. Annotations are masks where those
    of the task are masks in one folder, with one file for all structures, otherwise shapes (`annotations.json`). Raises
    UsageError when no image was accepted or corrected, and when the folder cannot be written.
    """
    if review.read_only:
        raise UsageError(review.read_only)
    remarks: list[str] = []
    known = known_images(Workspace(root, review.task.name), review.task)
    section = _section(review.task, known)
    chosen = list(_chosen(review, known, section, remarks))
    if not chosen:
        more = f" ({'; '.join(remarks)})" if remarks else ""
        raise UsageError(f"{review.folder}: no image was accepted or corrected{more}; review some first")
    out, made = review.folder / FOLDER, review.folder / f"{FOLDER}.new"
    shutil.rmtree(made, ignore_errors=True)  # of a run that was killed
    with new_folder(made) as folder:
        _write(folder, section, chosen, review.task)
        _write_table(folder, chosen, review.task, remarks)
    if out.exists():
        shutil.rmtree(out)
    made.rename(out)
    return [*remarks, f"{len(chosen)} images in {out}"]


@dataclass(frozen=True)
class Known:
    """The images of a data set that is split already, by id and by the SHA-256 of their files."""

    by_id: Mapping[str, Sample]
    by_file: Mapping[tuple[str, int | None, int | None], Sample]


def known_images(workspace: Workspace, task: Task) -> Known:
    """Return the images of the split; none before stage 1. Raises DataError for tables that cannot be read."""
    tables = [workspace.split_table(part) for part in PARTS]
    samples = [
        sample for table in tables if table.is_file() for sample in read_split(table, task.class_names, workspace.root)
    ]
    by_id = {name_key(sample.id): sample for sample in samples}
    return Known(by_id, {(sample.sha256, sample.image.frame, sample.image.region): sample for sample in samples})


def _section(task: Task, known: Known) -> Any:
    """Return the section with which annotations are written: the task's, or shapes where that one is only read.

    Masks also need names with the prefix and the suffix that the section's images have, which frames do not end with.
    """
    section = task.annotations
    if section.format == "shapes_json":
        return section
    is_written = isinstance(section, MaskFolder) and not section.per_structure and "*" not in section.images
    if is_written and all(_stem(sample.id, section) == sample.id for sample in known.by_id.values()):
        return section
    return annotations_section("shapes_json")


def _stem(name: str, section: Any, more: str = "") -> str:
    """Return a name with the prefix and the suffix that the section's images have, once.

    more: what tells it from another image of this name.
    """
    prefix, suffix = getattr(section, "image_prefix", ""), getattr(section, "image_suffix", "")
    return f"{prefix}{name.removeprefix(prefix).removesuffix(suffix)}{more}{suffix}"


def _chosen(review: Review, known: Known, section: Any, remarks: list[str]) -> Iterator[Chosen]:
    items = {item.name: item for item in review.items()}
    taken: set[str] = set()
    for (name, number), entry in sorted(review.store.current(earlier_images=True).items()):
        if entry["decision"] not in ("accepted", "corrected"):
            continue
        try:
            if name not in items:
                raise NotFound("is not among the results any more")
            view = review.view(items[name].id, number)
            if entry["decision"] == "accepted" and view.prediction.annotated is not None:
                continue  # an annotation that is right stays as it is
            frame = review.frame(view)
            _check_same(view, entry)
        except (NotFound, DataError, OSError) as problem:
            remarks.append(f"{name}, frame {number}: left out: {_reason(problem)}")
            continue
        identity = _name_for(view, entry, known, section)
        if name_key(identity) in taken:
            identity = _stem(identity, section, f"_{_digits(view, entry)}")
        taken.add(name_key(identity))
        left, top = (frame.region.left, frame.region.top) if frame.region else (0, 0)
        shapes = [shape.moved(-left, -top) for shape in stored(entry["after"]["shapes"])]
        view = replace(view, entry=entry)
        sample = known.by_id.get(name_key(identity))
        patient = sample.patient if sample else view.item.patient
        yield Chosen(identity, frame.own, shapes, view.spacing, view.spacing_from, patient)


def _check_same(view: View, entry: Entry) -> None:
    """Raise DataError when another picture than the one that was reviewed has its name now."""
    reviewed, now = entry.get("image_sha256"), view.prediction.image_sha256
    if reviewed and now and reviewed != now:
        raise DataError("another picture has this name now; review it again")


def _reason(problem: Exception) -> str:
    return problem.reason if isinstance(problem, DataError) else str(problem)


def _digits(view: View, entry: Entry) -> str:
    """Return 8 hexadecimal digits that tell an image from another one."""
    return str(entry.get("image_sha256") or view.item.id)[:8]


def _name_for(view: View, entry: Entry, known: Known, section: Any) -> str:
    """Return the id of an image in the data set: its own where it is in the split, else one that is not taken."""
    if view.item.sample:
        return view.item.sample
    sha256 = str(entry.get("image_sha256") or "")
    frame = view.item.frame or (view.frame if view.item.frames > 1 else None)
    for region in (None, 0, 1, 2, 3):
        sample = known.by_file.get((sha256, None if frame is None else frame - 1, region))
        if sample and (region is None or f"_region{region + 1}" in view.item.name):
            return sample.id
    name = _stem(view.key, section)
    return _stem(name, section, f"_{_digits(view, entry)}") if name_key(name) in known.by_id else name


def _write(folder: Path, section: Any, chosen: list[Chosen], task: Task) -> None:
    annotations = []
    for one in chosen:
        write_image(folder / section.images / f"{one.name}.png", one.pixels)
        mask = _mask(one, task, section) if isinstance(section, MaskFolder) else None
        annotations.append(Annotation(f"{one.name}.png", tuple(one.shapes), mask, one.pixels.shape[:2]))
    FORMATS[section.format].write(folder, section, annotations)


def _mask(one: Chosen, task: Task, section: MaskFolder) -> Pixels:
    """Return the mask `(H, W)` uint8 of an image, with the values that the task's masks have."""
    labels = label_map(one.shapes, (one.pixels.shape[0], one.pixels.shape[1]), task.structures)
    values = {
        name: position if isinstance(stored, str) else stored
        for position, (stored, name) in enumerate(section.values.items(), start=1)
    }
    table = np.zeros(256, np.uint8)
    for position, name in enumerate(task.class_names, start=1):
        alone = 255 if len(task.class_names) == 1 else position
        table[position] = values.get(name, alone)
    return table[labels]


def _write_table(folder: Path, chosen: list[Chosen], task: Task, remarks: list[str]) -> None:
    """Write the table of spacings, of where they come from, and, where the task takes them from a table, of patients.

    Stage 1 does not read `SPACING_FROM`.
    """
    metadata = task.metadata
    column = None if task.patients.pattern else task.patients.table_column
    rows, uneven, measured = [], 0, []
    for one in chosen:
        row: dict[str, Any] = {metadata.image: f"{one.name}.png"}
        if one.spacing and metadata.row_mm == metadata.col_mm and abs(one.spacing[0] / one.spacing[1] - 1) > 1e-6:
            uneven += 1
        elif one.spacing:
            height, width = (value / metadata.unit_mm for value in one.spacing)
            row |= {metadata.row_mm: height, metadata.col_mm: width, SPACING_FROM: one.spacing_from}
            measured += [one.name] if one.spacing_from == REVIEWER else []
        rows.append(row | ({column: one.patient} if column else {}))
    if uneven:
        remarks.append(
            f"{uneven} images: spacing left out, as rows and columns differ and the task's table has one column"
        )
    if measured:
        remarks.append(f"spacing measured by a reviewer: {', '.join(measured)}")
    own = [metadata.image, metadata.row_mm, metadata.col_mm, SPACING_FROM]
    columns = dict.fromkeys([*own, *([column] if column else [])])
    write_csv(folder / metadata.file, list(columns), rows)
