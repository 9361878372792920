"""What a person sees in the terminal while a network trains and when it has been scored."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn

from sonoseg.core.task import Task
from sonoseg.train.loop import Advance

console = Console(markup=False, highlight=False)


@contextmanager
def epoch_bar(title: str, steps: int, shown: bool = True) -> Iterator[Advance]:
    """Show a bar for one epoch that vanishes with it; yields what to call after each step."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        work = bar.add_task(title, total=steps)
        yield lambda: bar.advance(work)


def start_line(task: Task, network: nn.Module, training: int, validation: int, device: torch.device) -> str:
    """Return one line on what is about to be trained, and on how many images."""
    weights = sum(parameter.numel() for parameter in network.parameters()) / 1e6
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


def print_outcome(folder: Path, logs: Path, scored: bool) -> None:
    """Print where a finished run's files are."""
    console.print(f"model:  {folder / 'best_model.safetensors'}", soft_wrap=True)
    console.print(f"curves: {folder / 'curves.png'}", soft_wrap=True)
    scores = f"{folder / 'evaluation.json'}, per_case.csv" if scored else "none: the split has no test images"
    console.print(f"scores: {scores}", soft_wrap=True)
    console.print(f"watch:  tensorboard --logdir {logs}", soft_wrap=True)


def print_scores(summary: dict[str, Any], part: str) -> None:
    """Print the evaluation as two tables: classes and measurements."""
    classes = Table(title=f"{part}: {summary['images']} images of {summary['patients']} patients")
    for column in (
        "class",
        "Dice",
        "95 % interval",
        "IoU",
        f"HD95, {summary['distance_unit']}",
        "missed",
        "false alarm",
    ):
        classes.add_column(column, justify="left" if column == "class" else "right")
    for name, one in summary["classes"].items():
        classes.add_row(
            name,
            f"{one['dice']['mean']:.4f}",
            _interval(one["dice"]["interval_95"]),
            f"{one['iou']['mean']:.4f}",
            f"{one['hd95']['mean']:.2f}",
            f"{one['n_missed']} of {one['n'] - one['n_empty_reference']}",
            f"{one['n_false_alarm']} of {one['n_empty_reference']}",
        )
    console.print(classes)
    measured = Table(title="measurements: prediction against reference")
    for column in ("measurement", "mean absolute error", "bias", "n", "missed"):
        measured.add_column(column, justify="left" if column == "measurement" else "right")
    millimetres = {name for name, one in summary["measurements"].items() if one["n"] and name.endswith("_mm")}
    for name, one in summary["measurements"].items():
        # In millimetres and again in pixels would be twice the same.
        if one["n"] and name.removesuffix("_px") + "_mm" not in millimetres - {name}:
            error, bias = one["mean_absolute_error"]["mean"], one["bias"]["mean"]
            measured.add_row(name, f"{error:.2f}", f"{bias:+.2f}", str(one["n"]), str(one["n_missed"]))
    if measured.row_count:
        console.print(measured)
    if "warning" in summary:
        console.print(f"note: {summary['warning']}")
    console.print("Not for clinical use.")


def _interval(bounds: list[float] | None) -> str:
    return f"{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else ""
