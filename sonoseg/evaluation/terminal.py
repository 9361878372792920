"""An evaluation as tables for the terminal."""

from typing import Any

from rich.table import Table

from sonoseg.evaluation.summary import in_one_unit
from sonoseg.runs.terminal import console


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
