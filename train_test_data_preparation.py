"""Stage 1: verify a folder of annotated images, draw their label maps, and split them by patient."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
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

    from sonoseg.io.pseudonyms import PseudonymKey
    from sonoseg.prepare.dataset import Dataset, VerifiedImages
    from sonoseg.schema.drafts import Draft
    from sonoseg.schema.task import Task

USUAL_SEED = 42

LINES_SHOWN = 20
"""Warnings that are shown in the terminal; the report has all of them."""

REMEDIES = dict.fromkeys(("same_of_two", "same_of_one"), "; --drop-duplicates keeps the first one by its name")
"""Kind of fault -> a flag that helps, added to its lines."""


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
    parser.add_argument("--seed", type=SEED, help=f"seed of the split (default: {USUAL_SEED})")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing split by a different one, which is refused otherwise because patients of the earlier "
        "test part would train models; train all models again afterwards",
    )
    parser.add_argument(
        "--add",
        type=path_type,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="folders of further or corrected images for the existing split, in any format: test patients stay test "
        "patients, an image of the same name replaces the earlier one, new patients are divided",
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
    from sonoseg.io.pseudonyms import PseudonymKey
    from sonoseg.planning.stage1 import earlier_plan, new_plan, plan_for_report, plan_lines, plan_text
    from sonoseg.prepare.additions import add_to_split, added_folders, added_summary, earlier_split
    from sonoseg.prepare.dataset import build_dataset
    from sonoseg.prepare.output import check_path, claim_files, page_path, table_digests, write_dataset
    from sonoseg.prepare.report import build_report
    from sonoseg.prepare.report_page import dataset_page
    from sonoseg.runs.provenance import run_record

    # Verify: decode every image and annotation once.
    added = added_folders(workspace, arguments.add, forget=arguments.force)
    key = PseudonymKey(workspace.patient_key)
    verified = verify_images(draft, task, [folder, *added], arguments, key)
    check_images(verified, task, workspace, arguments.report_only)

    # Split whole patients, and compare the images with each other. Where images are added, earlier patients stay.
    earlier = earlier_split(workspace, task.class_names) if added and not arguments.force else None
    settings = split_settings(task, workspace, arguments, earlier is not None)
    make = build_dataset if earlier is None else partial(add_to_split, earlier)
    dataset = make(verified, task, workspace, settings)

    # Plan what the task file leaves open, from the images that train.
    plan = earlier_plan(draft, dataset, workspace) if draft.is_open and not arguments.replan else None
    if draft.is_open and not plan:
        print_lines(["plan what the task leaves open: steps of training are timed, which may take half a minute"])
        plan = new_plan(draft, dataset)
    report = build_report(dataset) | {
        "plan": plan_for_report(plan) if plan else None,
        "added": added_summary(dataset.samples, earlier) if earlier else None,
    }
    page = dataset_page(dataset, report, ReadLimits(arguments.max_pixels))

    # Write and show.
    if arguments.report_only:
        write_text(check_path(workspace), page)
        print_lines([*dataset_lines(dataset, report), f"only verified; look at {check_path(workspace)}"])
        return
    same_split = not arguments.force and not earlier and is_same_split(dataset, workspace)
    with OutputFolder(workspace.split, "stage1", root=workspace.root) as output:
        inputs = {
            "images and masks as drawn": report["data_sha256"],
            **table_digests(folder, task.annotations, task.metadata),
        }
        claim_files(output, dataset, workspace)
        if key.is_used:
            key.store()
        output.write_json(
            PREPARATION_RECORD, run_record(arguments.command, task, settings | {"added": [*map(str, added)]}, inputs)
        )
        if plan:
            output.write_text(workspace.planned_task, plan_text(plan))
        write_dataset(output, dataset, report, page, workspace, same_split)
    print_lines(plan_lines(plan) if plan else [])
    status = "already prepared, with the same split: brought up to date" if same_split else "prepared"
    print_lines([*dataset_lines(dataset, report), f"{status}: {workspace.split}", f"look at: {page_path(workspace)}"])


def split_settings(
    task: "Task", workspace: Workspace, arguments: argparse.Namespace, is_added_to: bool
) -> dict[str, Any]:
    """Return test_size, folds and seed: as given, else the task's; where images are added, those of the earlier split.

    Raises UsageError where one is given that the earlier split does not have.
    """
    from sonoseg.prepare.additions import earlier_settings

    usual = {"test_size": task.split.test_size, "folds": task.split.folds, "seed": USUAL_SEED}
    given = {name: value for name in usual if (value := getattr(arguments, name)) is not None}
    try:
        return usual | given | (earlier_settings(workspace, given) if is_added_to else {})
    except UsageError as error:
        raise UsageError(f"{error}; leave the flag out, or replace the split with --force, and train again") from None


def is_same_split(dataset: "Dataset", workspace: Workspace) -> bool:
    """Return whether tables with the same split exist. Raises UsageError when existing tables have another split."""
    from sonoseg.prepare.output import refuse_new_split

    try:
        return refuse_new_split(dataset.samples, workspace)
    except UsageError as error:
        raise UsageError(
            f"{error}; name the folder of further images with --add, or replace the split with --force, and train again"
        ) from None


def verify_images(
    draft: "Draft", task: "Task", folders: Sequence[Path], arguments: argparse.Namespace, key: "PseudonymKey"
) -> "VerifiedImages":
    """Read annotations and metadata tables of the folders, and verify every image that is not left out.

    key: gives the patients that files state their pseudonyms.
    """
    from sonoseg.annotations import FORMATS
    from sonoseg.new_task.findings import read_further
    from sonoseg.prepare.dataset import FolderImages, combine
    from sonoseg.prepare.duplicates.selection import excluded_names, without_excluded
    from sonoseg.prepare.reading.regions import images_of
    from sonoseg.prepare.verify import verify, with_unreadable

    limits, names = ReadLimits(arguments.max_pixels), excluded_names(draft.exclude, folders[0])
    parts = []
    for folder in folders:
        if folder == folders[0]:
            read = FORMATS[task.annotations.format].read(folder, task.annotations, task.structures)
        else:
            read = read_further(folder, task)
        items, more = images_of(read[0], folder, limits)
        items, faults = without_excluded(items, [*with_unreadable(read[1], folder, limits), *more], names)
        images, annotated = [], []
        found = progress_bar(verify(items, folder, task, limits), "verify", len(items))
        for item, (image, image_faults) in zip(items, found, strict=True):
            faults += image_faults
            if image is not None:
                images.append(image)
            if image is not None or image_faults:
                annotated.append(item)
        parts.append(FolderImages(folder, annotated, images, faults))
    return combine(parts, task, key, draft.patients_in, arguments.drop_duplicates)


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
    stop_on_errors(source, verified.faults, hint, REMEDIES)
    if not verified.images:
        raise DataError(f"{source}: no annotated images found; put images and annotations there, or give --data")


def dataset_lines(dataset: "Dataset", report: dict[str, Any]) -> list["Table | str"]:
    """Return the warnings, and the table of the number of images of each class in each part."""
    from sonoseg.io.faults import fault_lines
    from sonoseg.prepare.report import counts_table

    lines = fault_lines(dataset.faults, REMEDIES)
    more = len(lines) - LINES_SHOWN
    rest = [f"... and {more} more lines of warnings, all of them in the report"] if more > 0 else []
    return [*lines[:LINES_SHOWN], *rest, counts_table(report)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 1; return the exit code, see `run_guarded`."""
    return run_guarded(run_stage, argv)


if __name__ == "__main__":
    sys.exit(main())
