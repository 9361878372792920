"""What stage 1 leaves on the disk, in an order that never shows half a dataset as a finished one."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, UsageError
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.tables import read_table
from sonoseg.prepare.metadata import Meta
from sonoseg.prepare.split import Split
from sonoseg.prepare.verify import Checked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.provenance import digests_of
from sonoseg.runs.split_tables import Sample, write_split
from sonoseg.runs.workspace import DATASET_CHECK_PAGE, DATASET_PAGE, DATASET_REPORT, Workspace
from sonoseg.schema.annotations import ShapesJson
from sonoseg.schema.task import Task

PARTS = ("train", "test")


def build_samples(
    checked: Sequence[Checked], meta: Mapping[str, Meta], split: Split, workspace: Workspace
) -> list[Sample]:
    """Return the rows of both tables, sorted by id; `fold` is None for the test table's."""
    samples = []
    for one in sorted(checked, key=lambda one: one.item.id):
        known = meta[one.item.id]
        patient = known.patient or one.item.id
        samples.append(
            Sample(
                id=one.item.id,
                image=ImageRef(one.item.image.absolute()),
                mask=mask_path(workspace, one.item.id).absolute(),
                patient=patient,
                fold=split.fold_of[patient],
                present=one.present,
                height=one.height,
                width=one.width,
                spacing=known.spacing,
                sha256=one.sha256,
                mask_sha256=hashlib.sha256(one.mask_png).hexdigest(),
                reference=known.reference,
            )
        )
    return samples


def table_digests(data: Path, task: Task) -> dict[str, str]:
    """Return the SHA-256 of the files beside the pictures that were read: annotations and metadata, as far as there."""
    shapes = [task.annotations.file] if isinstance(task.annotations, ShapesJson) else []
    return digests_of(data, [*shapes, task.metadata.file])


def mask_path(workspace: Workspace, identity: str) -> Path:
    return workspace.split / "masks" / f"{identity}.png"


def page_path(workspace: Workspace) -> Path:
    """Where a person reads what was found in a dataset that was prepared."""
    return workspace.split / DATASET_PAGE


def check_path(workspace: Workspace) -> Path:
    """Where a person reads what was found in a dataset that was only checked."""
    return workspace.split / DATASET_CHECK_PAGE


def refuse_new_split(samples: Sequence[Sample], workspace: Workspace) -> bool:
    """Return whether tables are there already that split the same way. Raises UsageError when they split otherwise.

    A corrected mask, label or pixel spacing moves no patient and may be written; another seed, or another set of
    images, moves patients from test to training behind the back of a model that is already trained.
    """
    there = False
    for part in PARTS:
        table = workspace.split_table(part)
        if not table.is_file():
            continue
        there = True
        new = {s.id: (s.patient, "" if s.fold is None else str(s.fold)) for s in _of(part, samples)}
        try:
            old = {row["id"]: (row["patient"], row["fold"]) for _, row in read_table(table, "stage 1")}
        except (DataError, KeyError):
            old = None
        if old != new:
            raise UsageError(
                f"{table}: this dataset is already split in another way. A new split would let patients of the old "
                "test part into training, and models trained before could no longer be tested; add --force to replace "
                "it, and train anew"
            )
    return there


def write_dataset(
    output: OutputFolder,
    checked: Sequence[Checked],
    samples: Sequence[Sample],
    report: dict[str, Any],
    page: str,
    task: Task,
    workspace: Workspace,
    same_split: bool,
) -> None:
    """Write masks, report, its page and, last, the two tables; masks that only the old tables named are removed.

    Files that would not change are left alone. `same_split` tells that tables are there which split as these do. Raises
    OSError; the old tables then stay as they were.
    """
    outdated = _listed_masks(workspace) - {mask_path(workspace, sample.id) for sample in samples}
    for one in checked:
        path = mask_path(workspace, one.item.id)
        if not (path.is_file() and path.read_bytes() == one.mask_png):
            output.write_bytes(path, one.mask_png)
    output.write_json(DATASET_REPORT, report)
    output.write_text(page_path(workspace), page)
    # Both tables are on the disk before either is in its place, so that a full disk leaves the old pair. An old test
    # table never stands beside a new training table: interrupted between the two, the test table is missing.
    fresh = {part: workspace.split_table(part).with_suffix(".csv.new") for part in PARTS}
    try:
        for part, path in fresh.items():
            references = list(task.metadata.reference)
            write_split(output, path, workspace.root, _of(part, samples), task.class_names, references)
        if not same_split:
            output.remove(workspace.split_table("test"))
        for part, path in fresh.items():
            output.move(path, workspace.split_table(part))
    finally:
        output.remove(*fresh.values())
    output.remove(*outdated)


def _listed_masks(workspace: Workspace) -> set[Path]:
    """Return the masks of the tables that are there, as far as these can be read."""
    listed = set()
    for part in PARTS:
        try:
            names = [row["id"] for _, row in read_table(workspace.split_table(part), "stage 1")]
        except (DataError, KeyError):
            continue
        listed |= {mask_path(workspace, name) for name in names if Path(name).name == name}
    return listed


def _of(part: str, samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if (sample.fold is None) == (part == "test")]
