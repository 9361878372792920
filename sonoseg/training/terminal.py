"""What a person sees in the terminal while a network trains and when it has been scored."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from sonoseg.evaluation.cases import in_one_unit
from sonoseg.runs.workspace import BEST_MODEL
from sonoseg.schema.task import Task
from sonoseg.training.loop import Advance
from sonoseg.training.setup import Parts

console = Console(markup=False, highlight=False)


@contextmanager
def epoch_bar(title: str, steps: int, shown: bool = True, done: int = 0) -> Iterator[Advance]:
    """Show a bar for one epoch that vanishes with it, `done` steps full; yields what to call after each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        work = bar.add_task(title, total=steps, completed=done)
        yield lambda: bar.advance(work)


def start_line(task: Task, parts: Parts, device: torch.device) -> str:
    """Return one line on what is about to be trained, and on how many images."""
    weights = sum(parameter.numel() for parameter in parts.network.parameters()) / 1e6
    training, validation = len(parts.training.dataset), len(parts.validation.dataset)
    size = "x".join(map(str, task.input.size))
    return (
        f"{task.name}: {training} training and {validation} validation images of {size} pixels, "
        f"{task.network.name} with {weights:.2f} M weights on {device}"
    )


def epoch_line(epoch: int, epochs: int, scalars: dict[str, float], task: Task, is_best: bool) -> str:
    """Return one line for a finished epoch (from 1)."""
    dice = "  ".join(f"{name} {scalars[f'dice/{name}']:.3f}" for name in task.class_names)
    boundary = f"  hausdorff weight {weight:.2f}" if (weight := scalars["schedule/hausdorff_weight"]) else ""
    return (
        f"epoch {epoch:3d}/{epochs}  loss {scalars['loss/total']:.4f}  "
        f"validation Dice {scalars['dice/mean']:.4f}  ({dice}){boundary}  "
        f"{scalars['time/epoch_s']:.0f} s{'  best so far' if is_best else ''}"
    )


def print_outcome(folder: Path, logs: Path) -> None:
    """Print where a finished run's files are."""
    files = {"model": BEST_MODEL, "curves": "curves.png", "scores": "evaluation.html", "card": "MODEL_CARD.md"}
    files |= {"folds": "cross_validation.json", "as one": "ensemble/evaluation.html"}
    for what, name in files.items():
        if (folder / name).is_file():
            console.print(f"{what + ':':8}{folder / name}", soft_wrap=True)
    console.print(f"watch:  tensorboard --logdir {logs}", soft_wrap=True)


def print_scores(summary: dict[str, Any], part: str) -> None:
    """Print the evaluation as tables of classes, measurements and shapes, and what one should know of it."""
    console.print(_classes_table(summary, part))
    for table in (_measurements_table(summary), _shapes_table(summary)):
        if table.row_count:
            console.print(table)
    if "warning" in summary:
        console.print(f"note: {summary['warning']}")
    if summary.get("scored_before"):
        console.print(
            f"note: this test split has been scored {summary['scored_before'] + 1} times: "
            "a number chosen by looking at it is no longer untouched"
        )
    console.print("Not for clinical use.")


def _classes_table(summary: dict[str, Any], part: str) -> Table:
    unit = summary["distance_unit"]
    table = Table(
        title=f"{part}: {summary['images']} images of {summary['patients']} patients",
        caption=f"surface Dice: share of the outlines within {summary['surface_tolerance']:g} {unit}",
    )
    for column in ("class", "Dice,\n95 % interval", "IoU", "surface\nDice", f"HD95,\n{unit}", "missed", "false\nalarm"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, one in summary["classes"].items():
        table.add_row(
            name,
            f"{one['dice']['mean']:.4f}{_interval(one['dice']['interval_95'])}",
            f"{one['iou']['mean']:.4f}",
            f"{one['surface_dice']['mean']:.4f}",
            f"{one['hd95']['mean']:.2f}",
            f"{one['n_missed']} of {one['n'] - one['n_empty_reference']}",
            f"{one['n_false_alarm']} of {one['n_empty_reference']}",
        )
    return table


def _measurements_table(summary: dict[str, Any]) -> Table:
    table = Table(title="measurements: prediction against reference")
    for column in ("measurement", "mean absolute error", "median", "bias", "n", "missed"):
        table.add_column(column, justify="left" if column == "measurement" else "right")
    for name in in_one_unit(summary["measurements"]):
        one = summary["measurements"][name]
        mean, bias = one["mean_absolute_error"]["mean"], one["bias"]["mean"]
        errors = (f"{mean:.2f}", f"{one['median_absolute_error']:.2f}", f"{bias:+.2f}")
        table.add_row(name, *errors, str(one["n"]), str(one["n_missed"]))
    return table


def _shapes_table(summary: dict[str, Any]) -> Table:
    table = Table(title="shapes: distance from the reference's")
    for column in ("class", "error", "mean", "median", "n", "missed"):
        table.add_column(column, justify="left" if column in ("class", "error") else "right")
    for name, scores in summary["classes"].items():
        for error, one in scores.get("shape_errors", {}).items():
            if one["n"]:
                numbers = (f"{one['mean']:.2f}", f"{one['median']:.2f}", str(one["n"]), str(one["n_missed"]))
                table.add_row(name, error, *numbers)
    return table


def _interval(bounds: list[float] | None) -> str:
    """Return an interval as a second line of its cell: beside the value it would not fit on a narrow terminal."""
    return f"\n{bounds[0]:.3f}\N{EN DASH}{bounds[1]:.3f}" if bounds else ""
