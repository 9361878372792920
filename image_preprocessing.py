"""Stage 2: enhance every image, fit it to the network's input size, and augment the training images."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sonoseg.errors import UsageError
from sonoseg.io.limits import ReadLimits
from sonoseg.runs.command_line import EXIT_OK, JOBS, SEED, next_command, number_type, run_guarded, stage_parser
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.terminal import print_lines, progress_bar
from sonoseg.runs.workspace import PARTS, PREPROCESSING_RECORD, Workspace
from sonoseg.sizes import MAX_COPIES

if TYPE_CHECKING:  # imported late, because --help has to answer at once
    from sonoseg.preprocess.prepared import Job
    from sonoseg.schema.images import Augmentation
    from sonoseg.schema.task import Task


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--copies",
        type=number_type(int, 0, MAX_COPIES),
        help="augmented copies of each training image (default: the task's)",
    )
    parser.add_argument("--jobs", type=JOBS, default=os.cpu_count() or 1, help="parallel processes")
    parser.add_argument("--seed", type=SEED, default=42, help="seed of the augmentation")
    return parser.parse_args(argv)


def run_stage(argv: Sequence[str] | None) -> int:
    """Run stage 2. Raises SonoSegError and OSError."""
    arguments = parse_arguments(argv)

    from sonoseg.planning.planned_task import load_planned_task

    task = load_planned_task(arguments.task, arguments.workspace)
    workspace = Workspace(arguments.workspace, task.name)
    arguments.copies = number_of_copies(task.augmentation, arguments.copies)

    # Stage 1 writes into the same folder, so the two stages never run at the same time.
    with locked(workspace.split) as remarks, OutputFolder(workspace.split, "stage2") as output:
        print_lines(remarks)
        jobs = prepare_images(task, workspace, output, arguments)
        write_tables(task, workspace, output, jobs, arguments)
    print_lines([f"written to {workspace.split}", f"next: {training_command(task, jobs, arguments)}"])
    return EXIT_OK


def training_command(task: "Task", jobs: Sequence["Job"], arguments: argparse.Namespace) -> str:
    """Return the command of stage 3: a refit, where all that train are in one fold and none is left to validate."""
    command = next_command("training.py", arguments)
    if len({job.sample.fold for job in jobs if job.sample.fold is not None}) > 1:
        return command
    if task.training.optimizer.schedule == "plateau":
        why = "a single patient trains, so no fold validates, by which the schedule plateau lowers the rate"
        return f"choose another training.optimizer.schedule ({why}), then {command} --refit"
    return f"{command} --refit{f' --epochs {task.training.epochs}' if task.training.patience else ''}"


def prepare_images(
    task: "Task", workspace: Workspace, output: OutputFolder, arguments: argparse.Namespace
) -> list["Job"]:
    """Write the images that are missing or outdated; return the jobs of all images. Raises SonoSegError and OSError."""
    from sonoseg.preprocess.plan import State, claim_files, collect_jobs, run_jobs

    # Collect the jobs, one per source image, and those that an earlier run has not done with the same settings.
    limits = ReadLimits(arguments.max_pixels)
    jobs = {job.name: job for job in collect_jobs(task, workspace, arguments.copies, arguments.seed, limits)}
    for job in jobs.values():
        job.check_sources()
    claim_files(output, list(jobs.values()), workspace)
    keys = {name: job.key() for name, job in jobs.items()}
    done = State.read(workspace).done
    waiting = {name: job for name, job in jobs.items() if not job.is_done(keys[name], done)}
    prepared = len(jobs) - len(waiting)
    print_lines([f"{len(jobs)} images of task {task.name}: {prepared} already prepared, {len(waiting)} to do"])

    # An index, and an entry in the state, mean that images are complete: both are removed before images change.
    state = State(arguments.copies, arguments.seed, {name: key for name, key in keys.items() if name not in waiting})
    if waiting:
        output.begin_changes()
        output.remove(*(workspace.index(part) for part in PARTS))
        state.write(output, workspace)
    try:
        names = run_jobs(list(waiting.values()), arguments.jobs)
        for name in progress_bar(names, "enhance", len(waiting), shown=bool(waiting)):
            for row in jobs[name].rows():
                output.add(row.image_path)
                output.add(row.mask_path)
            state.done[name] = keys[name]
    finally:
        state.write(output, workspace)
    return list(jobs.values())


def write_tables(
    task: "Task",
    workspace: Workspace,
    output: OutputFolder,
    jobs: Sequence["Job"],
    arguments: argparse.Namespace,
) -> None:
    """Write the record of the run and the two indices, and remove images that no index lists."""
    from sonoseg.preprocess.prepared import unlisted_images
    from sonoseg.runs.provenance import digests_of, run_record
    from sonoseg.runs.split_tables import write_index

    settings = {"copies": arguments.copies, "seed": arguments.seed, "jobs": arguments.jobs}
    inputs = digests_of(workspace.split, [workspace.split_table(part).name for part in PARTS])
    output.write_json(PREPROCESSING_RECORD, run_record(arguments.command, task, settings, inputs))
    for part in PARTS:
        rows = [row for job in jobs if job.part == part for row in job.rows()]
        write_index(output, workspace.index(part), workspace.root, rows)
        for row in rows:
            output.keep(row.image_path)
            output.keep(row.mask_path)
        outdated = [path for path in unlisted_images(workspace, part, rows) if output.owns(path)]
        output.remove(*outdated)
        originals = sum(row.augmentation == "none" for row in rows)
        removed = f", {len(outdated)} files of earlier settings removed" if outdated else ""
        print_lines([f"  {part}: {originals} enhanced images + {len(rows) - originals} augmented copies{removed}"])


def number_of_copies(augmentation: "Augmentation", requested: int | None) -> int:
    """Return the augmented copies to write of each training image; None stands for the task's number.

    Raises UsageError for copies of a task whose augmentation is online: training draws them.
    """
    if augmentation.online:
        if requested:
            raise UsageError("--copies: this task has augmentation.online, so training draws its augmented copies")
        return 0
    return augmentation.copies if requested is None else requested


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 2; return the exit code, see `run_guarded`."""
    return run_guarded(run_stage, argv)


if __name__ == "__main__":
    sys.exit(main())
