"""Stage 2: enhance every image, bring it to the network's size, and make augmented copies of the training images."""

import argparse
import json
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed

from rich.progress import track

from sonoseg.core.cli import next_command, run_guarded, stage_parser
from sonoseg.core.errors import DataError, UsageError
from sonoseg.core.files import check_writable, write_json
from sonoseg.core.manifest import read_split, write_index
from sonoseg.core.task import Task
from sonoseg.core.task_files import load_task
from sonoseg.core.workspace import Workspace
from sonoseg.preprocess.prepared import Job, remove_leftovers, run_job


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--copies", type=int, help="augmented copies of each training image (default: the task's)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that work side by side")
    parser.add_argument("--seed", type=int, default=42, help="seed of the augmentation")
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1 or (arguments.copies or 0) < 0:
        raise UsageError("--jobs has to be at least 1 and --copies at least 0")
    return arguments


def story(argv: Sequence[str] | None) -> int:
    arguments = parse(argv)
    task = load_task(arguments.task)
    workspace = Workspace(arguments.workspace, task.name)
    copies = task.augmentation.copies if arguments.copies is None else arguments.copies

    jobs = collect_jobs(task, workspace, copies, arguments.seed)
    state = workspace.split / "preprocessing.json"
    done = json.loads(state.read_text()) if state.is_file() else {}
    keys = {job.name: job.key() for job in jobs}
    waiting = [job for job in jobs if not job.is_done(keys[job.name], done)]
    print(f"{len(jobs)} images of task {task.name}: {len(jobs) - len(waiting)} already prepared, {len(waiting)} to do")

    if waiting:
        check_writable(workspace.split)
        # An index says "finished": while pictures change there is none.
        for part in ("train", "test"):
            workspace.index(part).unlink(missing_ok=True)
    try:
        for name in track(run_jobs(waiting, arguments.jobs), "enhance", len(waiting), disable=not waiting):
            done[name] = keys[name]
    finally:
        if waiting:
            write_json(state, {name: key for name, key in done.items() if name in keys})

    for part in ("train", "test"):
        rows = [row for job in jobs if job.part == part for row in job.rows()]
        write_index(workspace.index(part), rows)
        removed = remove_leftovers(workspace.index(part).parent, rows)
        originals = sum(row.augmentation == "none" for row in rows)
        note = f", {removed} files of earlier settings removed" if removed else ""
        print(f"  {part}: {originals} enhanced images + {len(rows) - originals} augmented copies{note}")
    print(f"written to {workspace.split}\nnext: {next_command('training.py', arguments)}")
    return 0


def collect_jobs(task: Task, workspace: Workspace, copies: int, seed: int) -> list[Job]:
    """Return a job per source image; test images get no copies. Raises DataError when two outputs share a name."""
    jobs = [
        Job(part, sample, task, workspace, copies if part == "train" else 0, seed)
        for part in ("train", "test")
        for sample in read_split(workspace.split_table(part), task.class_names)
    ]
    for part in ("train", "test"):
        ids = [row.id for job in jobs if job.part == part for row in job.rows()]
        clash = next((id for id, count in Counter(ids).items() if count > 1), None)
        if clash is not None:
            raise DataError(f"{clash}: an image has the name of another image's augmented copy; rename one of them")
    return jobs


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[str]:
    """Yield the names of finished jobs; the first failure stops the rest."""
    if processes == 1 or len(jobs) < 4:
        yield from map(run_job, jobs)
        return
    # Spawned, not forked: a fork of a process that runs OpenCV's threads can hang.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(run_job, job) for job in jobs]
        try:
            for finished in as_completed(waiting):
                yield finished.result()
        finally:
            pool.shutdown(cancel_futures=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 2; return 0, or 2 with one sentence on stderr."""
    return run_guarded(story, argv)


if __name__ == "__main__":
    sys.exit(main())
