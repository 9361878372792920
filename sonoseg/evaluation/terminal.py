"""Evaluations as tables for the terminal."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sonoseg.evaluation.cross_validation import FOLD_SCORES
from sonoseg.evaluation.intervals import interval_note
from sonoseg.evaluation.summary import WHERE_PRESENT, in_one_unit, notes_of


def score_report(summary: Mapping[str, Any], part: str) -> list[Table | str]:
    """Return the tables of classes, measurements and shapes of an evaluation, and notes on its use, for a terminal."""
    tables = (_classes_table(summary, part), _measurements_table(summary), _shapes_table(summary))
    report: list[Table | str] = [table for table in tables if table.row_count]
    report += [f"note: {note}" for note in notes_of(summary)]
    if "warning" in summary:
        report.append(f"note: {summary['warning']}")
    if summary.get("scored_before"):
        report.append(
            f"note: scoring number {summary['scored_before'] + 1} of this test split: scores are optimistic if "
            "settings were chosen after earlier ones"
        )
    if "quality" in summary:
        report.append(quality_line(summary["quality"]))
    return [*report, "Not for clinical use."]


def quality_line(quality: Mapping[str, Any]) -> str:
    """Return what the quality score did, from the entry `quality` of an evaluation."""
    rejected = f"{quality['rejected']} of {quality['images']} images rejected"
    failures = f"{quality['failures_rejected']} of {quality['failures']} with a Dice below {quality['failure_below']}"
    bad = f"{quality['accepted_below_acceptable']} accepted with a Dice below {quality['acceptable_dice']:.2f}"
    return f"quality score: {rejected}, {failures} among them; {bad}"


def cross_validation_report(result: Mapping[str, Any], ensemble: Mapping[str, Any] | None) -> list[Table | str]:
    """Return the tables of a cross-validation: the ensemble on the test split, unless that is empty, and the folds."""
    report = score_report(ensemble, "test, by the ensemble of all folds") if ensemble else []
    return [*report, folds_table(result)]


def folds_table(result: Mapping[str, Any]) -> Table:
    """Return the scores of `summarise_folds` as a table for the terminal."""
    whole, folds = result["out_of_fold"], result["folds"]
    title = f"cross-validation: mean ± standard deviation of {folds} folds"
    table = Table(caption=result["note"], title=f"{title}\n{whole['images']} images of {whole['patients']} patients")
    for column in (
        "class",
        "Dice",
        "where present",
        "IoU",
        "surface Dice",
        f"HD95, {result['distance_unit']}",
        "Dice of each fold",
    ):
        table.add_column(column, justify="left" if column == "class" else "right", overflow="fold")
    for name, scores in result["classes"].items():
        each = " ".join(f"{value:.3f}" for value in scores["dice"]["folds"])
        columns = ("dice", WHERE_PRESENT, *FOLD_SCORES[1:])
        table.add_row(name, *(_plus_minus(scores.get(score)) for score in columns), each)
    return table


def _classes_table(summary: Mapping[str, Any], part: str) -> Table:
    unit = summary["distance_unit"]
    table = Table(
        title=f"{part}: {summary['images']} images of {summary['patients']} patients",
        caption=f"{interval_note(scores['dice'] for scores in summary['classes'].values())}\n"
        f"surface Dice: share of the outlines within {summary['surface_tolerance']:g} {unit}",
    )
    columns = ["class", "Dice,\n95 %\ninterval", "Dice\nwhere\npresent", "IoU", "surface\nDice", f"HD95,\n{unit}"]
    for column in (*columns, "missed", "false\nalarm"):
        table.add_column(column, justify="left" if column == "class" else "right", overflow="fold")
    for name, scores in summary["classes"].items():
        table.add_row(
            name,
            f"{scores['dice']['mean']:.4f}{_interval(scores['dice']['interval_95'])}",
            _where_present(scores),
            f"{scores['iou']['mean']:.4f}",
            f"{scores['surface_dice']['mean']:.4f}",
            f"{scores['hd95']['mean']:.2f}",
            f"{scores['n_missed']} of {scores['n'] - scores['n_empty_reference']}",
            f"{scores['n_false_alarm']} of {scores['n_empty_reference']}",
        )
    return table


def _measurements_table(summary: Mapping[str, Any]) -> Table:
    table = Table(title="measurements: prediction against reference")
    for column in ("measurement", "mean\nabsolute\nerror", "median", "bias", "limits of\nagreement", "n", "missed"):
        table.add_column(column, justify="left" if column == "measurement" else "right")
    for key in in_one_unit(summary["measurements"]):
        entry = summary["measurements"][key]
        mean, bias = entry["mean_absolute_error"]["mean"], entry["bias"]["mean"]
        errors = (f"{mean:.2f}", f"{entry['median_absolute_error']:.2f}", f"{bias:+.2f}", _limits(entry))
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


def _where_present(scores: Mapping[str, Any]) -> str:
    """Return the Dice over the images that have the class; empty for none, and in evaluations of version 0.2."""
    present = scores.get(WHERE_PRESENT)
    return f"{present['mean']:.4f}" if present else ""


def _limits(entry: Mapping[str, Any]) -> str:
    low, high = entry["limits_of_agreement"]
    return "" if low is None else f"{low:+.2f} to\n{high:+.2f}"


def _plus_minus(spread: Mapping[str, Any] | None) -> str:
    """Return mean and standard deviation; empty for a class that no fold shows."""
    if spread is None:
        return ""
    deviation = spread["standard_deviation"]
    return f"{spread['mean']:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")
