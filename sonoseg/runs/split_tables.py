"""The tables between the stages: `train_split.csv`, `test_split.csv` (stage 1) and `index.csv` (stage 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.io.tables import read_table
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.columns import AFTER_CLASSES, BEFORE_CLASSES
from sonoseg.sizes import Spacing


@dataclass(frozen=True)
class Sample:
    """One annotated image, as stage 1 found it. `fold` is None in the test table."""

    id: str
    image_path: str
    mask_path: str
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
    """One image ready for the network, as stage 2 wrote it. `augmentation` is `none` for an original."""

    id: str
    source_id: str
    patient: str
    fold: int | None
    image_path: str
    mask_path: str
    augmentation: str


def write_split(
    output: OutputFolder, path: Path, samples: Sequence[Sample], classes: Sequence[str], references: Sequence[str] = ()
) -> None:
    """Write a split table; reference measurements go into columns `reference_<name>` at its end."""
    columns = [*BEFORE_CLASSES, *classes, *AFTER_CLASSES]
    columns += [f"reference_{name}" for name in references]
    output.write_csv(path, columns, (_split_row(sample, classes) for sample in samples))


def _split_row(sample: Sample, classes: Sequence[str]) -> dict[str, Any]:
    row_mm, col_mm = sample.spacing or (None, None)
    return {
        **{name: getattr(sample, name) for name in ("id", "image_path", "mask_path", "patient", "fold")},
        **{name: int(sample.present[name]) for name in classes},
        **{"width": sample.width, "height": sample.height, "row_mm": row_mm, "col_mm": col_mm},
        **{"sha256": sample.sha256, "mask_sha256": sample.mask_sha256},
        **{f"reference_{name}": value for name, value in sample.reference.items()},
    }


def read_split(path: Path, classes: Sequence[str]) -> list[Sample]:
    """Read a split table. Raises DataError when it is missing, has other classes, or a cell cannot be read.

    Files are called after the ids: one that would lead out of their folder is such a cell.
    """
    return [_parse(path, line, row, lambda row: _sample(row, classes)) for line, row in read_table(path, "stage 1")]


def _sample(row: dict[str, str], classes: Sequence[str]) -> Sample:
    references = {
        name.removeprefix("reference_"): float(value)
        for name, value in row.items()
        if name.startswith("reference_") and value
    }
    if row["id"] in ("", ".", "..") or set(row["id"]) & set("/\\\0"):
        raise ValueError(f"id {row['id']!r} is no name of an image")
    return Sample(
        id=row["id"],
        image_path=row["image_path"],
        mask_path=row["mask_path"],
        patient=row["patient"],
        fold=int(row["fold"]) if row["fold"] else None,
        present={name: row[name] == "1" for name in classes},
        height=int(row["height"]),
        width=int(row["width"]),
        spacing=(float(row["row_mm"]), float(row["col_mm"])) if row["row_mm"] else None,
        sha256=row["sha256"],
        mask_sha256=row["mask_sha256"],
        reference=references,
    )


INDEX_COLUMNS = ("id", "source_id", "patient", "fold", "image_path", "mask_path", "augmentation")


def write_index(output: OutputFolder, path: Path, rows: Sequence[Prepared]) -> None:
    """Write stage 2's table."""
    output.write_csv(path, INDEX_COLUMNS, ({name: getattr(row, name) for name in INDEX_COLUMNS} for row in rows))


def read_index(path: Path) -> list[Prepared]:
    """Read stage 2's table. Raises DataError when it is missing or a cell cannot be read."""
    return [_parse(path, line, row, _prepared) for line, row in read_table(path, "stage 2")]


def _prepared(row: dict[str, str]) -> Prepared:
    cells = {name: row[name] for name in INDEX_COLUMNS if name != "fold"}
    return Prepared(**cells, fold=int(row["fold"]) if row["fold"] else None)


def _parse(path: Path, line: int, row: dict[str, str], build: Any) -> Any:
    try:
        return build(row)
    except KeyError as error:
        raise DataError(
            f"{path}: no column {error.args[0]!r}; the table was made for another task or version, run the stage again"
        ) from None
    except ValueError as error:
        raise DataError(f"{path}, row {line}: {error}; run the stage that writes it again") from None
