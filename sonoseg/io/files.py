"""The one way this project writes files: whole or not at all."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from sonoseg.errors import UsageError

TEMPORARY = ".tmp"
"""How the names of files end that are not yet in their place."""


class Watcher(Protocol):
    """Is told of every file that this process writes, so that what was written can be listed without reading it."""

    def before(self, path: Path) -> None:
        """Called before the file at `path` is replaced."""

    def after(self, path: Path, digest: str) -> None:
        """Called when `path` is there, with the SHA-256 of its bytes."""


WATCHERS: list[Watcher] = []


def write_bytes(path: Path | str, data: bytes, sync: bool = True, reread: bool = False) -> Path:
    """Write `data` to a temporary sibling and move it over `path`; readers see the old file or the new, never a part.

    `sync` waits until the bytes are on the disk: results, models and tables want it, pictures that a rerun makes again
    (stage 2) do not. `reread` also reads them back before the old file is given up: models want it. Folders on the way
    are made. Raises OSError that names `path`, and leaves no temporary file behind.
    """
    path = Path(path)
    for watcher in WATCHERS:
        watcher.before(path)
    with naming(path):
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
    if WATCHERS:
        _tell(path, hashlib.sha256(data).hexdigest())
    return path


def move(source: Path, target: Path) -> Path:
    """Put a file that is written already in its place, over what is there; it is on the disk when this returns."""
    for watcher in WATCHERS:
        watcher.before(target)
    with naming(target):
        os.replace(source, target)
        _sync_folder(target.parent)
    if WATCHERS:
        _tell(target, sha256_of(target))
    return target


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an OSError from within name `path`: a full disk names no file, and a temporary one says little."""
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
    """Write JSON atomically, readable by people (indented) and by every parser (NaN is refused with ValueError)."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def sha256_of(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def still_there(path: Path, digest: str) -> None:
    """Count a file that an earlier run wrote, and whose digest has just been found to be `digest`, as this run's."""
    _tell(path, digest)


def _tell(path: Path, digest: str) -> None:
    for watcher in WATCHERS:
        watcher.after(path, digest)


def _check_kept(path: Path, data: bytes) -> None:
    """Raise OSError when the disk does not give back what was written to it."""
    with open(path, "rb") as stream:
        if hasattr(os, "posix_fadvise"):  # from the disk, and not from the memory that has just been written
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        kept = stream.read()
    if kept != data:
        raise OSError(errno.EIO, f"the disk gave back other bytes than the {len(data)} written to it", str(path))


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
