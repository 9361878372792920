"""An evaluation as tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sonoseg.evaluation.summary import in_one_unit


def score_report(summary: Mapping[str, Any], part: str) -> list[Table | str]:
    """Return the tables of classes, measurements and shapes of an evaluation, and notes on its use, for a terminal."""
    tables = (_classes_table(summary, part), _measurements_table(summary), _shapes_table(summary))
    report: list[Table | str] = [table for table in tables if table.row_count]
    if "warning" in summary:
        report.append(f"note: {summary['warning']}")
    if summary.get("scored_before"):
        report.append(
            f"note: this test split has been scored {summary['scored_before'] + 1} times: "
            "a number chosen by looking at it is no longer untouched"
        )
    return [*report, "Not for clinical use."]


def _classes_table(summary: Mapping[str, Any], part: str) -> Table:
    unit = summary["distance_unit"]
    table = Table(
        title=f"{part}: {summary['images']} images of {summary['patients']} patients",
        caption=f"surface Dice: share of the outlines within {summary['surface_tolerance']:g} {unit}",
    )
    for column in ("class", "Dice,\n95 % interval", "IoU", "surface\nDice", f"HD95,\n{unit}", "missed", "false\nalarm"):
        table.add_column(column, justify="left" if column == "class" else "right")
    for name, scores in summary["classes"].items():
        table.add_row(
            name,
            f"{scores['dice']['mean']:.4f}{_interval(scores['dice']['interval_95'])}",
            f"{scores['iou']['mean']:.4f}",
            f"{scores['surface_dice']['mean']:.4f}",
            f"{scores['hd95']['mean']:.2f}",
            f"{scores['n_missed']} of {scores['n'] - scores['n_empty_reference']}",
            f"{scores['n_false_alarm']} of {scores['n_empty_reference']}",
        )
    return table


def _measurements_table(summary: Mapping[str, Any]) -> Table:
    table = Table(title="measurements: prediction against reference")
    for column in ("measurement", "mean absolute error", "median", "bias", "n", "missed"):
        table.add_column(column, justify="left" if column == "measurement" else "right")
    for key in in_one_unit(summary["measurements"]):
        entry = summary["measurements"][key]
        mean, bias = entry["mean_absolute_error"]["mean"], entry["bias"]["mean"]
        errors = (f"{mean:.2f}", f"{entry['median_absolute_error']:.2f}", f"{bias:+.2f}")
        table.add_row(key, *errors, str(entry["n"]), str(entry["n_missed"]))
    return table


def _shapes_table(summary: Mapping[str, Any]) -> Table:
    table = Table(title="shapes: distance from the reference's")
    for column in ("class", "error", "mean", "median", "n", "missed"):
        table.add_column(column, justify="left" if column in ("class", "error") else "right")
    for name, scores in summary["classes"].items():
        for key, entry in scores.get("shape_errors", {}).items():
            if entry["n"]:
                numbers = (f"{entry['mean']:.2f}", f"{entry['median']:.2f}", str(entry["n"]), str(entry["n_missed"]))
                table.add_row(name, key, *numbers)
    return table


def _interval(bounds: list[float] | None) -> str:
    """Return an interval as a second line of its cell, which fits a narrow terminal."""
    return f"\n{bounds[0]:.3f}\N{EN DASH}{bounds[1]:.3f}" if bounds else ""
