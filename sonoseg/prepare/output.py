"""The files of stage 1, written in an order in which an incomplete dataset never looks complete."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sonoseg.annotations import FORMATS
from sonoseg.errors import DataError, UsageError
from sonoseg.io.tables import read_table
from sonoseg.prepare.dataset import Dataset
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.provenance import digests_of, is_run_record
from sonoseg.runs.split_tables import Sample, write_split
from sonoseg.runs.workspace import (
    DATASET_CHECK_PAGE,
    DATASET_PAGE,
    DATASET_REPORT,
    PARTS,
    PLANNED_TASK,
    PREPARATION_RECORD,
    Workspace,
)
from sonoseg.schema.annotation_formats import Annotations
from sonoseg.schema.annotations import Metadata


def table_digests(data: Path, annotations: Annotations, metadata: Metadata) -> dict[str, str]:
    """Return the SHA-256 of the files beside the pictures that were read: annotations and metadata, as far as there."""
    shared = FORMATS[annotations.format].shared_files(annotations)
    return digests_of(data, [*shared, metadata.file])


def page_path(workspace: Workspace) -> Path:
    """Return the path of the page of a prepared dataset."""
    return workspace.split / DATASET_PAGE


def check_path(workspace: Workspace) -> Path:
    """Return the path of the page of a dataset that was only verified."""
    return workspace.split / DATASET_CHECK_PAGE


def refuse_new_split(samples: Sequence[Sample], workspace: Workspace) -> bool:
    """Return whether tables with the same split exist. Raises UsageError when existing tables have another split.

    A corrected mask, label or spacing moves no patient and may be written. Another seed, or another set of images,
    would move patients from the test to the training part of models that are already trained.
    """
    exists = False
    for part in PARTS:
        table = workspace.split_table(part)
        if not table.is_file():
            continue
        exists = True
        new = {
            sample.id: (sample.patient, "" if sample.fold is None else str(sample.fold))
            for sample in _of(part, samples)
        }
        try:
            old = {row["id"]: (row["patient"], row["fold"]) for _, row in read_table(table, "stage 1")}
        except (DataError, KeyError):
            old = None
        if old != new:
            raise UsageError(
                f"{table}: this dataset is already split in another way. A new split would let patients of the old "
                "test part into training, and models trained before could no longer be tested"
            )
    return exists


def claim_files(output: OutputFolder, dataset: Dataset, workspace: Workspace) -> None:
    """Claim all files that stage 1 writes. Raises DataError when one of them exists and was not written by it."""
    names = [*(workspace.label_map(sample.id) for sample in dataset.samples), page_path(workspace)]
    names += [path for part in PARTS for path in (workspace.split_table(part), _fresh(workspace, part))]
    names += [workspace.split / name for name in (DATASET_REPORT, PREPARATION_RECORD, PLANNED_TASK)]
    if not output.has_earlier_run and is_run_record(workspace.split / PREPARATION_RECORD):
        output.adopt(names)  # an unfinished run of an earlier version
    output.claim(names)


def write_dataset(
    output: OutputFolder, dataset: Dataset, report: dict[str, Any], page: str, workspace: Workspace, same_split: bool
) -> None:
    """Write masks, report, its page and, last, the two tables; masks that only the earlier tables list are removed.

    Files that would not change are left alone. `same_split`: tables with the same split exist. Raises OSError; the
    earlier tables are then unchanged.
    """
    samples, task = dataset.samples, dataset.task
    outdated = _listed_masks(workspace) - {workspace.label_map(sample.id) for sample in samples}
    for image in dataset.images:
        path = workspace.label_map(image.item.id)
        if not (path.is_file() and path.read_bytes() == image.mask_png):
            output.write_bytes(path, image.mask_png)
    output.write_json(DATASET_REPORT, report)
    output.write_text(page_path(workspace), page)
    # Both tables are on the disk before either is moved into its place, so that a full disk leaves the earlier pair. An
    # earlier test table never stands beside a new training table: after an interruption the test table is missing, and
    # the new tables are the split, see `current_tables`.
    fresh = {part: _fresh(workspace, part) for part in PARTS}
    only_fresh = current_tables(workspace)["test"] == fresh["test"]
    try:
        for part, path in fresh.items():
            references = list(task.metadata.reference)
            write_split(output, path, workspace.root, _of(part, samples), task.class_names, references)
    except BaseException:
        if not only_fresh:
            output.remove(*fresh.values())
        raise
    if not same_split:
        output.remove(workspace.split_table("test"))
    for part, path in fresh.items():
        output.move(path, workspace.split_table(part))
    output.remove(*outdated)
    for sample in samples:
        output.keep(sample.image.path, sample.sha256)
        output.keep(sample.mask, sample.mask_sha256)


def current_tables(workspace: Workspace) -> dict[str, Path]:
    """Return the table of each part: of a run that ended while it replaced them, the new ones, as far as not moved.

    Both were complete when that run removed the test table. They need not exist.
    """
    tables = {part: workspace.split_table(part) for part in PARTS}
    fresh = {part: _fresh(workspace, part) for part in PARTS}
    if not tables["test"].is_file() and fresh["test"].is_file():
        tables |= {part: path for part, path in fresh.items() if path.is_file()}
    return tables


def _fresh(workspace: Workspace, part: str) -> Path:
    """Return the path of a new table until it replaces the earlier one."""
    return workspace.split_table(part).with_suffix(".csv.new")


def _listed_masks(workspace: Workspace) -> set[Path]:
    """Return the masks that existing tables list, as far as these can be read."""
    listed = set()
    for part in PARTS:
        try:
            names = [row["id"] for _, row in read_table(workspace.split_table(part), "stage 1")]
        except (DataError, KeyError):
            continue
        listed |= {workspace.label_map(name) for name in names if Path(name).name == name}
    return listed


def _of(part: str, samples: Sequence[Sample]) -> list[Sample]:
    return [sample for sample in samples if (sample.fold is None) == (part == "test")]
