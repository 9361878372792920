"""One run at a time in an output folder; a run that was killed never stands in the way of the next one."""

import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sonoseg.errors import UsageError
from sonoseg.io.files import check_writable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".sonoseg.lock"
"""Locked by the operating system, which lets go when the process ends, however it ends. Hidden, so that nothing takes
it for an image or a result; it goes when the run ends."""

NAME_WITHOUT_LOCKS = ".sonoseg.pid"
"""Where the file system has no locks: there while the process that is named in it runs."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL, errno.EBADF)
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_TRIES, _PAUSE_S = 5, 0.05
"""A run that is just ending is waited for, no longer."""


@contextmanager
def locked(folder: Path, shared: bool = False, say: Callable[[str], None] | None = None) -> Iterator[None]:
    """Hold `folder` for this process until the block is left.

    Alone by default: for what writes there; the folder is made, and goes again when nothing was put into it. `shared`
    is for what only reads it, any number at a time: nothing is made, and a folder that is missing or cannot be written
    is read without a lock. Of several processes that train as one the first holds it for all.

    say: told when the file system has no locks. Raises UsageError when another process holds the folder, or when it
    cannot be written.
    """
    if not _is_first_process() or (shared and not folder.is_dir()):
        yield
        return
    made: list[Path] = []
    if not shared:
        check_writable(folder)
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    release: Callable[[], None] = _nothing
    try:
        release = _hold(folder, shared, say or _nothing)
        yield
    finally:
        release()
        with suppress(OSError):  # something was put into it
            for path in made:
                path.rmdir()


def _nothing(*_: object) -> None:
    pass


def _is_first_process() -> bool:
    """Tell whether this is process 0 of those that torchrun, or the first of them, started; alone it is."""
    return all(os.environ.get(name, "0") in ("", "0") for name in ("RANK", "LOCAL_RANK", "NODE_RANK"))


def _hold(folder: Path, shared: bool, say: Callable[[str], None]) -> Callable[[], None]:
    """Take the lock and return what gives it back. Raises UsageError when others hold it."""
    path = folder / NAME
    for _ in range(_TRIES):
        handle = _open(path, shared)
        if handle is None:
            return _nothing
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
            return _hold_by_name(folder, shared, say)
        if _is_at(path, handle):
            _write_holder(handle, shared)
            return lambda: _give_back(path, handle)
        os.close(handle)  # the one before took the file away while we waited for it
    raise _in_use(folder, path)


def _open(path: Path, shared: bool) -> int | None:
    """Open the lock file, made where it is missing. None when a reader may not even make it."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
    try:
        return os.open(path, os.O_RDONLY)  # another person's, left when their run was killed
    except OSError:
        if shared:
            return None
        raise


def _lock(handle: int, shared: bool) -> None:
    """Raises BlockingIOError or PermissionError when others hold it, OSError where there are no locks."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no file locks")
    fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


def _give_back(path: Path, handle: int) -> None:
    """Remove the file, unless other readers hold it too, and let go."""
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
    """Say who holds it, for the message alone: a disk that is full must not keep a run from going on."""
    with suppress(OSError):
        if not shared:
            os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_END)
        os.write(handle, (json.dumps(_holder()) + "\n").encode())


def _hold_by_name(folder: Path, shared: bool, say: Callable[[str], None]) -> Callable[[], None]:
    """Hold a folder on a file system without locks, by a file that only one process can make."""
    path = folder / NAME_WITHOUT_LOCKS
    say(f"{folder}: this file system has no locks; a second run is only noticed on this computer")
    for _ in range(_TRIES):
        if shared:
            if not path.exists():
                return _nothing
        else:
            try:
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
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
    """Tell whether the process that made the file is gone: it ran on this computer and runs no more."""
    holders = _holders(path)
    return bool(holders) and all(one["host"] == socket.gethostname() and not _runs(one["pid"]) for one in holders)


def _runs(pid: int) -> bool:
    if os.name == "nt":  # there, the question would end the process
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another person's
        return True
    return True


def _holders(path: Path) -> list[dict[str, Any]]:
    """Return who wrote into a lock file; empty when it is gone or cannot be read."""
    found = []
    with suppress(OSError, ValueError, KeyError, TypeError):
        for line in path.read_text(encoding="utf-8").splitlines():
            one = json.loads(line)
            found.append({"pid": int(one["pid"]), **{key: str(one[key]) for key in ("host", "since", "what")}})
    return found


def _in_use(folder: Path, path: Path, remedy: str = "") -> UsageError:
    here = socket.gethostname()
    holders = [one for one in _holders(path) if one["host"] != here or _runs(one["pid"])]
    who = [f"process {one['pid']} on {one['host']} since {one['since']} ({one['what']})" for one in holders]
    return UsageError(
        f"{folder} is in use by {' and '.join(who) or 'another process'}; wait until it has ended, or choose another "
        f"folder{remedy}"
    )
