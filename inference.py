"""Stage 4: segment a folder of new images, measure the structures, and write masks, overlays and a table."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoseg.archive.command_line import add_archive_flags, check_archive_flags, run_archive_stage, runs_elsewhere
from sonoseg.errors import UsageError
from sonoseg.io.limits import ReadLimits
from sonoseg.models.engines import ENGINE_NAMES
from sonoseg.runs.command_line import (
    EXIT_OK,
    EXIT_SOME_FAILED,
    JOBS,
    TOOL_FORMATS,
    path_type,
    run_guarded,
    spacing_of,
    stage_parser,
)
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.signals import deferred_signals
from sonoseg.runs.terminal import print_lines, progress_bar
from sonoseg.runs.workspace import EARLIER_RUNS, INFERENCE_RECORD, RESULTS_TABLE, Workspace

if TYPE_CHECKING:  # imported late, because --help has to answer at once
    from sonoseg.dicom.output import DicomOutput
    from sonoseg.inference.annotations import ToolAnnotations
    from sonoseg.inference.process_image import InferenceRun
    from sonoseg.inference.segmenter import Segmenter
    from sonoseg.inference.sources import Inputs, Source, SpacingOptions
    from sonoseg.inference.table import Row
    from sonoseg.schema.task import Task

SETTINGS = (
    *("images", "model", "metadata", "spacing", "device", "engine", "jobs", "watch"),
    *("full_masks", "raw_masks", "tta", "annotations", "dicom", "keep_frame", "workspace"),
)
"""Flags that are recorded in `run.json`."""


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    parser.add_argument("--images", type=path_type, help="folder of images (default: originals of the test split)")
    parser.add_argument(
        "--model",
        type=path_type,
        nargs="+",
        metavar="FILE",
        help="a model, or several, or a folder of them, whose probabilities are averaged; threshold, postprocessing, "
        "measurements and review are those of the first model's task; also a name that `sonoseg models` lists "
        "(default: Models/<task>/best_model.safetensors, or else the model of the task that comes with SonoSeg)",
    )
    parser.add_argument("--output", type=path_type, help="folder of the results (default: result/<task>)")
    parser.add_argument("--spacing", nargs="+", metavar="MM", help="mm per pixel: ROW [COL]")
    parser.add_argument("--metadata", type=path_type, help="table of spacings (default: one beside the images)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs")
    parser.add_argument(
        "--engine",
        choices=("auto", *ENGINE_NAMES),
        default="auto",
        help="inference engine; auto: the fastest installed one that agrees with torch, measured once per model",
    )
    parser.add_argument(
        "--keep-frame",
        action="store_true",
        help="whole frames of DICOM files, with what is drawn around their ultrasound regions, such as a name",
    )
    parser.add_argument("--jobs", type=JOBS, default=os.cpu_count() or 1, help="images processed in parallel")
    parser.add_argument("--watch", action="store_true", help="process images as they arrive in --images, until Ctrl-C")
    parser.add_argument("--heatmap", action="store_true", help="also write the probability of each class")
    parser.add_argument("--full-masks", action="store_true", help="also write a whole mask of each class, without gaps")
    parser.add_argument(
        "--raw-masks", action="store_true", help="masks of the network, also where the task has ellipses as masks"
    )
    parser.add_argument(
        "--tta", action="store_true", help="mean over the flips that training had; twice to four times the time"
    )
    parser.add_argument(
        "--annotations", choices=TOOL_FORMATS, help="also write the results as annotations of this format, to correct"
    )
    parser.add_argument(
        "--dicom",
        action="store_true",
        help="also write the results of DICOM files as DICOM: segmentation, structured report, secondary capture",
    )
    add_archive_flags(parser)
    without_task = argparse.Namespace(task=None)  # no --task: the task that is stored in --model
    arguments = parser.parse_args(argv, without_task)
    check_flags(arguments)
    arguments.spacing = spacing_of(arguments.spacing)
    return arguments


def check_flags(arguments: argparse.Namespace) -> None:
    """Raise UsageError for flags that exclude each other, and for a folder that does not exist."""
    if (arguments.spacing or arguments.metadata or arguments.watch or arguments.keep_frame) and not arguments.images:
        raise UsageError("--spacing, --metadata, --watch and --keep-frame need --images; name the folder of images too")
    if arguments.watch and arguments.annotations:
        raise UsageError("--annotations needs all images, and --watch has no last one; run without --watch afterwards")
    if arguments.watch and arguments.dicom:
        raise UsageError("--dicom is for images that are all there, not for --watch; run without --watch afterwards")
    if arguments.spacing and arguments.metadata:
        raise UsageError("--spacing and --metadata both give the pixel size; use one of them")
    check_archive_flags(arguments)
    if arguments.images and not arguments.images.is_dir() and arguments.results == "files":
        found = "is a file" if arguments.images.is_file() else "no such folder"
        raise UsageError(f"{arguments.images}: {found}; --images names the folder of the pictures")


def run_stage(argv: Sequence[str] | None) -> int:
    """Run stage 4. Raises SonoSegError and OSError."""
    arguments = parse_arguments(argv)

    # Torch and the inference engines take seconds to import; the arguments have been checked by now.
    from sonoseg.archive.run import is_archive
    from sonoseg.inference.process_image import InferenceRun
    from sonoseg.inference.results import check_output_folder, check_results
    from sonoseg.inference.resume import OptionalFiles, run_fingerprint
    from sonoseg.inference.run_record import check_earlier_runs, count_rows, write_run_record
    from sonoseg.inference.sources import Inputs
    from sonoseg.inference.table import write_table
    from sonoseg.inference.terminal import count_text, loop_remarks, start_lines, summary_lines

    # From here on the task is the one that the models were trained for.
    segmenter = load_segmenter(arguments)
    task = segmenter.task
    workspace = Workspace(arguments.workspace, task.name)
    folder = arguments.output or (workspace.archive if arguments.results == "parquet" else workspace.results)
    if arguments.spacing and (problem := task.metadata.spacing_problem(arguments.spacing)):
        raise UsageError(f"--spacing: {problem}")
    check_output_folder(folder, arguments.images, workspace.dataset, task.annotations)
    if arguments.results == "parquet":
        return run_archive_stage(arguments, segmenter, folder, spacing_options(arguments))
    if is_archive(folder):
        raise UsageError(f"{folder}: has the results of --results parquet; choose another folder with --output")

    # List the images; a watched folder is listed while it is processed.
    inputs = Inputs([], []) if arguments.watch else list_images(arguments, segmenter, workspace)
    images = f"watching {arguments.images}, Ctrl-C ends it" if arguments.watch else count_text(inputs.sources)
    optional = OptionalFiles(arguments.heatmap or task.review.heatmap, arguments.full_masks)
    print_lines(start_lines(segmenter, images, [*inputs.remarks, *loop_remarks(inputs.sources, optional)]))

    # Process the images; the table, the record of the run and the integrity list are written last.
    with locked(folder) as remarks, OutputFolder(folder, "stage4") as output:
        print_lines(remarks)
        fingerprint = run_fingerprint(segmenter, optional)
        run = InferenceRun(segmenter, output, optional, fingerprint, ReadLimits(arguments.max_pixels))
        extras = extra_outputs(arguments, run)
        present = None if arguments.watch else inputs.sources
        earlier = check_earlier_runs(folder, arguments.images, workspace.root, present)
        claim(inputs.sources, run, extras)
        started = time.monotonic()
        rows = watch(arguments, run) if arguments.watch else process(inputs, run, arguments.jobs)
        seconds = time.monotonic() - started
        check_results(output)
        write_table(output, rows, segmenter)
        print_lines([line for extra in extras for line in extra.write(inputs.sources, rows)])
        settings = {name: getattr(arguments, name) for name in SETTINGS} | {"heatmap": optional.heatmap}
        settings = json.loads(json.dumps({**settings, EARLIER_RUNS: earlier}, default=str))  # paths as text
        write_run_record(output, count_rows(rows), segmenter, settings, seconds, arguments.command)
        output.keep_earlier()  # results of other images in the same folder
    print_lines(summary_lines(rows, folder, None if arguments.watch else seconds))
    return EXIT_SOME_FAILED if any(row["status"] == "failed" or row.get("incomplete") for row in rows) else EXIT_OK


def load_segmenter(arguments: argparse.Namespace) -> "Segmenter":
    """Load the models. Raises ModelError and UsageError, and TaskError for a task that does not exist."""
    from sonoseg.schema.task_files import load_draft, task_of

    requested = task_of(load_draft(arguments.task or "spine"))  # only its name, and whether it is one of SonoSeg's own

    from sonoseg.inference.segmenter import Segmenter, choose_device, first_use_remarks, read_models
    from sonoseg.models.engines.choose import EngineOptions

    models = arguments.model or [default_model(Workspace(arguments.workspace, requested.name), requested)]
    headers = read_models(models)
    elsewhere = runs_elsewhere(arguments)
    device = arguments.device if elsewhere else choose_device(arguments.device)
    threads = 1 if arguments.ray else arguments.jobs  # a process of Ray makes one image at a time
    options = EngineOptions(arguments.engine, device, threads, elsewhere)
    print_lines(first_use_remarks(headers, options))
    segmenter = Segmenter.from_models(headers, options, raw_masks=arguments.raw_masks, tta=arguments.tta)
    task = segmenter.task.name
    if task != requested.name and (arguments.task or not arguments.model):
        raise UsageError(f"{models[0]} was trained for task {task}, not {requested.name}; omit --task")
    return segmenter


def default_model(workspace: Workspace, requested: "Task") -> Path:
    """Return the model that was trained here, or else the one of the task that comes with SonoSeg, and say so."""
    from sonoseg.models.registry import shipped_model

    trained = workspace.best_model
    shipped = shipped_model(trained, requested)
    if not shipped:
        return trained
    origin = f"trained on {shipped.trained_on} ({shipped.licence})"
    print_lines([f"no {trained}: {shipped.name} {shipped.version}, which comes with SonoSeg, is used, {origin}"])
    return shipped.path


def list_images(arguments: argparse.Namespace, segmenter: "Segmenter", workspace: Workspace) -> "Inputs":
    """Return the images of the folder, or of the test split without one."""
    from sonoseg.inference.sources import from_folder, from_test_split
    from sonoseg.inference.terminal import subfolder_remarks

    limits, folder = ReadLimits(arguments.max_pixels), arguments.images
    if folder:
        inputs = from_folder(folder, segmenter.task, spacing_options(arguments), limits, arguments.keep_frame)
        return replace(inputs, remarks=[*inputs.remarks, *subfolder_remarks(folder)])
    return from_test_split(workspace, segmenter.task.class_names)


def extra_outputs(arguments: argparse.Namespace, run: "InferenceRun") -> list["ToolAnnotations | DicomOutput"]:
    """Return what else is written of all images, after them."""
    task = run.segmenter.task
    extras: list[Any] = []
    if arguments.annotations:
        from sonoseg.inference.annotations import ToolAnnotations

        extras.append(ToolAnnotations(run.output, arguments.annotations, task, run.limits))
    if arguments.dicom:
        from sonoseg.dicom.output import DicomOutput

        extras.append(DicomOutput(run.output, task, run.limits))
    return extras


def claim(sources: Sequence["Source"], run: "InferenceRun", extras: Sequence["ToolAnnotations | DicomOutput"]) -> None:
    """Claim the files of a run, and begin changes. Raises DataError when one was not, or not so, written by stage 4."""
    from sonoseg.inference.results import claim_files, files_written

    class_names = run.segmenter.task.class_names
    files = [files_written(source, class_names, run.optional) for source in sources]
    claim_files(run.output, [INFERENCE_RECORD, RESULTS_TABLE, *chain(*files)])
    for extra in extras:
        extra.check(sources)
        run.output.claim(extra.files(sources))
    run.output.begin_changes()
    run.output.remove(INFERENCE_RECORD)


def spacing_options(arguments: argparse.Namespace) -> "SpacingOptions":
    from sonoseg.inference.sources import SpacingOptions

    return SpacingOptions(arguments.spacing, "--spacing", arguments.metadata)


def process(inputs: "Inputs", run: "InferenceRun", jobs: int) -> list["Row"]:
    """Process all images with a progress bar; return the rows of the table."""
    from sonoseg.inference.batch import process_images
    from sonoseg.inference.results import outdated_names, remove_results

    for name in outdated_names(run.output.folder, inputs.sources):  # frames that a file no longer has
        remove_results(run.output, name, run.segmenter.task.class_names)
    return list(progress_bar(process_images(inputs.sources, run, jobs), "segment", len(inputs.sources)))


def watch(arguments: argparse.Namespace, run: "InferenceRun") -> list["Row"]:
    """Process images as they arrive in the folder, until Ctrl-C or SIGTERM; return the rows of the table."""
    from sonoseg.inference.batch import process_images
    from sonoseg.inference.results import outdated_names, remove_results
    from sonoseg.inference.table import write_table
    from sonoseg.inference.terminal import watch_line
    from sonoseg.inference.watch import FolderWatch

    task = run.segmenter.task
    folder = FolderWatch(arguments.images, task, spacing_options(arguments), run.limits, arguments.keep_frame)
    with deferred_signals() as signals:
        for event in folder.events(signals):
            if event.problem:
                print_lines([f"{event.problem}; trying again"])
            readable = [source for source in folder.sources if not source.problem] if event.ready else []
            for name in [*event.outdated, *outdated_names(run.output.folder, readable)]:
                remove_results(run.output, name, task.class_names)
            rows = process_images(event.ready, run, arguments.jobs)
            for source, row in zip(event.ready, rows, strict=True):
                if folder.record(source, row):
                    print_lines([watch_line(row)])
            if event.is_last:
                write_table(run.output, folder.rows(), run.segmenter)
    return folder.rows(also_waiting=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 4; return the exit code, see `run_guarded`: 1 when some images failed."""
    return run_guarded(run_stage, argv)


if __name__ == "__main__":
    sys.exit(main())
