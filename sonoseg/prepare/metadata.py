"""The metadata table beside the images: pixel spacing, patient, reference measurements. Stage 4 reads it as well."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sonoseg.annotations.base import AnnotatedImage
from sonoseg.errors import DataError, choices
from sonoseg.io.faults import FaultsError, error
from sonoseg.io.image_ref import UNKNOWN, stem_of
from sonoseg.io.names import patient_key, text_problem
from sonoseg.io.numbers import parse_number, shown
from sonoseg.io.readers import image_suffixes, is_image
from sonoseg.io.tables import delimiter_of, read_table
from sonoseg.schema.annotations import Metadata, Patients
from sonoseg.sizes import Spacing


@dataclass(frozen=True)
class ImageMetadata:
    """What is known about one image. None: neither the table nor the image file says.

    spacing_from: the table's file name, the field of the image file, or `UNKNOWN`. patient_known: False for an image
    that counts as a patient of its own because its patient is unknown.
    """

    spacing: Spacing | None = None
    patient: str | None = None
    reference: dict[str, float] = field(default_factory=dict)
    patient_known: bool = True
    spacing_from: str = UNKNOWN


def read_metadata(path: Path, metadata: Metadata, patients: Patients) -> dict[str, ImageMetadata]:
    """Return {image name as the table spells it: ImageMetadata}; look images up with `rows_of` or `meta_of`.

    Columns are those of the task's sections, or the standard ones (`image`, `row_mm`, `col_mm`) where the table has
    those instead; all but the image's may be missing, and an empty cell means unknown.
    Numbers may have a decimal comma unless commas separate the cells. Raises DataError when the table or its image
    column is missing, FaultsError with every row that names an image twice, or none, whose spacing or reference is not
    a finite number above 0, whose spacing is not plausible (`Metadata.spacing_range_mm`), or whose image or patient has
    control characters.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such table; expected a row per image with its pixel spacing")
    rows = read_table(path, "stage 1")
    with path.open("rb") as stream:
        decimal_comma = delimiter_of(stream.readline().decode("utf-8", errors="replace")) != ","
    columns = list(rows[0][1]) if rows else []
    metadata = _with_standard_columns(metadata, columns)
    if rows and metadata.image not in columns:
        names = choices(list(dict.fromkeys([repr(metadata.image), repr(Metadata().image)])))
        raise DataError(f"{path}: no column {names} with the images' names; it has {choices(columns)}")
    table: dict[str, ImageMetadata] = {}
    seen: dict[str, int] = {}
    faults = []
    for line, cells in rows:
        if not any(cells.values()):
            continue
        name = cells[metadata.image]
        try:
            _refuse_unprintable(cells, metadata.image, patients.table_column)
            _refuse_second(name, seen, line)
            table[name] = _meta(cells, metadata, patients.table_column, decimal_comma)
        except ValueError as problem:
            faults.append(error(f"{path.name}, row {line}", str(problem)))
    if faults:
        raise FaultsError(f"{path}: rows that cannot be used; correct or remove them", faults)
    return table


def _with_standard_columns(metadata: Metadata, columns: Sequence[str]) -> Metadata:
    """Return the section with the standard names of columns in place of those that a table does not have."""
    standard, update = Metadata(), dict[str, str]()
    if metadata.image not in columns and standard.image in columns:
        update["image"] = standard.image
    named, usual = {metadata.row_mm, metadata.col_mm}, {standard.row_mm, standard.col_mm}
    if not named & set(columns) and usual <= set(columns):
        update |= {"row_mm": standard.row_mm, "col_mm": standard.col_mm, "unit": standard.unit}
    return metadata.model_copy(update=update)


def rows_of(table: Mapping[str, ImageMetadata], items: Sequence[AnnotatedImage]) -> dict[str, ImageMetadata | None]:
    """Return {id: entry} of images, None for one without.

    An entry names the file, with or without the extension, and with the folders that it lies in where files of several
    folders have the same name: `train/001.png`, `train/001`, or the id `train_001`.
    """
    paths = {item.image.path for item in items}
    files = Counter(stem_of(path).strip() for path in paths)
    rows: dict[str, ImageMetadata | None] = {}
    for item in items:
        path, stem = item.image.path, stem_of(item.image.path)
        names = [item.folder + path.name, item.folder + stem, item.file_id] if item.folder else []
        row = next((table[name] for name in names if name in table), None)
        is_only = files[stem.strip()] == 1 or not item.folder
        rows[item.id] = meta_of(table, path) if row is None and is_only else row
    return rows


def meta_of(table: Mapping[str, ImageMetadata], image: Path) -> ImageMetadata | None:
    """Return an image's entry, found by its file name with or without the extension; None when there is none."""
    return table.get(image.name) or table.get(stem_of(image)) or table.get(stem_of(image).strip())


def _refuse_second(name: str, seen: dict[str, int], line: int) -> None:
    """Raise ValueError for a name that is empty or there already; `a` and `a.png` are one image, `a.jpg` is another."""
    if not name:
        raise ValueError("no image name")
    extension = Path(name).suffix if is_image(Path(name)) else ""
    stem = name.removesuffix(extension)
    for spelling in (name, stem) if extension else (name, *(name + suffix for suffix in image_suffixes())):
        if spelling in seen:
            raise ValueError(f"image {name!r} is already in row {seen[spelling]}")
    seen[name] = line


def _refuse_unprintable(cells: dict[str, str], *columns: str | None) -> None:
    for column in columns:
        problem = text_problem(cells.get(column or "", ""))
        if problem:
            raise ValueError(f"{problem} in {column}; remove it")


def _meta(cells: dict[str, str], columns: Metadata, patient_column: str | None, decimal_comma: bool) -> ImageMetadata:
    row, col = (_number(cells, column, decimal_comma) for column in (columns.row_mm, columns.col_mm))
    if (row is None) != (col is None):
        raise ValueError(f"only one of {columns.row_mm} and {columns.col_mm} is given; fill in both or neither")
    spacing = None
    if row is not None and col is not None:
        spacing = row * columns.unit_mm, col * columns.unit_mm
    if spacing and (problem := columns.spacing_problem(spacing)):
        raise ValueError(problem)
    reference = {name: _number(cells, column, decimal_comma) for name, column in columns.reference.items()}
    patient = cells.get(patient_column or "", "")
    return ImageMetadata(
        spacing=spacing,
        patient=patient if patient_key(patient) else None,
        reference={name: value for name, value in reference.items() if value is not None},
    )


def _number(cells: dict[str, str], column: str, decimal_comma: bool) -> float | None:
    """Return a cell's number, None when it is empty or there is no such column."""
    text = cells.get(column, "")
    if not text:
        return None
    try:
        value = parse_number(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        value = math.nan
    if not value > 0:
        raise ValueError(f"{column} is {shown(text)}; expected a number above 0, or an empty cell when it is not known")
    return value
