"""The flags of `inference.py` for archives, and what it does with them."""

import argparse
import json
import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoseg.errors import UsageError
from sonoseg.io.limits import ReadLimits
from sonoseg.runs.command_line import EXIT_OK, EXIT_SOME_FAILED, number_type
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.terminal import print_lines

if TYPE_CHECKING:  # imported late, because --help has to answer at once
    from sonoseg.archive.rows import ArchiveRun
    from sonoseg.archive.run import Engine
    from sonoseg.inference.segmenter import Segmenter
    from sonoseg.inference.sources import SpacingOptions

LOCAL = "local"
CONNECT_SECONDS = 10
_SETTINGS: tuple[str, ...] = (
    "images",
    "model",
    "metadata",
    "spacing",
    "device",
    "engine",
    "jobs",
    "raw_masks",
    "tta",
    "keep_frame",
)
_SETTINGS += ("results", "ray", "overlays", "shard_images", "gpus_per_actor")
_FILES_ONLY = ("watch", "heatmap", "full_masks", "annotations", "dicom")


def add_archive_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for archives."""
    flags = parser.add_argument_group("archives", "results of many images as one table, see docs/guide/archives.md")
    flags.add_argument(
        "--results", choices=("files", "parquet"), help="files of each image (default), or Parquet shards; then "
        "--images may also be a list (.txt, .csv, .parquet), and sub-folders are included",
    )  # fmt: skip
    flags.add_argument(
        "--ray", metavar="local|auto|ADDRESS", help="run on Ray: processes of this machine, the cluster that runs "
        "here, or the one at ADDRESS; implies --results parquet",
    )  # fmt: skip
    flags.add_argument(
        "--overlays", choices=("review", "all", "none"), help="overlays of images to check and rejected ones (default: "
        "review), of all, or none; with --results parquet",
    )  # fmt: skip
    flags.add_argument(
        "--shard-images", type=number_type(int, 1, 1_000_000), default=256, help="images in a shard, about"
    )
    flags.add_argument(
        "--gpus-per-actor", type=number_type(float, 0, 8), default=0, help="GPUs of each Ray actor, such as 0.25"
    )
    flags.add_argument("--retry-failed", action="store_true", help="make shards with failed images again")


def check_archive_flags(arguments: argparse.Namespace) -> None:
    """Set `results`, and raise UsageError for flags that exclude each other."""
    if arguments.ray and arguments.results == "files":
        raise UsageError("--ray writes Parquet shards, not --results files; omit one of them")
    if arguments.gpus_per_actor and not arguments.ray:
        raise UsageError("--gpus-per-actor needs --ray")
    arguments.results = "parquet" if arguments.ray else arguments.results or "files"
    if arguments.results == "files":
        for flag, given in (("--overlays", arguments.overlays), ("--retry-failed", arguments.retry_failed)):
            if given:
                raise UsageError(f"{flag} needs --results parquet")
        return
    arguments.overlays = arguments.overlays or "review"
    if not arguments.images:
        raise UsageError("--results parquet needs --images; name a folder of images, or a list of them")
    given = [f"--{name.replace('_', '-')}" for name in _FILES_ONLY if getattr(arguments, name)]
    if given:
        raise UsageError(f"{' and '.join(given)}: only with --results files; omit it, or --results parquet and --ray")
    if arguments.ray:  # a process sees the GPUs that Ray gives it, and no others
        device = "cuda" if arguments.gpus_per_actor else "cpu"
        if arguments.device not in ("auto", device):
            raise UsageError(
                f"--device {arguments.device} does not go with --ray and --gpus-per-actor "
                f"{arguments.gpus_per_actor:g}; with cuda each actor needs a part of a GPU, with cpu none"
            )
        arguments.device = device


def runs_elsewhere(arguments: argparse.Namespace) -> bool:
    """Return whether the networks run on GPUs of other processes only, so that this one needs none.

    It may be on a login node, and holds no memory of a GPU. Raises UsageError where those processes are to run on this
    machine, and it has no GPU.
    """
    from sonoseg.inference.segmenter import choose_device

    elsewhere = bool(arguments.ray) and arguments.device == "cuda"
    if elsewhere and arguments.ray == LOCAL:
        try:
            choose_device("cuda")
        except UsageError:
            raise UsageError(
                f"--gpus-per-actor {arguments.gpus_per_actor:g} with --ray {LOCAL}: no CUDA device is available on "
                "this machine; omit it, or name a cluster with GPUs"
            ) from None
    return elsewhere


def run_archive_stage(
    arguments: argparse.Namespace, segmenter: "Segmenter", folder: Path, given: "SpacingOptions"
) -> int:
    """Run stage 4 on an archive; return the exit code. Raises SonoSegError and OSError."""
    from sonoseg.archive.inputs import open_archive
    from sonoseg.archive.libraries import parquet_library
    from sonoseg.archive.progress import archive_lines, archive_progress
    from sonoseg.archive.rows import ArchiveRun
    from sonoseg.archive.run import Plan, check_folder, fingerprint_of, run_archive
    from sonoseg.inference.run_record import write_run_record
    from sonoseg.inference.terminal import start_lines

    parquet_library()
    limits, folder = ReadLimits(arguments.max_pixels), folder.resolve()
    archive = open_archive(arguments.images, segmenter.task, given)
    check_folder(folder, archive)
    fingerprint = fingerprint_of(segmenter, limits, arguments.keep_frame, arguments.overlays)
    run = ArchiveRun(segmenter, archive.root, folder, fingerprint, limits, arguments.keep_frame, arguments.overlays)
    print_lines(start_lines(segmenter, f"images of {arguments.images}", []))
    with locked(folder) as remarks, OutputFolder(folder, "stage4") as output:
        print_lines(remarks)
        started = time.monotonic()
        with archive_progress(archive) as progress, _engine(arguments, run, _log(folder, progress.note)) as engine:
            plan = Plan(int(arguments.shard_images), arguments.retry_failed)
            tally = run_archive(archive, run, engine, output, plan, progress.update)
        seconds = time.monotonic() - started
        settings = json.loads(json.dumps({name: getattr(arguments, name) for name in _SETTINGS}, default=str))
        write_run_record(output, tally.for_record(), segmenter, settings, seconds, arguments.command)
        output.keep_earlier()
    print_lines(archive_lines(tally, folder, seconds))
    return EXIT_SOME_FAILED if tally.counts["failed"] else EXIT_OK


def _log(folder: Path, show: Callable[[str], None]) -> Callable[[str], None]:
    """Return a function that prints a sentence on a failure and adds it to the log, with the time."""
    from sonoseg.archive.run import FAILURES_LOG
    from sonoseg.errors import printable
    from sonoseg.io.files import append_line

    def note(text: str) -> None:
        text = printable(text)
        show(text)
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        append_line(folder / FAILURES_LOG, f"{now} {text}", sync=False)

    return note


@contextmanager
def _engine(arguments: argparse.Namespace, run: "ArchiveRun", note: Callable[[str], None]) -> Iterator["Engine"]:
    """Yield the engine: threads of this process, or a Ray cluster, from which this process then disconnects."""
    from sonoseg.archive.run import local_engine

    if not arguments.ray:
        yield local_engine(run, arguments.jobs)
        return
    from sonoseg.archive.cluster import Pool, PoolSettings

    gpus = float(arguments.gpus_per_actor)
    most = arguments.jobs if arguments.ray == LOCAL else None
    with connected(arguments.ray, arguments.jobs) as ray:
        yield Pool(ray, run, PoolSettings(gpus=gpus, most=most), note)


def check_answers(address: str) -> None:
    """Raise OSError or ValueError when nothing answers at HOST:PORT: Ray itself waits for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("no HOST:PORT")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


@contextmanager
def connected(where: str, jobs: int) -> Iterator[Any]:
    """Yield `ray`, connected: to processes of this machine for `local`, else to a cluster. Raises UsageError."""
    from sonoseg.archive.libraries import ray_library

    ray = ray_library(local=where == LOCAL)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if where == LOCAL:
        options |= {"address": LOCAL, "num_cpus": jobs, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    else:
        options |= {"address": where}
    try:
        if where not in (LOCAL, "auto"):
            check_answers(where)
        ray.init(**options)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"--ray {where}: no Ray cluster there ({reason}); expected local, auto or HOST:PORT; `ray start --head` "
            "starts one and prints its address"
        ) from None
    _keep_quiet(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def _keep_quiet(ray: Any) -> None:
    """Leave Ray's own messages about processes that ended in its logs; what they mean is said by the run itself."""
    with suppress(AttributeError):  # no public part of Ray: where it is another, the messages are printed as well
        ray._private.worker.print_to_stdstream = lambda *_, **__: None
