"""The jobs of stage 2, the state of an earlier run, and the processes that run the jobs."""

import json
import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2

from sonoseg.errors import DataError, MachineError
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.preprocess.prepared import Job, JobSettings
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.split_tables import RUN_STAGE_1_AGAIN, RUN_STAGE_2_AGAIN, read_split
from sonoseg.runs.workspace import DATASET_REPORT, PARTS, PREPROCESSING_RECORD, PREPROCESSING_STATE, Workspace
from sonoseg.schema.task import Task


@dataclass
class State:
    """The contents of `preprocessing.json`: flags of the last run, and the fingerprint of every finished job."""

    copies: int = 0
    seed: int = 0
    done: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def path(workspace: Workspace) -> Path:
        return workspace.split / PREPROCESSING_STATE

    @classmethod
    def read(cls, workspace: Workspace) -> "State":
        """Return the state of the last run; an empty one when there is no file, or it cannot be read."""
        try:
            saved = json.loads(cls.path(workspace).read_text(encoding="utf-8"))
            return cls(int(saved["copies"]), int(saved["seed"]), dict(saved["done"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls()

    def write(self, output: OutputFolder, workspace: Workspace) -> None:
        """Write the state, after the images that it lists as finished are on the disk."""
        os.sync()
        # Sorted, because jobs end in any order.
        output.write_json(self.path(workspace), {**vars(self), "done": dict(sorted(self.done.items()))})


def collect_jobs(
    task: Task, workspace: Workspace, copies: int, seed: int, limits: ReadLimits = DEFAULT_LIMITS
) -> list[Job]:
    """Return a job per source image of stage 1; test images get no copies.

    Raises DataError when stage 1 has not run, drew other structures than the task has now, or when two outputs would
    share a name.
    """
    settings = JobSettings(task, replace(workspace, root=workspace.root.absolute()), seed, limits)
    jobs = [
        Job(settings, part, sample, copies if part == "train" else 0)
        for part in PARTS
        for sample in read_split(workspace.split_table(part), task.class_names, workspace.root)
    ]
    _check_structures(task.label_map_settings(), workspace.split / DATASET_REPORT)
    for part in PARTS:
        ids = [row.id for job in jobs if job.part == part for row in job.rows()]
        clash = next((id for id, count in Counter(ids).items() if count > 1), None)
        if clash is not None:
            raise DataError(f"{clash}: an image has the name of another image's augmented copy; rename one of them")
    return jobs


def claim_files(output: OutputFolder, jobs: Sequence[Job], workspace: Workspace) -> None:
    """Claim all files that stage 2 writes. Raises DataError when one of them exists and was not written by it."""
    rows = [row for job in jobs for row in job.rows()]
    names = [path for row in rows for path in (row.image_path, row.mask_path)]
    names += [workspace.index(part) for part in PARTS]
    names += [State.path(workspace), workspace.split / PREPROCESSING_RECORD]
    if not output.has_earlier_run and State.read(workspace) != State():  # an unfinished run of an earlier version
        output.adopt([*names, *(path for part in PARTS for path in workspace.all_prepared(part))])
    output.claim(names)


def check_prepared(task: Task, workspace: Workspace) -> None:
    """Raise DataError when stage 2's pictures were made from other masks, or with other settings than the task's."""
    state = State.read(workspace)
    for job in collect_jobs(task, workspace, state.copies, state.seed):
        if state.done.get(job.name) != job.key():
            raise DataError(
                f"{state.path(workspace)}: image {job.sample.id} was prepared from another mask, with other settings "
                f"than the task has now, or by another version of OpenCV; {RUN_STAGE_2_AGAIN}"
            )


def _check_structures(settings: list[dict[str, object]], report: Path) -> None:
    """Raise DataError unless the label maps were drawn with these structures: they contain indices only.

    settings: `label_map_settings` of the task; report: that of stage 1.
    """
    try:
        drawn = json.loads(report.read_text(encoding="utf-8"))["structures"]
    except (OSError, ValueError, KeyError):
        raise DataError(f"{report}: missing or not readable; {RUN_STAGE_1_AGAIN}") from None
    if drawn != json.loads(json.dumps(settings)):
        raise DataError(f"{report}: the masks were drawn with other structures than the task's; {RUN_STAGE_1_AGAIN}")


def run_jobs(jobs: Sequence[Job], processes: int) -> Iterator[str]:
    """Yield the names of finished jobs; the first failure stops the rest. Raises what a job raises, and
    MachineError when the system has ended a process.
    """
    if processes == 1 or len(jobs) < 4:
        for job in jobs:
            job.run()
            yield job.name
        return
    # Spawned, not forked: a fork of a process that runs OpenCV's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, initializer=_start_worker) as pool:
        # Workers inherit a blocked Ctrl-C: while they start, they could not yet ignore it.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            waiting = [pool.submit(_run, job) for job in jobs]
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        try:
            for finished in as_completed(waiting):
                yield finished.result()
        except BrokenProcessPool:
            ended = "a worker process was ended by the system, perhaps for lack of memory"
            raise MachineError(
                f"{ended}; images that were finished are kept: free memory or use fewer processes, and run the same "
                "command again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    """Set up a worker: one OpenCV thread, as there is a worker per core; Ctrl-C is handled by the parent alone."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent ends, also when that is killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(job: Job) -> str:
    job.run()
    return job.name
