"""Stage 1: check a folder of annotated images, draw their masks, and split them by patient into training and test."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonoseg.errors import DataError
from sonoseg.runs.command_line import EXIT_OK, SEED, next_command, number_type, run_guarded, stage_parser

if TYPE_CHECKING:
    from sonoseg.runs.workspace import Workspace
    from sonoseg.schema.task import Task


def main(argv: Sequence[str] | None = None) -> int:
    return run_guarded(prepare, argv)


def prepare(argv: Sequence[str] | None) -> int:
    """The story of stage 1. Raises SonoSegError and OSError; nothing is written before every check has passed."""
    options = parser().parse_args(argv)

    # Loaded here so that --help does not wait for them.
    from sonoseg.runs.lock import locked
    from sonoseg.runs.workspace import Workspace
    from sonoseg.schema.task_files import load_task

    task = load_task(options.task)
    workspace = Workspace(options.workspace, task.name)
    data = options.data or workspace.dataset
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; put images and annotations there, or name their folder with --data")
    with locked(workspace.split) as remarks:
        for remark in remarks:
            print(remark)
        return check_and_split(task, workspace, data, options)


def check_and_split(task: "Task", workspace: "Workspace", data: Path, options: argparse.Namespace) -> int:
    """Look at everything, decide on a split, and write both; the folder they go to is held by this run."""
    from rich.console import Console
    from rich.progress import Progress

    from sonoseg.annotations import READERS
    from sonoseg.io.faults import group_faults, stop_on_errors
    from sonoseg.io.files import write_text
    from sonoseg.io.limits import ReadLimits
    from sonoseg.prepare.near_duplicates import alike_faults, find_alike
    from sonoseg.prepare.outliers import area_faults, ellipse_faults, spacing_faults
    from sonoseg.prepare.output import (
        build_samples,
        check_path,
        page_path,
        refuse_new_split,
        table_digests,
        write_dataset,
    )
    from sonoseg.prepare.patients import describe
    from sonoseg.prepare.report import build_report, counts_table
    from sonoseg.prepare.report_page import dataset_page, refused_page
    from sonoseg.prepare.split import assert_no_leak, split_patients
    from sonoseg.prepare.verify import same_pictures, verify
    from sonoseg.runs.output_folder import OutputFolder
    from sonoseg.runs.provenance import run_record
    from sonoseg.runs.workspace import RUN_OF_PREPARATION

    console = Console(highlight=False, markup=False)
    limits = ReadLimits(options.max_pixels)

    # Find the images and what is known about them, and look at every pixel once.
    items, faults = READERS[task.annotations.format](data, task)
    meta, more = describe(items, data, task)
    faults += more
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("checking images", total=len(items))
        checked, more = verify(items, data, task, limits, on_done=lambda: progress.advance(bar))
    faults += more + same_pictures(checked, meta, data)
    if options.report_only and any(fault.level == "error" for fault in faults):
        write_text(check_path(workspace), refused_page(task, faults, images=len(items)))
        stop_on_errors(str(data), faults, hint=f". All of them are in {check_path(workspace)}")
    stop_on_errors(str(data), faults, hint="; --report-only shows them as a page")
    if not checked:
        raise DataError(f"{data}: no annotated images found; put images and annotations there, or give --data")

    # Split whole patients.
    settings = {name: getattr(options, name) for name in ("test_size", "folds", "seed")}
    settings = {name: getattr(task.split, name) if value is None else value for name, value in settings.items()}
    shown = [(meta[one.item.id].patient or one.item.id, list(one.present.values())) for one in checked]
    split = split_patients(shown, task.class_names, **settings)
    samples = build_samples(checked, meta, split, workspace)
    assert_no_leak([s for s in samples if s.fold is not None], [s for s in samples if s.fold is None])
    already = not (options.force or options.report_only) and refuse_new_split(samples, workspace)

    # Compare the images with each other: copies under another patient's name, and what stands apart.
    names = {one.item.id: one.item.image.relative_to(data).as_posix() for one in checked}
    pairs = find_alike([one.small for one in checked], samples)
    faults += split.warnings + alike_faults(pairs, samples, names) + spacing_faults(samples, names)
    faults += area_faults(checked, task, names) + ellipse_faults(checked, task, names)

    # Write, the tables last.
    report = build_report(task, checked, samples, meta, pairs, faults, settings)
    page = dataset_page(report, task, checked, samples, pairs, faults, limits)
    if options.report_only:
        write_text(check_path(workspace), page)
    else:
        inputs = {"images and masks as drawn": report["data_sha256"], **table_digests(data, task)}
        with OutputFolder(workspace.split, "stage1", root=workspace.root) as output:
            output.write_json(RUN_OF_PREPARATION, run_record(options.command, task, settings, inputs))
            write_dataset(output, checked, samples, report, page, task, workspace, same_split=already)
            for sample in samples:
                output.keep(sample.image.path, sample.sha256)
                output.keep(sample.mask, sample.mask_sha256)

    # Say what was found and where to go on.
    lines = [line for group in group_faults(faults) for line in group.lines()]
    for line in lines[:20]:
        console.print(line, soft_wrap=True)
    if len(lines) > 20:
        console.print(f"... and {len(lines) - 20} more lines of warnings, all of them in the report")
    console.print(counts_table(report))
    if options.report_only:
        console.print(f"only checked; look at {check_path(workspace)}", soft_wrap=True)
        return EXIT_OK
    console.print("already prepared, with the same split: brought up to date" if already else "prepared", end=": ")
    console.print(workspace.split, soft_wrap=True)
    console.print(f"look at: {page_path(workspace)}", soft_wrap=True)
    console.print(f"next: {next_command('image_preprocessing.py', options)}", soft_wrap=True)
    return EXIT_OK


def parser() -> argparse.ArgumentParser:
    parser = stage_parser(__doc__ or "")
    parser.add_argument("--data", type=Path, help="folder of images and annotations; Datasets/<task> when not given")
    parser.add_argument(
        "--test-size",
        type=number_type(float, 0.01, 0.99),
        help="part of the patients that only test (default: the task's)",
    )
    parser.add_argument(
        "--folds",
        type=number_type(int, 2, 100),
        help="cross-validation folds of the training part (default: the task's)",
    )
    parser.add_argument("--seed", type=SEED, default=42, help="same seed and data: same split")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing split by a different one; without it that is refused, because patients of the old "
        "test part would get into training. Train all models anew afterwards",
    )
    parser.add_argument(
        "--report-only",
        action="store_true",
        help="check the data and write what was found as a page, faulty data too; no mask and no table is written",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
