"""`sonoseg suggest`: which images to label next."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sonoseg.errors import UsageError, printable
from sonoseg.runs.checkout import default_workspace
from sonoseg.runs.command_line import EXIT_OK, number_type, path_type
from sonoseg.runs.terminal import progress_bar
from sonoseg.runs.workspace import SUGGESTED_FOLDER, Workspace


def add(commands: Any) -> None:
    """Add the command and its flags."""
    purpose = "choose the images of a folder that are worth labelling next"
    suggest = commands.add_parser("suggest", help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
    suggest.add_argument("folder", metavar="FOLDER", type=path_type, help="folder of unlabelled images")
    suggest.add_argument("--task", required=True, help="task whose model is used: name or task file")
    suggest.add_argument(
        "--model", type=path_type, nargs="+", metavar="FILE", help="model, or several (default: the task's)"
    )
    suggest.add_argument("--count", type=number_type(int, 1, 10_000), default=20, help="images to choose (default: 20)")
    suggest.add_argument("--output", type=path_type, help="folder of list and contact sheet (default: see below)")
    suggest.add_argument(
        "--workspace", type=path_type, default=default_workspace(), help="folder that contains Models/"
    )
    suggest.epilog = "The default output is result/<task>/suggested in the workspace."
    suggest.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Choose images, write the list and the contact sheet, and print them."""
    from sonoseg.inference.segmenter import read_models
    from sonoseg.models.registry import shipped_model
    from sonoseg.review.learning.suggest import suggest, write_suggestion
    from sonoseg.schema.task_files import load_draft, task_of

    requested = task_of(load_draft(arguments.task))
    workspace = Workspace(arguments.workspace, requested.name)
    shipped = shipped_model(workspace.best_model, requested)
    models: list[Path | str] = list(arguments.model or [shipped.path if shipped else workspace.best_model])

    def progress(images: Iterator[Any], total: int) -> Iterator[Any]:
        return iter(progress_bar(images, "look at", total))

    task = read_models(models)[0].task
    if task.name != requested.name:
        raise UsageError(f"{models[0]} was trained for task {task.name}, not {requested.name}; name that task")
    found = suggest(arguments.folder, models, workspace, int(arguments.count), progress)
    written = write_suggestion(found, arguments.output or workspace.results / SUGGESTED_FOLDER)
    for rank, one in enumerate(found.chosen, start=1):
        what = "expected Dice" if one.findings.quality is not None else "confidence"
        print(printable(f"{rank:3}  {one.source.path.name}  {what} {one.expected:.2f}"))
    for line in [*found.remarks, *(f"written: {path}" for path in written)]:
        print(printable(line))
    return EXIT_OK
