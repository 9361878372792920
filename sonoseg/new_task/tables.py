"""The table beside the images: which column has their names, which their patients, which the size of a pixel."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sonoseg.errors import DataError, is_machine_error
from sonoseg.io.image_ref import stem_of
from sonoseg.io.names import is_inside
from sonoseg.io.numbers import parse_number
from sonoseg.io.tables import read_table
from sonoseg.new_task.contents import is_usable
from sonoseg.schema.annotations import UNITS_MM

LEAST_SHARE = 0.5
"""Part of the images that a table has to name."""
PLAUSIBLE_MM = (0.005, 2.0)
SPACING = re.compile(
    r"pixel|spacing|mm[ _/]*(per|/)?[ _]*px"
    r"|^(row|col|column|x|y|height|width)[ _]*(mm|cm|um)$|^(mm|cm|um)[ _]*(row|col|x|y)$",
    re.I,
)
"""Column of a pixel's size; a length in millimetres has a number of the same size."""
DENSITY = re.compile(r"(px|pixels?)[ _]*(per|/)[ _]*(mm|cm|inch)|dpi|ppi", re.I)
UNIT = re.compile(r"(?<![a-z])(mm|cm|um|µm|μm)(?![a-z])", re.I)
ROW, COLUMN = re.compile(r"row|height|(^|[ _])y($|[ _])", re.I), re.compile(r"col|width|(^|[ _])x($|[ _])", re.I)
PATIENT = re.compile(r"patient|subject|case|person|volunteer|(^|[ _])pid($|[ _])", re.I)
NO_PATIENT = re.compile(
    r"age|sex|gender|weight|height|size|bmi|date|type|class|diagnos|group|count|position|note", re.I
)
"""What a table says about a patient, without naming one."""


@dataclass(frozen=True)
class PatientColumn:
    """A column that may name patients. groups: patients it names; images: those of the folder that it has one for."""

    name: str
    groups: int
    images: int


@dataclass(frozen=True)
class Table:
    """A table of the data folder. file: its path in the folder. image: column with the images' names. row_mm, col_mm:
    columns of the pixel's size, None when there are none. unit: of these, empty where their names state none, which are
    taken as millimetres. patients: candidates, the first one best. named: images that
    the table names.
    """

    file: str
    image: str
    named: int
    row_mm: str | None = None
    col_mm: str | None = None
    unit: str = ""
    patients: tuple[PatientColumn, ...] = ()


def find_table(folder: Path, images: Sequence[Path]) -> Table | None:
    """Return the table directly in a folder, or beside the images, that names most of the images; None without one."""
    places = sorted({folder, *(image.parent for image in images[:1])})
    paths = [path for place in places for path in sorted(place.iterdir()) if path.suffix.lower() in (".csv", ".tsv")]
    paths = [path for path in paths if is_inside(path, folder) and is_usable(path.relative_to(folder).as_posix())]
    found = [table for path in paths if (table := _table(path, folder, images))]
    return max(found, key=lambda table: table.named, default=None)


def _table(path: Path, folder: Path, images: Sequence[Path]) -> Table | None:
    try:
        rows = [cells for _, cells in read_table(path, "a person")]
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        return None
    columns = [column for column in rows[0] if column and column.isprintable()] if rows else []
    if not columns:
        return None
    name_of = {name: image.name for image in images for name in (image.name, stem_of(image))}
    named = {column: {name_of[cells[column]] for cells in rows if cells[column] in name_of} for column in columns}
    image = max(columns, key=lambda column: len(named[column]))
    if len(named[image]) < LEAST_SHARE * len(images):
        return None
    rows = [cells for cells in rows if cells[image] in name_of]
    spacing = [column for column in columns if _is_spacing(column, [cells[column] for cells in rows])]
    row = next((column for column in spacing if ROW.search(column)), None)
    col = next((column for column in spacing if COLUMN.search(column) and column != row), None)
    if row is None or col is None or unit_of(row) != unit_of(col):  # one column for both, of pixels as high as wide
        row = col = next(iter(spacing), None)
    patients = [
        PatientColumn(column, len({cells[column] for cells in rows} - {""}), sum(bool(c[column]) for c in rows))
        for column in columns
        if column != image and PATIENT.search(column) and not NO_PATIENT.search(column)
    ]
    unit = unit_of(row or "")
    return Table(path.relative_to(folder).as_posix(), image, len(named[image]), row, col, unit, tuple(patients))


def unit_of(column: str) -> str:
    """Return the unit that a column's name states, a key of `UNITS_MM`; empty where it states none."""
    found = UNIT.search(column.replace("_", " "))
    return found[1].lower().replace("µ", "u").replace("μ", "u") if found else ""


def _is_spacing(column: str, cells: Sequence[str]) -> bool:
    """Return whether a column has sizes of pixels: by its name, and cells that are plausible, or empty but for one."""
    if not SPACING.search(column) or DENSITY.search(column):
        return False
    try:
        values = [parse_number(cell.replace(",", ".")) * UNITS_MM[unit_of(column) or "mm"] for cell in cells if cell]
    except ValueError:
        return False
    return bool(values) and all(PLAUSIBLE_MM[0] <= value <= PLAUSIBLE_MM[1] for value in values)
