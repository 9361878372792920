"""Stage 2: enhance every image, bring it to the network's size, and make augmented copies of the training images."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sonoseg.errors import UsageError
from sonoseg.runs.command_line import SEED, next_command, number_type, run_guarded, stage_parser

if TYPE_CHECKING:
    from sonoseg.runs.split_tables import Prepared
    from sonoseg.runs.workspace import Workspace
    from sonoseg.schema.task import Task


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument(
        "--copies", type=number_type(int, 0), help="augmented copies of each training image (default: the task's)"
    )
    parser.add_argument(
        "--jobs", type=number_type(int, 1), default=os.cpu_count() or 1, help="processes that work side by side"
    )
    parser.add_argument("--seed", type=SEED, default=42, help="seed of the augmentation")
    return parser.parse_args(argv)


def story(argv: Sequence[str] | None) -> int:
    arguments = parse(argv)

    # Loaded here so that --help does not wait for them.
    from sonoseg.runs.lock import locked
    from sonoseg.runs.workspace import Workspace
    from sonoseg.schema.task_files import load_task

    task = load_task(arguments.task)
    workspace = Workspace(arguments.workspace, task.name)
    copies = copies_of(task, arguments.copies)

    # Stage 1 writes into the same folder: neither runs while the other does.
    with locked(workspace.split) as remarks:
        for remark in remarks:
            print(remark)
        prepare(task, workspace, copies, arguments)
    print(f"written to {workspace.split}\nnext: {next_command('training.py', arguments)}")
    return 0


def prepare(task: "Task", workspace: "Workspace", copies: int, arguments: argparse.Namespace) -> None:
    """Make the pictures that are not there yet, then the two tables, and last the list of all of them."""
    from rich.progress import track

    from sonoseg.io.limits import ReadLimits
    from sonoseg.preprocess.plan import PARTS, State, collect_jobs, run_jobs
    from sonoseg.preprocess.prepared import leftovers
    from sonoseg.runs.output_folder import OutputFolder
    from sonoseg.runs.provenance import digests_of, run_record
    from sonoseg.runs.split_tables import write_index
    from sonoseg.runs.workspace import RUN_OF_PREPROCESSING

    limits = ReadLimits(arguments.max_pixels)
    jobs = {job.name: job for job in collect_jobs(task, workspace, copies, arguments.seed, limits)}
    for job in jobs.values():
        job.check_sources()
    keys = {name: job.key() for name, job in jobs.items()}
    done = State.read(workspace).done
    waiting = [job for name, job in jobs.items() if not job.is_done(keys[name], done)]
    print(f"{len(jobs)} images of task {task.name}: {len(jobs) - len(waiting)} already prepared, {len(waiting)} to do")

    with OutputFolder(workspace.split, "stage2") as output:
        # An index says "finished", and so does a key in the state: while pictures change they have neither.
        names = {job.name for job in waiting}
        state = State(copies, arguments.seed, {name: key for name, key in keys.items() if name not in names})
        if waiting:
            output.begin_changes()
            output.remove(*(workspace.index(part) for part in PARTS))
            state.write(output, workspace)
        try:
            for name in track(run_jobs(waiting, arguments.jobs), "enhance", len(waiting), disable=not waiting):
                for path in pictures(jobs[name].rows()):
                    output.add(path)
                state.done[name] = keys[name]
        finally:
            state.write(output, workspace)

        settings = {"copies": copies, "seed": arguments.seed, "jobs": arguments.jobs}
        inputs = digests_of(workspace.split, [workspace.split_table(part).name for part in PARTS])
        output.write_json(RUN_OF_PREPROCESSING, run_record(arguments.command, task, settings, inputs))
        for part in PARTS:
            rows = [row for job in jobs.values() if job.part == part for row in job.rows()]
            write_index(output, workspace.index(part), workspace.root, rows)
            for path in pictures(rows):
                output.keep(path)
            old = leftovers(workspace.index(part).parent, rows)
            output.remove(*old)
            originals = sum(row.augmentation == "none" for row in rows)
            note = f", {len(old)} files of earlier settings removed" if old else ""
            print(f"  {part}: {originals} enhanced images + {len(rows) - originals} augmented copies{note}")


def pictures(rows: Sequence["Prepared"]) -> list[Path]:
    """Return the images and masks of rows of the index."""
    return [path for row in rows for path in (row.image_path, row.mask_path)]


def copies_of(task: "Task", wanted: int | None) -> int:
    """Return how many copies of each training image to write. Raises UsageError when training draws them itself."""
    if task.augmentation.online:
        if wanted:
            raise UsageError("--copies: this task has augmentation.online, its copies are drawn while it trains")
        return 0
    return task.augmentation.copies if wanted is None else wanted


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 2; return 0, or 2 with one sentence on stderr."""
    return run_guarded(story, argv)


if __name__ == "__main__":
    sys.exit(main())
