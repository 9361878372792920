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
"""Column -> value; also, not written: `reused`, whether the results are those of an earlier run; for the terminal
`region`, the number of the region where a frame has several, and `remark`, only where something happened to an image
that is no fault of it; and `incomplete`, only where other files of the image could not be written."""

STATUSES = ("ok", "check", "reject", "failed")


def result_row(source: Source, facts: Mapping[str, Any], reused: bool = False) -> Row:
    """Return the row of an image from its facts (`results.describe`)."""
    spacing = facts["spacing_mm"] or {"row": None, "col": None}
    return {
        **{name: facts[name] for name in ("image", "frame", "status", "width", "height", "spacing_from")},
        "name": source.name,
        "region": source.image.region_number,
        "reason": "; ".join(facts["reasons"]),
        "quality": facts["quality"],
        "row_mm": spacing["row"],
        "col_mm": spacing["col"],
        **facts["measurements"],
        **{f"{key}_low": low for key, (low, _) in facts["intervals"].items()},
        **{f"{key}_high": high for key, (_, high) in facts["intervals"].items()},
        **{f"{key}_spread": value for key, value in facts.get("spread", {}).items()},
        **{f"confidence_{name}": value for name, value in facts["confidence"].items()},
        "frames": facts.get("frames"),
        "reused": reused,
    }


def failed_row(source: Source, reason: str) -> Row:
    """Return the row of an image that could not be processed."""
    image, name = printable(source.path.name), printable(source.name)
    row = {"image": image, "frame": source.image.frame_number, "region": source.image.region_number, "name": name}
    return {**row, "status": "failed", "reason": printable(reason), "reused": False}


def write_table(output: OutputFolder, rows: Sequence[Mapping[str, Any]], segmenter: Segmenter) -> Path:
    """Write `results.csv`, with columns for the quantities and for each class; missing values are empty cells.

    A quantity of which the segmenter's models have intervals is followed by columns of their lower and upper end. Where
    a row is that of a loop, there is a column for the number of its frames, and one for the spread of each quantity.
    """
    has_loop = any(row.get("frames") for row in rows)
    columns = ["image", "frame", *(["frames"] if has_loop else []), "name", "status", "reason", "quality"]
    columns += ["width", "height", "row_mm", "col_mm", "spacing_from"]
    for key in (quantity.key for quantity in segmenter.task.quantities):
        columns += [key, f"{key}_low", f"{key}_high"] if key in segmenter.interval_keys else [key]
        columns += [f"{key}_spread"] if has_loop else []
    columns += [f"confidence_{name}" for name in segmenter.task.class_names]
    return output.write_csv(RESULTS_TABLE, columns, rows)
