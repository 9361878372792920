"""The tables between the stages: `train_split.csv`, `test_split.csv` (stage 1) and `index.csv` (stage 2).

In the tables, files are named relative to the workspace's root, so that it can be moved; in memory, paths are absolute.
The columns `frame` and `region` count from 1, and are empty for files with a single picture, or a single region in
each frame; region 0 is the whole frame of a file with regions. Tables without these columns are read as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.names import relative_name
from sonoseg.io.numbers import parse_integer, parse_number
from sonoseg.io.tables import read_table
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.columns import AFTER_CLASSES, BEFORE_CLASSES
from sonoseg.sizes import Spacing

RUN_STAGE_1_AGAIN = "run stage 1 (train_test_data_preparation.py) again"
RUN_STAGE_2_AGAIN = "run stage 2 (image_preprocessing.py) again"


@dataclass(frozen=True)
class Sample:
    """An annotated image, as read by stage 1. `fold` is None in the test table, `spacing` when it is unknown."""

    id: str
    image: ImageRef
    mask: Path
    patient: str
    fold: int | None
    present: dict[str, bool]
    height: int
    width: int
    spacing: Spacing | None
    sha256: str
    mask_sha256: str
    reference: dict[str, float] = field(default_factory=dict)

    @property
    def part(self) -> str:
        """`test`, or `training, fold 2`."""
        return "test" if self.fold is None else f"training, fold {self.fold}"


@dataclass(frozen=True)
class Prepared:
    """An image ready for the network, as written by stage 2.

    augmentation: `none` for an original. frame: of the source file, from 0; None for a single picture.
    """

    id: str
    source_id: str
    patient: str
    fold: int | None
    image_path: Path
    mask_path: Path
    augmentation: str
    frame: int | None = None


def write_split(
    output: OutputFolder,
    path: Path,
    root: Path,
    samples: Sequence[Sample],
    classes: Sequence[str],
    references: Sequence[str] = (),
) -> None:
    """Write a split table; reference measurements go into columns `reference_<name>` at its end."""
    columns = [*BEFORE_CLASSES, *classes, *AFTER_CLASSES]
    columns += [f"reference_{name}" for name in references]
    output.write_csv(path, columns, (_split_row(sample, root, classes) for sample in samples))


def _split_row(sample: Sample, root: Path, classes: Sequence[str]) -> dict[str, Any]:
    row_mm, col_mm = sample.spacing or (None, None)
    return {
        **{name: getattr(sample, name) for name in ("id", "patient", "fold", "width", "height")},
        "image_path": relative_name(sample.image.path, root),
        **{"frame": sample.image.frame_number, "region": sample.image.region_number},
        "mask_path": relative_name(sample.mask, root),
        **{name: int(sample.present[name]) for name in classes},
        **{"row_mm": row_mm, "col_mm": col_mm, "sha256": sample.sha256, "mask_sha256": sample.mask_sha256},
        **{f"reference_{name}": value for name, value in sample.reference.items()},
    }


def read_split(path: Path, classes: Sequence[str], root: Path) -> list[Sample]:
    """Read a split table of the workspace at `root`.

    Raises DataError when it is missing, has other classes, or a cell cannot be read. Files are named after the ids: an
    id that is a path is such a cell.
    """
    rows = read_table(path, "stage 1")
    return [_parse(path, line, row, lambda row: _sample(row, root, classes), RUN_STAGE_1_AGAIN) for line, row in rows]


def _sample(row: dict[str, str], root: Path, classes: Sequence[str]) -> Sample:
    references = {
        name.removeprefix("reference_"): parse_number(value)
        for name, value in row.items()
        if name.startswith("reference_") and value
    }
    if row["id"] in ("", ".", "..") or set(row["id"]) & set("/\\\0"):
        raise ValueError(f"id {row['id']!r} cannot be the name of an image")
    return Sample(
        id=row["id"],
        image=ImageRef(root.absolute() / row["image_path"], _frame(row), _region(row)),
        mask=root.absolute() / row["mask_path"],
        patient=row["patient"],
        fold=parse_integer(row["fold"]) if row["fold"] else None,
        present={name: row[name] == "1" for name in classes},
        height=parse_integer(row["height"]),
        width=parse_integer(row["width"]),
        spacing=(parse_number(row["row_mm"]), parse_number(row["col_mm"])) if row["row_mm"] else None,
        sha256=row["sha256"],
        mask_sha256=row["mask_sha256"],
        reference=references,
    )


def _frame(row: dict[str, str]) -> int | None:
    """Return the frame from 0, None for a single picture. Raises ValueError for a number below 1."""
    if not row.get("frame"):
        return None
    number = parse_integer(row["frame"])
    if number < 1:
        raise ValueError(f"frame {number}; frames are counted from 1")
    return number - 1


def _region(row: dict[str, str]) -> int | None:
    """Return the region from 0, -1 (`WHOLE_FRAME`) for the whole frame; None for the only one, or without regions.

    Raises ValueError for a number below 0.
    """
    if not row.get("region"):
        return None
    number = parse_integer(row["region"])
    if number < 0:
        raise ValueError(f"region {number}; regions are counted from 1")
    return number - 1


INDEX_COLUMNS = ("id", "source_id", "frame", "patient", "fold", "image_path", "mask_path", "augmentation")


def write_index(output: OutputFolder, path: Path, root: Path, rows: Sequence[Prepared]) -> None:
    """Write the table of stage 2."""
    output.write_csv(path, INDEX_COLUMNS, (_index_row(row, root) for row in rows))


def _index_row(row: Prepared, root: Path) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in ("id", "source_id", "patient", "fold", "augmentation")},
        "frame": None if row.frame is None else row.frame + 1,
        **{"image_path": relative_name(row.image_path, root), "mask_path": relative_name(row.mask_path, root)},
    }


def read_index(path: Path, root: Path) -> list[Prepared]:
    """Read the table of stage 2 of the workspace at `root`. Raises DataError when it is missing or a cell is wrong."""
    rows = read_table(path, "stage 2")
    return [_parse(path, line, row, lambda row: _prepared(row, root), RUN_STAGE_2_AGAIN) for line, row in rows]


def _prepared(row: dict[str, str], root: Path) -> Prepared:
    return Prepared(
        **{name: row[name] for name in ("id", "source_id", "patient", "augmentation")},
        fold=parse_integer(row["fold"]) if row["fold"] else None,
        image_path=root.absolute() / row["image_path"],
        mask_path=root.absolute() / row["mask_path"],
        frame=_frame(row),
    )


def _parse(path: Path, line: int, row: dict[str, str], build: Any, remedy: str) -> Any:
    try:
        return build(row)
    except KeyError as error:
        raise DataError(
            f"{path}: no column {error.args[0]!r}; the table was made for another task or version; {remedy}"
        ) from None
    except ValueError as error:
        raise DataError(f"{path}, row {line}: {error}; {remedy}") from None
