"""Tables of text cells in CSV files, also as spreadsheet programs save them."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.io.files import write_text


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a table atomically; see `csv_text`."""
    return write_text(path, csv_text(columns, rows))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as CSV. None becomes an empty cell; text that looks like a formula is quoted."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: _escape_cell(row.get(column)) for column in columns})
    return text.getvalue()


def read_table(path: Path, maker: str) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, row) pairs with every cell as text: ids such as `001` or `NA` stay what they are.

    Accepts a byte-order mark, Windows-1252 where UTF-8 fails, and semicolons or tabs in place of commas; spaces around
    cells are removed. Raises DataError when the file is missing (`maker`: what writes it) or empty, a column name
    occurs twice, or a row has more cells than the header.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such table; {maker} writes it, run that first") from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    delimiter = delimiter_of(text.partition("\n")[0])
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows = []
    try:
        columns = [name.strip() for name in reader.fieldnames or []]
        if not any(columns):
            raise DataError(f"{path}: the table is empty; expected a header and one row per image")
        repeated = [name for name in columns if name and columns.count(name) > 1]
        if repeated:
            raise DataError(f"{path}: column {repeated[0]!r} is there twice; remove or rename one")
        reader.fieldnames = columns
        for cells in reader:
            if None in cells:
                found = len(columns) + len(cells[None])
                raise DataError(
                    f"{path}, row {reader.line_num}: more cells than the header's {len(columns)}, {found}; remove the "
                    "surplus ones, or quote cells that contain the separator"
                )
            rows.append((reader.line_num, {name: unescape_cell((cell or "").strip()) for name, cell in cells.items()}))
    except csv.Error as error:
        raise DataError(f"{path}, row {reader.line_num}: {error}; is it a text table?") from None
    return rows


def delimiter_of(header: str) -> str:
    """Return the character that separates the cells of a header: a comma, a semicolon or a tab."""
    return max(",;\t", key=header.count)


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheet programs execute cells that begin with these as formulas; a leading apostrophe makes them text."""


def _escape_cell(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip("'")[:1] in _FORMULA:
        return "'" + value
    return "" if value is None else value


def unescape_cell(value: str) -> str:
    """Return the text of a cell without the apostrophe that `csv_text` puts before a formula."""
    return value[1:] if value[:1] == "'" and value.lstrip("'")[:1] in _FORMULA else value
