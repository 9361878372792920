"""Atomic writing of files, and their SHA-256."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sonoseg.errors import UsageError

TEMPORARY = ".tmp"
"""Suffix of files that are still being written."""


def write_bytes(path: Path | str, data: bytes, sync: bool = True, reread: bool = False) -> Path:
    """Write `data` to a temporary file in the same folder and rename it to `path`; return `path`.

    A reader sees the old file or the new one, never a part. sync: wait until the bytes are on the disk; False for files
    that a rerun makes again, such as the images of stage 2. reread: also read them back and compare them before the
    old file is replaced; used for models. Missing folders are made. Raises OSError with `path` as its file name, and
    leaves no temporary file.
    """
    path = Path(path)
    with name_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", suffix=TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
                stream.flush()
                if sync or reread:
                    os.fsync(stream.fileno())
            if reread:
                _check_kept(Path(name), data)
            os.chmod(name, 0o666 & ~_UMASK)  # mkstemp makes private files; results are for all who may read the folder
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        if sync:
            _sync_folder(path.parent)
    return path


def move(source: Path, target: Path) -> Path:
    """Rename a file, replacing `target`; the rename is on the disk when this returns. Raises OSError."""
    with name_in_errors(target):
        os.replace(source, target)
        _sync_folder(target.parent)
    return target


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Set `path` as the file name of an OSError raised within: without a name, or with that of a temporary file."""
    try:
        yield
    except OSError as error:
        if error.filename is None or str(error.filename).endswith(TEMPORARY):
            error.filename = str(path)
        raise


def write_text(path: Path | str, text: str) -> Path:
    """Write UTF-8 text atomically."""
    return write_bytes(path, text.encode("utf-8"))


def write_json(path: Path | str, value: Any) -> Path:
    """Write indented JSON atomically. Raises ValueError for NaN, which JSON does not have."""
    return write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Return indented JSON with a line end. Raises ValueError for NaN."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_writable(folder: Path) -> None:
    """Raise UsageError when files cannot be written below a folder, which may not exist yet; nothing is left there.

    Called before long computations, so that they do not fail at their first write.
    """
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None


def _check_kept(path: Path, data: bytes) -> None:
    """Raise OSError when the file on the disk does not contain `data`."""
    with open(path, "rb") as stream:
        if hasattr(os, "posix_fadvise"):  # read from the disk, not from the page cache
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        kept = stream.read()
    if kept != data:
        raise OSError(errno.EIO, f"the disk gave back other bytes than the {len(data)} written to it", str(path))


def _sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk; until then a rename may be lost."""
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
