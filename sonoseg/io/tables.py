"""Tables of text cells in CSV files, also as spreadsheet programs save them."""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.io.files import write_text
from sonoseg.io.reading import read_text_file

MAX_CELLS = 10_000_000
"""Rows times columns of the largest table that is read."""


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a table atomically; see `csv_text`."""
    return write_text(path, csv_text(columns, rows))


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return a table as CSV. None becomes an empty cell; text that would be a formula gets an apostrophe."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: _escape_cell(row.get(column)) for column in columns})
    return text.getvalue()


def read_table(path: Path, maker: str) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, row) pairs with every cell as text: ids such as `001` or `NA` stay what they are.

    Accepts a byte-order mark, Windows-1252 where UTF-8 fails, and semicolons or tabs in place of commas; spaces around
    cells are removed. The line number is that of the row's first line. Raises DataError when the file is missing
    (`maker`: what writes it), empty or too large, a column name occurs twice, a row has more cells than the header, or
    a cell in quotation marks does not end.
    """
    text = _text_of(path, maker)
    records = _records(path, text, delimiter_of(text.partition("\n")[0]))
    columns = [name.strip() for name in next(records, (1, []))[1]]
    if not any(columns):
        raise DataError(f"{path}: the table is empty; expected a header and one row per image")
    count = Counter(columns)
    repeated = [name for name in columns if name and count[name] > 1]
    if repeated:
        raise DataError(f"{path}: column {repeated[0]!r} is there twice; remove or rename one")
    rows: list[tuple[int, dict[str, str]]] = []
    for line, cells in records:
        if len(cells) > len(columns):
            raise DataError(
                f"{path}, row {line}: more cells than the header's {len(columns)}, {len(cells)}; remove the "
                "surplus ones, or quote cells that contain the separator"
            )
        texts = [unescape_cell(cell.strip()) for cell in cells] + [""] * (len(columns) - len(cells))
        if (len(rows) + 1) * len(columns) > MAX_CELLS:
            raise DataError(f"{path}, row {line}: more than {MAX_CELLS} cells (rows times columns); divide the table")
        if cells:
            rows.append((line, dict(zip(columns, texts, strict=True))))
    return rows


def _text_of(path: Path, maker: str) -> str:
    try:
        data = read_text_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: no such table; {maker} writes it, run that first") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of its first line, cells) of each record, the header included; no cells for an empty line."""
    ended = False

    def lines() -> Iterator[str]:
        nonlocal ended
        yield from io.StringIO(text, newline="")
        ended = True

    reader = csv.reader(lines(), delimiter=delimiter, skipinitialspace=True)
    line = 1
    try:
        for cells in reader:
            if ended:  # only inside quotation marks does the reader look for a further line before it gives the cells
                raise DataError(f"{path}, row {line}: a cell begins with a quotation mark and does not end; remove it")
            yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{path}, row {line}: {error}; is it a text table?") from None


def delimiter_of(header: str) -> str:
    """Return the character that separates the cells of a header: a comma, a semicolon or a tab."""
    return max(",;\t", key=header.count)


_CELL_START = r"(?:^|(?<=[;\t\r\n]))"
_FORMULA = r"['\"]*[=+\-@\t\r]"
"""Spreadsheet programs execute cells that begin so as formulas; a leading apostrophe makes them text. A cell may also
begin after a semicolon, a tab or a line end, for a program that separates cells there."""
_UNESCAPED, _ESCAPED = re.compile(f"{_CELL_START}(?={_FORMULA})"), re.compile(f"{_CELL_START}'(?={_FORMULA})")


def _escape_cell(value: Any) -> Any:
    if isinstance(value, str):
        return _UNESCAPED.sub("'", value)
    return "" if value is None else value


def unescape_cell(value: str) -> str:
    """Return the text of a cell without the apostrophes that `csv_text` puts before formulas."""
    return _ESCAPED.sub("", value) if "'" in value else value
