"""What the model has found in a frame, from the files of stage 4: stills, and frames of loops."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tifffile

from sonoseg.annotations.shapes_json import KIND_OF
from sonoseg.errors import DataError
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.shapes import Shape, fit_shapes
from sonoseg.inference.cine.files import LoopFiles
from sonoseg.io.tables import read_table
from sonoseg.postprocess.gaps import full_masks
from sonoseg.review.results import Item
from sonoseg.schema.quantity import prefer_mm
from sonoseg.schema.task import Task
from sonoseg.sizes import Size, Spacing

Row = Mapping[str, str]


@dataclass(frozen=True)
class Prediction:
    """The result for one frame as its files have it; without a result everything is empty.

    size: (height, width), None when no file states it. spacing: as (row_mm, col_mm). values, intervals, notes,
    marks (between which two points a length was taken): by key of a measurement. annotated: what a person has drawn
    before, which is then what is to be reviewed.
    """

    shapes: list[Shape] = field(default_factory=list)
    size: Size | None = None
    spacing: Spacing | None = None
    spacing_from: str = "unknown"
    status: str = "waiting"
    quality: float | None = None
    reasons: list[str] = field(default_factory=list)
    values: dict[str, float | None] = field(default_factory=dict)
    intervals: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    marks: dict[str, list[list[float]]] = field(default_factory=dict)
    model_sha256: str = ""
    image_sha256: str = ""
    annotated: list[Shape] | None = None

    @property
    def reviewed(self) -> list[Shape]:
        """The shapes that a review begins with: the annotation where there is one, else the prediction."""
        return self.shapes if self.annotated is None else self.annotated


def of_record(record: Mapping[str, Any], task: Task) -> Prediction:
    """Return the prediction of a single image from its record (`inference.results.describe`); {}: an empty one.

    Raises DataError for a record with other contents than stage 4 writes.
    """
    if not record:
        return Prediction(status="failed")
    try:
        spacing = record.get("spacing_mm")
        return Prediction(
            shapes=[_shape(entry, task) for entry in record.get("shapes", ())],
            size=(int(record["height"]), int(record["width"])),
            spacing=(float(spacing["row"]), float(spacing["col"])) if spacing else None,
            spacing_from=str(record.get("spacing_from", "unknown")),
            status=str(record["status"]),
            quality=record.get("quality"),
            reasons=list(record.get("reasons") or ()),
            values=dict(record.get("measurements") or {}),
            intervals=dict(record.get("intervals") or {}),
            notes=dict(record.get("notes") or {}),
            marks={key: [[float(x), float(y)] for x, y in ends] for key, ends in (record.get("marks") or {}).items()},
            model_sha256=str(record.get("model_sha256", "")),
            image_sha256=image_sha256_of(record),
        )
    except (KeyError, TypeError, ValueError) as problem:
        found = f"{type(problem).__name__}: {problem}"
        raise DataError(f"the record of this image is damaged ({found}); segment it again") from None


def image_sha256_of(record: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the image file that a record was made from; empty where the record has none."""
    made_from = record.get("made_from")
    return str(made_from.get("image_sha256", "")) if isinstance(made_from, Mapping) else ""


def _shape(entry: Any, task: Task) -> Shape:
    name, word, points = entry
    kind = KIND_OF[word]
    if name not in task.class_names:
        raise ValueError(f"unknown structure {name}")
    return Shape(name, kind, SHAPE_KINDS[kind].read_points(points))


class LoopResult:
    """The results of a loop: a row of its table per frame, and a page of its label maps."""

    def __init__(self, folder: Path, item: Item, record: Mapping[str, Any]):
        """Raises DataError for a table that is missing or cannot be read."""
        files = LoopFiles.of(item.name)
        self.record, self._masks = record, folder / files.masks
        self.made = str(record.get("sha256", ""))
        self.rows: list[Row] = [row for _, row in read_table(folder / files.table, "inference.py")]

    @property
    def first(self) -> int:
        """The frame to begin with, from 1: the first of those that the summary was made from."""
        chosen = self.record.get("chosen_frames") or [1]
        return int(chosen[0]) if isinstance(chosen[0], int) and 1 <= chosen[0] <= len(self.rows) else 1

    def frame(self, number: int, task: Task) -> Prediction:
        """Return the prediction of a frame, from 1. Raises DataError for files that cannot be read."""
        whole = of_record({**self.record, "shapes": []}, task)
        if not 1 <= number <= len(self.rows):
            raise DataError(f"frame {number}; expected 1 to {len(self.rows)}")
        row = self.rows[number - 1]
        keys = [quantity.key for quantity in task.quantities]
        ends = {key: [_number(row.get(f"{key}_low")), _number(row.get(f"{key}_high"))] for key in keys}
        return Prediction(
            shapes=self._shapes(number, task, whole),
            size=whole.size,
            spacing=whole.spacing,
            spacing_from=whole.spacing_from,
            status=row.get("status", ""),
            quality=_number(row.get("quality")),
            reasons=list(filter(None, row.get("reason", "").split("; "))),
            values={key: _number(row.get(key)) for key in keys},
            intervals={key: [low, high] for key, (low, high) in ends.items() if low is not None and high is not None},
            model_sha256=whole.model_sha256,
            image_sha256=whole.image_sha256,
        )

    def _shapes(self, number: int, task: Task, whole: Prediction) -> list[Shape]:
        try:
            labels = tifffile.imread(self._masks, key=number - 1)
        except (OSError, ValueError, IndexError, tifffile.TiffFileError) as problem:
            raise DataError(f"{self._masks.name}, page {number}: {problem}; segment the loop again") from None
        if labels.shape != whole.size or labels.dtype != "uint8":
            raise DataError(f"{self._masks.name}, page {number}: not of the size of the loop; segment it again")
        masks = full_masks(labels, task.structures, task.postprocessing)
        pairs = zip(task.structures, masks, strict=True)
        return [one for each, mask in pairs for one in fit_shapes(mask, each.name, each.shape, whole.spacing)]

    def series(self, task: Task) -> dict[str, Any]:
        """Return the measurements over time: times in seconds (None when unknown), values, expected Dice."""
        times = [_number(row.get("time_s")) for row in self.rows]
        values = [{one.key: _number(row.get(one.key)) for one in task.quantities} for row in self.rows]
        return {
            "frames": len(self.rows),
            "seconds": None if None in times else times,
            "curves": curves(task, values),
            "quality": [_number(row.get("quality")) for row in self.rows],
        }


def curves(task: Task, frames: Sequence[Mapping[str, float | None]]) -> list[dict[str, Any]]:
    """Return the measurements that any frame has, over time; lengths and areas in pixels only where the spacing is
    unknown.

    frames: key -> value of each.
    """
    found = [one for one in task.quantities if any(values.get(one.key) is not None for values in frames)]
    return [
        {"key": one.key, "label": one.label, "unit": one.unit, "values": [values.get(one.key) for values in frames]}
        for one in prefer_mm(found)
    ]


def _number(text: str | None) -> float | None:
    with suppress(ValueError):
        return float(text) if text else None
    return None
