"""Atomic writing of files, files that are written in place, and the SHA-256 of files."""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from sonoseg.errors import UsageError
from sonoseg.io.reading import open_regular

TEMPORARY = ".tmp"
"""Suffix of files that are still being written."""

_NAME_CHARACTERS = 40
"""Of the file's name in that of its temporary file, `.<name>.<8 random characters>.tmp`."""
_TEMPORARY_END = re.compile(rf"(?<=\.)[a-z0-9_]{{8}}{re.escape(TEMPORARY)}$")
_END_CHARACTERS = 8 + len(TEMPORARY)
_PART_BYTES = 1 << 20
"""Of a file that is copied, so many bytes are in memory."""

_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)  # Windows has none of these
_IN_PLACE: int = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | _NONBLOCK


def write_bytes(path: Path | str, data: bytes, sync: bool = True, reread: bool = False) -> Path:
    """Write `data` to a temporary file in the same folder and rename it to `path`; return `path`.

    A reader sees the old file or the new one, never a part. sync: wait until the bytes are on the disk; False for files
    that a rerun makes again, such as the images of stage 2. reread: also read them back and compare them before the
    old file is replaced; used for models. Missing folders are made. Raises OSError with `path` as its file name, and
    leaves no temporary file.
    """
    path = Path(path)
    with _replacement(path, sync) as (stream, name):
        stream.write(data)
        stream.flush()
        if reread:
            os.fsync(stream.fileno())
            _check_kept(name, data)
    return path


def copy_file(source: Path, path: Path) -> str:
    """Write the bytes of another file as `write_bytes` does, a part at a time; return their SHA-256. Raises OSError."""
    digest = hashlib.sha256()
    with open_regular(source) as parts, _replacement(path) as (stream, _):
        while part := parts.read(_PART_BYTES):
            digest.update(part)
            stream.write(part)
    return digest.hexdigest()


@contextmanager
def _replacement(path: Path, sync: bool = True) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a temporary file, open for writing, that replaces `path` when the block ends, and its name.

    sync: as in `write_bytes`. After an exception `path` is as before, and the temporary file is removed.
    """
    with name_in_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:_NAME_CHARACTERS]}.", suffix=TEMPORARY, dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream, Path(name)
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
            os.chmod(name, 0o666 & ~_UMASK)  # mkstemp makes private files; results are for all who may read the folder
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        if sync:
            sync_folder(path.parent)


def remove_temporary(folder: Path, names: Collection[str], before: float) -> None:
    """Remove what killed processes have left of writing the files `names` of a folder, if changed before this time.

    before: seconds since the epoch. Only regular files with the names that `write_bytes` gives are removed.
    """
    starts = {f".{name[:_NAME_CHARACTERS]}." for name in names}
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY_END.search(entry.name) and entry.name[:-_END_CHARACTERS] in starts:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and status.st_mtime < before:
                    os.unlink(entry.path)


def move(source: Path, target: Path) -> Path:
    """Rename a file, replacing `target`; the rename is on the disk when this returns. Raises OSError."""
    with name_in_errors(target):
        os.replace(source, target)
        sync_folder(target.parent)
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


def open_in_place(path: Path, flags: int) -> int:
    """Open a file whose content is changed in place, such as a lock or a log; return its descriptor.

    flags: those of `os.open`. Never opens what another name leads to: raises UsageError for a symbolic link, also a
    dangling one, for a file with several hard links, and for a device or a pipe. Raises OSError.
    """
    try:
        handle = os.open(path, flags | _IN_PLACE, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        problem = "is a symbolic link"
    else:
        status = os.fstat(handle)
        if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:  # 0: removed since it was opened
            return handle
        os.close(handle)
        problem = "has several hard links" if stat.S_ISREG(status.st_mode) else "is not a regular file"
    raise UsageError(f"{path}: {problem}, and is written in place; expected a file of its own; remove it")


def append_line(path: Path, line: str, sync: bool = True) -> None:
    """Append a line of UTF-8 text to a file, by a single write; see `open_in_place`.

    It starts a new line after an incomplete one, which an interruption left. sync: wait until it is on the disk.
    Raises UsageError and OSError.
    """
    with name_in_errors(path), os.fdopen(open_in_place(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
        start = b"\n" if size and stream.read(1) != b"\n" else b""
        stream.write(start + line.encode("utf-8") + b"\n")
        stream.flush()
        if sync:
            os.fsync(stream.fileno())


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
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits.

    Raises OSError, also for what is not a regular file: reading a device or a pipe may never end.
    """
    with open_regular(path) as stream:
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


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder beside `out` that becomes it at the end, and is removed when an error is raised.

    `out` must not exist, or be an empty folder.
    """
    out = out.resolve()
    made = out.parent / f".{out.name[:40]}.{secrets.token_hex(4)}.tmp"
    made.mkdir(parents=True)
    try:
        yield made
        made.rename(out)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def sync_folder(folder: Path) -> None:
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
