"""Stage 4: segment a folder of new images, measure what is found, and write masks, overlays and a table."""

import argparse
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sonoseg.errors import UsageError
from sonoseg.models.engines import NAMES as ENGINES
from sonoseg.runs.command_line import EXIT_OK, EXIT_SOME_FAILED, number_type, run_guarded, stage_parser
from sonoseg.runs.lock import locked
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task_files import load_task
from sonoseg.types import Spacing

if TYPE_CHECKING:  # they take a second to import, which --help has not
    from sonoseg.inference.segmenter import Segmenter
    from sonoseg.inference.sources import Source

Row = Mapping[str, Any]
Segment = Callable[[Sequence["Source"]], Iterator[Row]]
SETTINGS = ("images", "model", "metadata", "spacing", "device", "engine", "jobs", "watch")
"""Flags that `run.json` repeats."""
SHOWN = 10
"""Failed and flagged images that are named in the terminal; the table has them all."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = stage_parser(__doc__)
    images = parser.add_argument("--images", type=Path, help="folder of images (default: originals of the test split)")
    model = parser.add_argument(
        "--model",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="a model, or several, or a folder of them, whose probabilities are averaged; all else is as the first "
        "model's task says (default: Models/<task>/best_model.safetensors)",
    )
    output = parser.add_argument("--output", type=Path, help="folder of the results (default: result/<task>)")
    spacing = parser.add_argument("--spacing", type=float, nargs="+", metavar="MM", help="mm per pixel: ROW [COL]")
    metadata = parser.add_argument("--metadata", type=Path, help="table of spacings (default: one beside the images)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where the network runs")
    parser.add_argument(
        "--engine",
        choices=("auto", *ENGINES),
        default="auto",
        help="what computes the network; auto: the fastest one here that agrees with torch, found out once per model",
    )
    parser.add_argument(
        "--jobs", type=number_type(int, 1), default=os.cpu_count() or 1, help="images that are worked on side by side"
    )
    parser.add_argument("--watch", action="store_true", help="go on with what comes into --images, until Ctrl-C")
    parser.add_argument("--heatmap", action="store_true", help="also draw the probability of each class")
    empty = argparse.Namespace(task=None)  # --task stays None when it is not given: --model may bring its own task
    for option in (images, model, output, spacing, metadata):
        option.default = argparse.SUPPRESS  # keeps "(default: None)" out of the help
        setattr(empty, option.dest, None)
    arguments = parser.parse_args(argv, empty)
    if (arguments.spacing or arguments.metadata or arguments.watch) and not arguments.images:
        raise UsageError("--spacing, --metadata and --watch belong to --images: name the folder of images as well")
    if arguments.spacing and arguments.metadata:
        raise UsageError("--spacing and --metadata both give the pixel size; use one of them")
    if arguments.images and not arguments.images.is_dir():
        raise UsageError(f"{arguments.images}: no such folder; --images names a folder of pictures")
    arguments.spacing = spacing_of(arguments.spacing)
    return arguments


def spacing_of(values: Sequence[float] | None) -> Spacing | None:
    """Return (row_mm, col_mm) from one or two numbers. Raises UsageError for anything but sizes above 0."""
    if values is None:
        return None
    if len(values) > 2 or not all(math.isfinite(value) and value > 0 for value in values):
        raise UsageError(f"--spacing {' '.join(map(str, values))}: expected one or two numbers above 0, mm per pixel")
    return values[0], values[-1]


def story(argv: Sequence[str] | None) -> int:
    arguments = parse(argv)
    asked = load_task(arguments.task or "spine")
    models = arguments.model or [Workspace(arguments.workspace, asked.name).best_model]

    from sonoseg.inference.batch import segment_all
    from sonoseg.inference.results import write_run, write_table
    from sonoseg.inference.resume import fingerprint
    from sonoseg.inference.segmenter import Segmenter
    from sonoseg.inference.sources import check_apart

    segmenter = Segmenter.load(
        models, device=arguments.device, engine=arguments.engine, callers=arguments.jobs, say=print
    )
    task = segmenter.task  # from here on the model says what the task is
    if task.name != asked.name and (arguments.task or not arguments.model):
        raise UsageError(f"{models[0]} was trained for task {task.name}, not {asked.name}; leave --task out")
    workspace = Workspace(arguments.workspace, task.name)
    results = arguments.output or workspace.results
    if arguments.images:
        check_apart(arguments.images, results)

    heatmap = arguments.heatmap or task.review.heatmap
    by = fingerprint(segmenter, heatmap)

    output = OutputFolder(results, "stage4")

    def segment(sources: Sequence["Source"]) -> Iterator[Row]:
        return segment_all(sources, segmenter, output, heatmap, arguments.jobs, by)

    if arguments.watch:
        work = watched(arguments, segmenter, output, segment)
    else:
        work = whole_folder(arguments, segmenter, workspace, segment)
    with locked(results) as remarks, output:
        for remark in remarks:
            print(remark)
        output.begin_changes()
        output.remove("run.json")
        started = time.monotonic()
        rows = work()
        seconds = time.monotonic() - started
        write_table(output, rows, task)
        settings = {name: _plain(getattr(arguments, name)) for name in SETTINGS}
        write_run(output, rows, segmenter, {**settings, "heatmap": heatmap}, seconds, arguments.command)
        output.keep_earlier()  # of other images, in the same folder
    earlier = sum("earlier" in row for row in rows)
    if earlier:
        print(f"{earlier} of them finished by an earlier run with this model and these settings; they stay as they are")
    return report(rows, results, None if arguments.watch else seconds)


def whole_folder(
    arguments: argparse.Namespace, segmenter: "Segmenter", workspace: Workspace, segment: Segment
) -> Callable[[], list[Row]]:
    """Find the images of this run and say what they are; return what segments them, under a progress bar."""
    from rich.progress import track

    from sonoseg.inference.sources import from_folder, from_test_split

    if arguments.images:
        inputs = from_folder(arguments.images, segmenter.task, arguments.spacing, arguments.metadata)
    else:
        inputs = from_test_split(workspace, segmenter.task)
    introduce(f"{len(inputs.sources)} images", segmenter, inputs.remarks)
    return lambda: list(track(segment(inputs.sources), "segment", total=len(inputs.sources)))


def watched(
    arguments: argparse.Namespace, segmenter: "Segmenter", output: OutputFolder, segment: Segment
) -> Callable[[], list[Row]]:
    """Return what segments the images of a folder as they come, keeping the table up to date."""
    from sonoseg.inference.results import remove_results, write_table
    from sonoseg.inference.sources import from_folder
    from sonoseg.inference.watch import watch

    task = segmenter.task
    introduce(f"watching {arguments.images}, Ctrl-C ends it", segmenter, ())
    return lambda: watch(
        look=lambda: from_folder(arguments.images, task, arguments.spacing, arguments.metadata),
        segment=segment,
        forget=lambda name: remove_results(output, name, task),
        keep=lambda rows: write_table(output, rows, task),
        say=print,
    )


def introduce(images: str, segmenter: "Segmenter", remarks: Sequence[str]) -> None:
    """Print what is segmented by what, and what a person should know about it."""
    from sonoseg.inference.text import model_line

    print(f"{images}, {model_line(segmenter)}")
    of_engines = [remark for one in segmenter.members for remark in one.engine.remarks]
    print("".join(f"  {remark}\n" for remark in dict.fromkeys([*of_engines, *remarks])), end="", flush=True)


def report(rows: Sequence[Row], output: Path, seconds: float | None) -> int:
    """Print the counts, the first images a person should look at, and where the results are; return the exit code."""
    from sonoseg.inference.text import row_line

    count = Counter(row["status"] for row in rows)
    rate = "" if seconds is None else f"; {seconds / len(rows):.2f} s an image"
    print(f"{count['ok']} ok, {count['flagged']} flagged, {count['failed']} failed{rate}")
    to_see = [row for status in ("failed", "flagged") for row in rows if row["status"] == status]
    for row in to_see[:SHOWN]:
        print(f"  {row_line(row)}")
    if len(to_see) > SHOWN:
        print(f"  ... and {len(to_see) - SHOWN} more in results.csv")
    print(f"written to {output}; not for clinical use")
    return EXIT_SOME_FAILED if count["failed"] else EXIT_OK


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def main(argv: Sequence[str] | None = None) -> int:
    """Run stage 4; return 0 when every image was segmented, 1 when some failed, 2 for wrong use."""
    return run_guarded(story, argv)


if __name__ == "__main__":
    sys.exit(main())
