"""The one way this project writes files: whole or not at all."""

import csv
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.core.errors import UsageError


def write_bytes(path: Path | str, data: bytes, sync: bool = True) -> Path:
    """Write `data` to a temporary sibling and move it over `path`; readers see the old file or the new, never a part.

    `sync` waits until the bytes are on the disk: results, models and tables want it, pictures that a rerun makes again
    (stage 2) do not. Folders on the way are made. Raises OSError and leaves no temporary file behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        os.chmod(name, 0o666 & ~_UMASK)  # mkstemp makes private files; results are for everyone who may read the folder
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    if sync:
        _sync_folder(path.parent)
    return path


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> Path:
    """Write JSON atomically, readable by people (indented) and by every parser (NaN is refused with ValueError)."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_csv(path: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write a table atomically. None becomes an empty cell; text that looks like a formula is quoted."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: _cell(row.get(column)) for column in columns})
    return write_text(path, text.getvalue())


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets run cells that begin with these; a leading apostrophe makes them text again."""


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip("'")[:1] in _FORMULA:
        return "'" + value
    return "" if value is None else value


def uncell(value: str) -> str:
    """Undo the apostrophe that `write_csv` puts before text that looks like a formula."""
    return value[1:] if value[:1] == "'" and value.lstrip("'")[:1] in _FORMULA else value


def check_writable(folder: Path) -> None:
    """Raise UsageError when files cannot be written below a folder that may not exist yet; leaves nothing behind.

    Called before long work, so that a full afternoon does not end at its first write.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None


def _sync_folder(folder: Path) -> None:
    """A rename is on the disk only when its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _read_umask()
