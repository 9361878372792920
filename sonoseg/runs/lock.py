"""Locks: one run at a time in an output folder. The lock of a killed run does not block the next one."""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sonoseg.errors import UsageError
from sonoseg.io.files import check_writable, open_in_place

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".sonoseg.lock"
"""Locked by the operating system, which releases it when the process ends for any reason. A hidden file, so that it is
not taken for an image or a result; removed at the end of the run."""

NAME_WITHOUT_LOCKS = ".sonoseg.pid"
"""Used where the file system has no locks: exists while the process named in it runs."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF)
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_TRIES, _PAUSE_S = 5, 0.05
"""Attempts and the time between them: enough for a run that is just ending."""
_MAX_CHARACTERS = 100_000
"""Read of a lock file, which has a line for each process."""


Release = Callable[[], None]


@contextmanager
def locked(folder: Path, shared: bool = False) -> Iterator[list[str]]:
    """Lock `folder` for this process until the block ends; yields remarks for the user, usually none.

    Exclusive by default, for a run that writes: the folder is made, and removed again when it stays empty. `shared` is
    for a run that only reads, any number at a time: nothing is made, and a folder that is missing or read-only is read
    without a lock. When several processes train together, the first one locks for all.

    A remark states that the file system has no locks. Raises UsageError when another process has locked the folder, or
    when it cannot be written.
    """
    if not is_first_process() or (shared and not folder.is_dir()):
        yield []
        return
    created: list[Path] = []
    if not shared:
        check_writable(folder)
        created = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    release, remarks = _no_release, list[str]()
    try:
        release, remarks = _acquire(folder, shared)
        yield remarks
    finally:
        release()
        with suppress(OSError):  # not empty: it contains results
            for path in created:
                path.rmdir()


def locked_since(folder: Path) -> float | None:
    """Return when this process locked a folder, as a modification time; None when the folder has no lock."""
    for name in (NAME, NAME_WITHOUT_LOCKS):
        with suppress(OSError):
            return os.lstat(folder / name).st_mtime
    return None


def _no_release() -> None:
    pass


def is_first_process() -> bool:
    """Return whether this is process 0 of a training with several processes; True for a single process."""
    return all(os.environ.get(name, "0") in ("", "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def _acquire(folder: Path, shared: bool) -> tuple[Release, list[str]]:
    """Lock the folder; return the function that releases it, and remarks. Raises UsageError when it is locked."""
    path = folder / NAME
    for _ in range(_TRIES):
        handle = _open(path, shared)
        if handle is None:
            return _no_release, []
        try:
            _lock(handle, shared)
        except (BlockingIOError, PermissionError):
            os.close(handle)
            time.sleep(_PAUSE_S)
            continue
        except OSError as error:
            os.close(handle)
            if error.errno not in _NO_LOCKS:
                raise
            path.unlink(missing_ok=True)
            remark = f"{folder}: this file system has no locks; a second run is only noticed on this computer"
            return _acquire_by_name(folder, shared), [remark]
        if _is_at(path, handle):
            _write_holder(handle, shared)
            return partial(_release, path, handle), []
        os.close(handle)  # the run before removed the file between opening and locking
    raise _in_use(folder, path)


def _open(path: Path, shared: bool) -> int | None:
    """Open the lock file, and make it where it is missing. None when a reader is not permitted to make it."""
    try:
        return open_in_place(path, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
    try:
        return open_in_place(path, os.O_RDONLY)  # another user's, left by a killed run
    except OSError:
        if shared:
            return None
        raise


def _lock(handle: int, shared: bool) -> None:
    """Raises BlockingIOError or PermissionError when it is locked, OSError where there are no locks."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no file locks")
    fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except FileNotFoundError:
        return False


def _release(path: Path, handle: int) -> None:
    """Remove the file, unless other readers have locked it too, and release the lock."""
    try:
        with suppress(OSError):
            _lock(handle, shared=False)
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _holder() -> dict[str, Any]:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "what": Path(sys.argv[0]).name}


def _write_holder(handle: int, shared: bool) -> None:
    """Write the process into the lock file, for messages only: a full disk must not stop the run."""
    with suppress(OSError):
        if not shared:
            os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_END)
        os.write(handle, (json.dumps(_holder()) + "\n").encode())


def _acquire_by_name(folder: Path, shared: bool) -> Release:
    """Lock a folder on a file system without locks, by a file that only one process can create."""
    path = folder / NAME_WITHOUT_LOCKS
    for _ in range(_TRIES):
        if shared:
            if not path.exists():
                return _no_release
        else:
            try:
                handle = open_in_place(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                pass
            else:
                _write_holder(handle, shared)
                os.close(handle)
                return lambda: path.unlink(missing_ok=True)
        if _left_behind(path):
            path.unlink(missing_ok=True)
        else:
            time.sleep(_PAUSE_S)
    raise _in_use(folder, path, f", or remove {path} when that process is no longer there")


def _left_behind(path: Path) -> bool:
    """Return whether the process that made the file ran on this computer and has ended."""
    here, holders = socket.gethostname(), _holders(path)
    return bool(holders) and all(holder["host"] == here and not _runs(holder["pid"]) for holder in holders)


def _runs(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's process
        return True
    return True


def _holders(path: Path) -> list[dict[str, Any]]:
    """Return the processes named in a lock file; empty when it is missing or cannot be read."""
    try:
        handle = open_in_place(path, os.O_RDONLY)
    except OSError:
        return []
    holders = []
    with os.fdopen(handle, encoding="utf-8") as stream, suppress(OSError, ValueError, KeyError, TypeError):
        for line in stream.read(_MAX_CHARACTERS).splitlines():
            entry = json.loads(line)
            holders.append({"pid": int(entry["pid"]), **{key: str(entry[key]) for key in ("host", "since", "what")}})
    return holders


def _in_use(folder: Path, path: Path, remedy: str = "") -> UsageError:
    here = socket.gethostname()
    holders = [holder for holder in _holders(path) if holder["host"] != here or _runs(holder["pid"])]
    names = ["process {pid} on {host} since {since} ({what})".format(**holder) for holder in holders]
    return UsageError(
        f"{folder} is in use by {' and '.join(names) or 'another process'}; wait until it has ended, or choose another "
        f"folder{remedy}"
    )
