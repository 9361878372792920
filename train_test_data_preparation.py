"""Stage 1: verify a folder of annotated images, draw their label maps, and split them by patient."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoseg.errors import DataError, UsageError
from sonoseg.io.limits import ReadLimits
from sonoseg.runs.command_line import EXIT_OK, SEED, next_command, number_type, path_type, run_guarded, stage_parser
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.terminal import print_lines, progress_bar
from sonoseg.runs.workspace import PREPARATION_RECORD, Workspace

if TYPE_CHECKING:  # imported late, because --help has to answer at once
    from rich.table import Table

    from sonoseg.prepare.dataset import Dataset, VerifiedImages
    from sonoseg.schema.drafts import Draft
    from sonoseg.schema.task import Task

LINES_SHOWN = 20
"""Warnings that are shown in the terminal; the report has all of them."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--data", type=path_type, help="folder of images and annotations; Datasets/<task> when not given"
    )
    parser.add_argument(
        "--test-size",
        type=number_type(float, 0.01, 0.99),
        help="fraction of the patients in the test part (default: the task's)",
    )
    parser.add_argument(
        "--folds",
        type=number_type(int, 2, 100),
        help="cross-validation folds of the training part (default: the task's)",
    )
    parser.add_argument("--seed", type=SEED, default=42, help="seed of the split")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing split by a different one, which is refused otherwise because patients of the earlier "
        "test part would train models; train all models again afterwards",
    )
    parser.add_argument(
        "--drop-duplicates",
        action="store_true",
        help="of pictures with the same pixels keep the first, and list the others",
    )
    parser.add_argument(
        "--replan",
        action="store_true",
        help="plan the settings that the task leaves open anew; otherwise an earlier plan is kept",
    )
    parser.add_argument(
        "--report-only",
        action="store_true",
        help="only verify the data and write the report page, also of faulty data; no mask and no table is written",
    )
    return parser.parse_args(argv)


def run_stage(argv: Sequence[str] | None) -> int:
    """Run stage 1. Raises SonoSegError and OSError; nothing is written before every check has passed."""
    arguments = parse_arguments(argv)

    from sonoseg.schema.task_files import load_draft, task_of

    draft = load_draft(arguments.task)
    task = task_of(draft)
    workspace = Workspace(arguments.workspace, task.name)
    folder = arguments.data or workspace.dataset
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; put images and annotations there, or name their folder with --data")
    with locked(workspace.split) as remarks:
        print_lines(remarks)
        prepare(draft, task, workspace, folder, arguments)
    if not arguments.report_only:
        print_lines([f"next: {next_command('image_preprocessing.py', arguments)}"])
    return EXIT_OK


def prepare(draft: "Draft", task: "Task", workspace: Workspace, folder: Path, arguments: argparse.Namespace) -> None:
    """Verify, split, plan, write, and show; the caller holds the lock of the output folder."""
    from sonoseg.io.files import write_text
    from sonoseg.planning.stage1 import plan_for_report, plan_lines, plan_of, plan_text
    from sonoseg.prepare.dataset import build_dataset
    from sonoseg.prepare.output import (
        check_path,
        claim_files,
        page_path,
        refuse_new_split,
        table_digests,
        write_dataset,
    )
    from sonoseg.prepare.report import build_report
    from sonoseg.prepare.report_page import dataset_page
    from sonoseg.runs.provenance import run_record

    # Verify: decode every image and annotation once.
    limits = ReadLimits(arguments.max_pixels)
    verified = verify_images(task, folder, limits, draft.exclude, arguments.drop_duplicates)
    check_images(verified, task, workspace, arguments.report_only)

    # Split whole patients, and compare the images with each other.
    settings = {name: getattr(arguments, name) for name in ("test_size", "folds", "seed")}
    settings = {name: getattr(task.split, name) if value is None else value for name, value in settings.items()}
    dataset = build_dataset(verified, task, workspace, settings)
    report = build_report(dataset)

    # Plan what the task file leaves open, from the images that train.
    plan = plan_of(draft, dataset, workspace, arguments.replan) if draft.is_open else None
    if plan:
        report["plan"] = plan_for_report(plan)
    page = dataset_page(dataset, report, limits)

    # Write and show.
    if arguments.report_only:
        write_text(check_path(workspace), page)
        print_lines([*dataset_lines(dataset, report), f"only verified; look at {check_path(workspace)}"])
        return
    try:
        same_split = not arguments.force and refuse_new_split(dataset.samples, workspace)
    except UsageError as error:
        raise UsageError(f"{error}; add --force to replace it, and train again") from None
    with OutputFolder(workspace.split, "stage1", root=workspace.root) as output:
        inputs = {
            "images and masks as drawn": report["data_sha256"],
            **table_digests(folder, task.annotations, task.metadata),
        }
        claim_files(output, dataset, workspace)
        output.write_json(PREPARATION_RECORD, run_record(arguments.command, task, settings, inputs))
        if plan:
            output.write_text(workspace.planned_task, plan_text(plan))
        write_dataset(output, dataset, report, page, workspace, same_split)
    print_lines(plan_lines(plan) if plan else [])
    status = "already prepared, with the same split: brought up to date" if same_split else "prepared"
    print_lines([*dataset_lines(dataset, report), f"{status}: {workspace.split}", f"look at: {page_path(workspace)}"])


def verify_images(
    task: "Task", folder: Path, limits: ReadLimits, exclude: list[str] | str, drop_duplicates: bool
) -> "VerifiedImages":
    """Read the annotations and the metadata table of a folder, and verify every image that is not left out."""
    from sonoseg.annotations import FORMATS
    from sonoseg.prepare.dataset import VerifiedImages
    from sonoseg.prepare.duplicates.selection import excluded_names, without_duplicates, without_excluded
    from sonoseg.prepare.patients import collect_metadata
    from sonoseg.prepare.verify import same_pictures, verify

    items, faults = FORMATS[task.annotations.format].read(folder, task.annotations, task.structures)
    items, faults = without_excluded(items, faults, excluded_names(exclude, folder))
    images = []
    results = verify(items, folder, task, limits)
    for image, image_faults in progress_bar(results, "verify", len(items)):
        faults += image_faults
        if image is not None:
            images.append(image)
    if drop_duplicates:
        images, dropped = without_duplicates(images, folder)
        left_out = {fault.image for fault in dropped}
        items = [item for item in items if item.id not in left_out]
        faults += dropped
    meta, metadata_faults = collect_metadata(items, images, folder, task.metadata, task.patients)
    faults += [*metadata_faults, *same_pictures(images, meta, folder)]
    return VerifiedImages(folder, images, meta, faults, len(items))


def check_images(verified: "VerifiedImages", task: "Task", workspace: Workspace, report_only: bool) -> None:
    """Raise DataError when an image has an error, or there is none; with `report_only` write the page of the errors."""
    from sonoseg.io.faults import stop_on_errors
    from sonoseg.io.files import write_text
    from sonoseg.prepare.output import check_path
    from sonoseg.prepare.report_page import refused_page

    source, hint = str(verified.folder), "; --report-only shows them as a page"
    if report_only and any(fault.level == "error" for fault in verified.faults):
        write_text(check_path(workspace), refused_page(task, verified.faults, verified.annotated))
        hint = f". All of them are in {check_path(workspace)}"
    stop_on_errors(source, verified.faults, hint)
    if not verified.images:
        raise DataError(f"{source}: no annotated images found; put images and annotations there, or give --data")


def dataset_lines(dataset: "Dataset", report: dict[str, Any]) -> list["Table | str"]:
    """Return the warnings, and the table of the number of images of each class in each part."""
    from sonoseg.io.faults import group_faults
    from sonoseg.prepare.report import counts_table

    lines = [line for group in group_faults(dataset.faults) for line in group.lines()]
    more = len(lines) - LINES_SHOWN
    rest = [f"... and {more} more lines of warnings, all of them in the report"] if more > 0 else []
    return [*lines[:LINES_SHOWN], *rest, counts_table(report)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 1; return the exit code, see `run_guarded`."""
    return run_guarded(run_stage, argv)


if __name__ == "__main__":
    sys.exit(main())
