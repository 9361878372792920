"""Whether a file is still the same file with the same contents, without reading it."""

import os
from pathlib import Path
from typing import NamedTuple


class FileState(NamedTuple):
    """Device, inode, size in bytes, and the times of modification and of the last change of the inode, in ns.

    The modification time can be set to any value; the change time is the system's own, also of a replacement of equal
    size and modification time.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


def file_state(path: Path) -> FileState:
    """Return the state of a file, or of the one that a link leads to. Raises OSError."""
    return state_of(path.stat())


def state_now(path: Path) -> FileState | None:
    """Return the state of a file, None where it is there no more. Raises other kinds of OSError."""
    try:
        return file_state(path)
    except FileNotFoundError:
        return None


def state_of(status: os.stat_result) -> FileState:
    """Return the state of a file from its status."""
    return FileState(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
