"""The images of an archive: the files of a folder and its sub-folders, or those that a list names, one after another.

Nothing is kept in memory but the names of one folder, so that there may be any number of files.
"""

import csv
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.annotations import FORMATS
from sonoseg.archive.libraries import parquet_library
from sonoseg.errors import DataError, choices, is_machine_error
from sonoseg.inference.sources import UNSUPPORTED_SUFFIXES, SpacingOptions
from sonoseg.io.image_ref import UNKNOWN
from sonoseg.io.numbers import parse_number
from sonoseg.io.readers import is_image
from sonoseg.io.readers.opening import files_of
from sonoseg.io.tables import delimiter_of, unescape_cell
from sonoseg.prepare.metadata import ImageMetadata, meta_of, read_metadata
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing

_IMAGE, _ROW_MM, _COL_MM = "image", "row_mm", "col_mm"
"""Columns of a list."""
_BATCH_ROWS = 4096
"""Rows of a Parquet list that are in memory."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A file, with all its frames: what is segmented by one process, one frame after another.

    name: its path relative to `Archive.root`, or as a list spells it, with `/`. size, mtime_ns: bytes and modification
    time, by which a change is noticed; -1 for a file that is not there, and the sums over both files of an image whose
    MetaImage header names one for its values. spacing, spacing_from: given from outside, else None. problem: why the
    list's entry cannot be used.
    """

    name: str
    size: int
    mtime_ns: int
    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN
    problem: str = ""


@dataclass(frozen=True)
class Archive:
    """The images of a run: `names` yields (name, spacing, where it comes from, problem) of each file, in stable order.

    root: absolute path of the folder to which the names are relative. is_searched: whether all of it is searched for
    images.
    """

    root: Path
    names: Callable[[], Iterator[tuple[str, Spacing | None, str, str]]]
    is_searched: bool = False

    def units(self) -> Iterator[Unit]:
        """Yield the files. Raises DataError for a list that cannot be read, and OSError for a folder."""
        for name, spacing, spacing_from, problem in self.names():
            try:
                states = [os.stat(file) for file in files_of(self.root / name)]
                size, mtime_ns = sum(each.st_size for each in states), sum(each.st_mtime_ns for each in states)
            except (OSError, ValueError) as error:
                if is_machine_error(error):
                    raise
                size = mtime_ns = -1
            yield Unit(name, size, mtime_ns, spacing, spacing_from, problem)

    def count(self) -> int:
        """Return the number of files, without opening those that have the suffix of an image."""
        return sum(1 for _ in self.names())


def open_archive(images: Path, task: Task, given: SpacingOptions) -> Archive:
    """Return the images of a folder, with its sub-folders, or of a list (.txt, .csv, .parquet).

    Masks and annotations among the images of a folder are left out as in `inference.sources.from_folder`. A spacing
    that is `given`, from a table also, takes precedence over that of a list; a table names files of sub-folders by
    their path relative to `images`. Raises DataError for a path that is neither, and for a table that cannot be read.
    """
    if images.is_dir():
        return _folder(images, task, given)
    reader = _LISTS.get(images.suffix.lower())
    if reader is None or not images.is_file():
        found = "no such folder or list" if not images.exists() else "neither a folder nor a list"
        raise DataError(f"{found}; expected a folder of images, or a list in {choices(list(_LISTS))}", images)

    def names() -> Iterator[tuple[str, Spacing | None, str, str]]:
        for name, row_mm, col_mm in reader(images):
            if given.spacing:
                yield name, given.spacing, given.spacing_from, ""
                continue
            try:
                spacing = _spacing(row_mm, col_mm, task)
            except ValueError as problem:
                yield name, None, UNKNOWN, f"{images.name}: {problem}"
            else:
                yield name, spacing, images.name if spacing else UNKNOWN, ""

    return Archive(images.resolve().parent, names)


def _folder(folder: Path, task: Task, given: SpacingOptions) -> Archive:
    root, annotations = folder.resolve(), FORMATS[task.annotations.format]
    table: dict[str, ImageMetadata] = {}
    candidates = dict.fromkeys((task.metadata.file, "metadata.csv"))
    path = given.metadata or next((root / name for name in candidates if (root / name).is_file()), None)
    if path and not given.spacing:
        table = read_metadata(path, task.metadata, task.patients)

    def wanted(file: Path) -> bool:
        if annotations.is_annotation(file, task.annotations) or not file.is_file():
            return False
        hidden = file.name.startswith(".")
        return is_image(file) or (file.suffix.lower() in UNSUPPORTED_SUFFIXES and not hidden)

    def names() -> Iterator[tuple[str, Spacing | None, str, str]]:
        for name in walk(root, wanted):
            if given.spacing:
                yield name, given.spacing, given.spacing_from, ""
                continue
            known = table.get(name) or (None if "/" in name else meta_of(table, Path(name)))
            spacing = known.spacing if known else None
            yield name, spacing, path.name if path and spacing else UNKNOWN, ""

    return Archive(root, names, is_searched=True)


def walk(root: Path, wanted: Callable[[Path], bool], below: str = "") -> Iterator[str]:
    """Yield the paths of the wanted files below `root`, relative to it and with `/`, sorted in each folder.

    Hidden folders are left out, and links to folders, which may lead back. Raises OSError.
    """
    with os.scandir(root / below) as entries:
        found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    for name, is_folder in found:
        path = f"{below}/{name}" if below else name
        if is_folder:
            if not name.startswith("."):
                yield from walk(root, wanted, path)
        elif wanted(root / path):
            yield path


_Entry = tuple[str, Any, Any]


def _text_list(path: Path) -> Iterator[_Entry]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline=None) as lines:
        for line in lines:
            if name := line.rstrip("\r\n").strip():
                yield _spelled(name, path), "", ""


def _csv_list(path: Path) -> Iterator[_Entry]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        header = stream.readline()
        delimiter = delimiter_of(header)
        columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter), [])]
        places = [columns.index(name) if name in columns else None for name in (_IMAGE, _ROW_MM, _COL_MM)]
        if places[0] is None:
            raise DataError(f"no column {_IMAGE!r}; it has {choices(columns)}", path)
        try:
            for cells in csv.reader(stream, delimiter=delimiter, skipinitialspace=True):
                texts = ["" if at is None or at >= len(cells) else cells[at].strip() for at in places]
                spacing = [text.replace(",", ".") if delimiter != "," else text for text in texts[1:]]
                if texts[0]:
                    yield _spelled(unescape_cell(texts[0]), path), spacing[0], spacing[1]
        except csv.Error as error:
            raise DataError(f"{error}; is it a text table?", path) from None


def _spelled(name: str, path: Path) -> str:
    """Return the name of an image in a list, in Windows-1252 where it is not UTF-8 and no file has just these bytes."""
    if name.isascii() or os.path.lexists(path.parent / name):
        return name
    data = name.encode("utf-8", "surrogateescape")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _parquet_list(path: Path) -> Iterator[_Entry]:
    parquet = parquet_library()
    try:
        file = parquet.ParquetFile(path)
        names = [name for name in (_IMAGE, _ROW_MM, _COL_MM) if name in file.schema_arrow.names]
        if _IMAGE not in names:
            raise DataError(f"no column {_IMAGE!r}; it has {choices(file.schema_arrow.names)}", path)
        for batch in file.iter_batches(_BATCH_ROWS, columns=names):
            for row in batch.to_pylist():
                if row[_IMAGE]:
                    yield str(row[_IMAGE]), row.get(_ROW_MM), row.get(_COL_MM)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError) or is_machine_error(error):
            raise
        raise DataError(f"not a readable Parquet file ({error}); write the list again", path) from error


_LISTS: dict[str, Callable[[Path], Iterator[_Entry]]] = {
    ".txt": _text_list,
    ".csv": _csv_list,
    ".parquet": _parquet_list,
}


def _spacing(row_mm: Any, col_mm: Any, task: Task) -> Spacing | None:
    """Return the spacing of a list's row, None for empty cells. Raises ValueError."""
    cells = [None if cell in ("", None) else cell for cell in (row_mm, col_mm)]
    if cells == [None, None]:
        return None
    if None in cells:
        raise ValueError(f"only one of {_ROW_MM} and {_COL_MM} is given; fill in both or neither")
    row, col = (parse_number(str(cell)) for cell in cells)
    if min(row, col) <= 0:
        raise ValueError(f"{_ROW_MM} and {_COL_MM} are {row:g} and {col:g}; expected numbers above 0")
    if problem := task.metadata.spacing_problem((row, col)):
        raise ValueError(problem)
    return row, col
