"""The table `results.csv`: one row per image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import printable
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import RESULTS_TABLE

Row = dict[str, Any]
"""Column -> value; also, not written: `reused`, whether the results are those of an earlier run, for the terminal
`remark`, only where something happened to an image that is no fault of it, and `incomplete`, only where other files of
the image could not be written."""

STATUSES = ("ok", "check", "reject", "failed")


def result_row(source: Source, facts: Mapping[str, Any], reused: bool = False) -> Row:
    """Return the row of an image from its facts (`results.describe`)."""
    spacing = facts["spacing_mm"] or {"row": None, "col": None}
    return {
        **{name: facts[name] for name in ("image", "frame", "status", "width", "height", "spacing_from")},
        "name": source.name,
        "reason": "; ".join(facts["reasons"]),
        "quality": facts["quality"],
        "row_mm": spacing["row"],
        "col_mm": spacing["col"],
        **facts["measurements"],
        **{f"{key}_low": low for key, (low, _) in facts["intervals"].items()},
        **{f"{key}_high": high for key, (_, high) in facts["intervals"].items()},
        **{f"confidence_{name}": value for name, value in facts["confidence"].items()},
        "reused": reused,
    }


def failed_row(source: Source, reason: str) -> Row:
    """Return the row of an image that could not be processed."""
    image, name = printable(source.path.name), printable(source.name)
    row = {"image": image, "frame": source.image.frame_number, "name": name}
    return {**row, "status": "failed", "reason": printable(reason), "reused": False}


def write_table(output: OutputFolder, rows: Sequence[Mapping[str, Any]], segmenter: Segmenter) -> Path:
    """Write `results.csv`, with columns for the quantities and for each class; missing values are empty cells.

    A quantity of which the segmenter's models have intervals is followed by columns of their lower and upper end.
    """
    columns = ["image", "frame", "name", "status", "reason", "quality", "width", "height", "row_mm", "col_mm"]
    columns.append("spacing_from")
    for key in (quantity.key for quantity in segmenter.task.quantities):
        columns += [key, f"{key}_low", f"{key}_high"] if key in segmenter.interval_keys else [key]
    columns += [f"confidence_{name}" for name in segmenter.task.class_names]
    return output.write_csv(RESULTS_TABLE, columns, rows)
