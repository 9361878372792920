"""Stage 1: check a folder of annotated images, draw their masks, and split them by patient into training and test."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sonoseg.core.cli import EXIT_OK, SEED, next_command, number_type, run_guarded, stage_parser
from sonoseg.core.errors import DataError
from sonoseg.core.files import check_writable


def main(argv: Sequence[str] | None = None) -> int:
    return run_guarded(prepare, argv)


def prepare(argv: Sequence[str] | None) -> int:
    """The story of stage 1. Raises SonoSegError and OSError; nothing is written before every check has passed."""
    options = parser().parse_args(argv)

    # Loaded here so that --help does not wait for them.
    from rich.console import Console
    from rich.progress import Progress

    from sonoseg.core.task_files import load_task
    from sonoseg.core.workspace import Workspace
    from sonoseg.prepare.annotations import READERS
    from sonoseg.prepare.faults import in_order, stop_on_errors
    from sonoseg.prepare.output import build_samples, refuse_new_split, write_dataset
    from sonoseg.prepare.patients import describe
    from sonoseg.prepare.report import build_report, counts_table
    from sonoseg.prepare.split import assert_no_leak, split_patients
    from sonoseg.prepare.verify import same_pictures, verify

    console = Console(highlight=False, markup=False)
    task = load_task(options.task)
    workspace = Workspace(options.workspace, task.name)
    data = options.data or workspace.dataset
    if not data.is_dir():
        raise DataError(f"{data}: no such folder; put images and annotations there, or name their folder with --data")
    check_writable(workspace.split)

    # Find the images and what is known about them, and look at every pixel once.
    items, faults = READERS[task.annotations.format](data, task)
    meta, more = describe(items, data, task)
    faults += more
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("checking images", total=len(items))
        checked, more = verify(items, data, task, on_done=lambda: progress.advance(bar))
    faults += more + same_pictures(checked, meta, data)
    stop_on_errors(str(data), faults)
    if not checked:
        raise DataError(f"{data}: no annotated images found; put images and annotations there, or give --data")

    # Split whole patients.
    shown = [(meta[one.item.id].patient or one.item.id, list(one.present.values())) for one in checked]
    split = split_patients(shown, task.class_names, options.test_size, options.folds, options.seed)
    faults += split.warnings
    samples = build_samples(checked, meta, split, workspace)
    assert_no_leak([s for s in samples if s.fold is not None], [s for s in samples if s.fold is None])
    already = not options.force and refuse_new_split(samples, workspace)

    # Write, the tables last.
    settings = {"test_size": options.test_size, "folds": options.folds, "seed": options.seed}
    report = build_report(task, checked, samples, faults, settings)
    write_dataset(checked, samples, report, task, workspace, same_split=already)

    # Say what was found and where to go on.
    warnings = in_order(faults)
    for fault in warnings[:20]:
        console.print(str(fault), soft_wrap=True)
    if len(warnings) > 20:
        console.print(f"... and {len(warnings) - 20} more warnings, all of them in dataset_report.json")
    console.print(counts_table(report))
    console.print("already prepared, with the same split: brought up to date" if already else "prepared", end=": ")
    console.print(workspace.split, soft_wrap=True)
    console.print(f"next: {next_command('image_preprocessing.py', options)}", soft_wrap=True)
    return EXIT_OK


def parser() -> argparse.ArgumentParser:
    parser = stage_parser(__doc__ or "")
    parser.add_argument("--data", type=Path, help="folder of images and annotations; Datasets/<task> when not given")
    parser.add_argument(
        "--test-size", type=number_type(float, 0.01, 0.99), default=0.2, help="part of the patients that only test"
    )
    parser.add_argument(
        "--folds", type=number_type(int, 2, 100), default=5, help="cross-validation folds of the training part"
    )
    parser.add_argument("--seed", type=SEED, default=42, help="same seed and data: same split")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing split by a different one; without it that is refused, because patients of the old "
        "test part would get into training. Train all models anew afterwards",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
