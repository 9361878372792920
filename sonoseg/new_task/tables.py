"""The table beside the images: which column has their names, which their patients, which the size of a pixel."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sonoseg.errors import DataError
from sonoseg.io.numbers import parse_number
from sonoseg.io.tables import read_table

LEAST_SHARE = 0.5
"""Part of the images that a table has to name."""
PLAUSIBLE_MM = (0.005, 2.0)
SPACING = re.compile(r"pixel|spacing|(^|[^a-z])mm([^a-z]|$)", re.IGNORECASE)
ROW, COLUMN = re.compile(r"row|height|(^|_)y($|_)", re.IGNORECASE), re.compile(r"col|width|(^|_)x($|_)", re.IGNORECASE)
PATIENT = re.compile(r"patient|subject|case|person|volunteer|(^|_)pid($|_)", re.IGNORECASE)


@dataclass(frozen=True)
class Table:
    """A table of the data folder. file: its path in the folder. image: column with the images' names. row_mm, col_mm:
    columns of the pixel's size, None when there are none. patients: candidates, the first one best: (column, number of
    patients). named: images that the table names.
    """

    file: str
    image: str
    named: int
    row_mm: str | None = None
    col_mm: str | None = None
    patients: tuple[tuple[str, int], ...] = ()


def find_table(folder: Path, images: Sequence[Path]) -> Table | None:
    """Return the table directly in a folder, or beside the images, that names most of the images; None without one."""
    places = sorted({folder, *(image.parent for image in images[:1])})
    paths = [path for place in places for path in sorted(place.iterdir()) if path.suffix.lower() in (".csv", ".tsv")]
    found = [table for path in paths if (table := _table(path, folder, images))]
    return max(found, key=lambda table: table.named, default=None)


def _table(path: Path, folder: Path, images: Sequence[Path]) -> Table | None:
    try:
        rows = [cells for _, cells in read_table(path, "a person")]
    except (DataError, OSError):
        return None
    if not rows:
        return None
    names = {image.name for image in images} | {image.stem for image in images}
    counts = {column: sum(cells[column] in names for cells in rows) for column in rows[0]}
    image = max(counts, key=lambda column: counts[column])
    if counts[image] < LEAST_SHARE * len(images):
        return None
    spacing = [column for column in rows[0] if SPACING.search(column) and _are_spacings([c[column] for c in rows])]
    row = next((column for column in spacing if ROW.search(column)), spacing[0] if spacing else None)
    col = next((column for column in spacing if COLUMN.search(column) and column != row), row)
    patients = [
        (column, len({cells[column] for cells in rows if cells[column]}))
        for column in rows[0]
        if column != image and PATIENT.search(column)
    ]
    return Table(path.relative_to(folder).as_posix(), image, counts[image], row, col, tuple(patients))


def _are_spacings(cells: Sequence[str]) -> bool:
    """Return whether the cells that are not empty, at least one, are plausible sizes of a pixel in millimetres."""
    try:
        values = [parse_number(cell.replace(",", ".")) for cell in cells if cell]
    except ValueError:
        return False
    return bool(values) and all(PLAUSIBLE_MM[0] <= value <= PLAUSIBLE_MM[1] for value in values)
