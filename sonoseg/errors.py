"""Errors with a remedy. Each message gives the file, what was found, what was expected and what to do."""

import errno
import re
from collections.abc import Iterator, Sequence


class SonoSegError(ValueError):
    """Base of every error that is explained in one sentence and ends a script with exit code 2."""


class UsageError(SonoSegError):
    """The command line asks for something that cannot be done."""


class TaskError(SonoSegError):
    """A task file is missing, is not valid YAML, or names something that does not exist."""


class DataError(SonoSegError):
    """An image, a mask, an annotation or a table is not what it has to be.

    path: the file (a path, or an `ImageRef` for a frame of it), or None when `reason` names it or there is none.
    reason: what is wrong. The message is `path: reason`.
    """

    def __init__(self, reason: str, path: object = None):
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.reason, self.path = reason, path


class NoImageError(DataError):
    """A file of a known format that is no image, such as a DICOM report; no fault of the file."""


class LimitError(DataError):
    """An image is larger than what is read; the limit can be raised."""


class MachineError(SonoSegError):
    """Memory, open files or disk space have run out, or a device has failed: no fault of the data."""


class ModelError(SonoSegError):
    """A model or checkpoint file cannot be used here."""


class Stopped(Exception):
    """A signal ended a run, whose finished work is saved; `code` is the exit code of the script."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


_SHORTAGES = {
    getattr(errno, name): remedy
    for names, remedy in (
        (("ENOMEM", "EAGAIN"), "close other programs or process fewer images at once; run the same command again"),
        (
            ("EMFILE", "ENFILE"),
            "raise the limit on open files or process fewer images at once; run the same command again",
        ),
        (("ENOSPC", "EDQUOT"), "free some space and run the same command again"),
        (("EROFS",), "choose a folder that can be written"),
        (
            ("EIO", "ENXIO", "ENODEV", "ESTALE", "ETIMEDOUT"),
            "check the disk or the network drive and run the same command again",
        ),
    )
    for name in names
    if hasattr(errno, name)
}
"""Number of an operating-system error that is no fault of the file -> what to do."""

_NO_MEMORY = re.compile(
    r"bad[ _]alloc|bad allocation|out of memory|insufficient memory|not enough memory|can't start new thread|"
    r"(can(no|')t|unable to|failed to|could not) allocate",
    re.IGNORECASE,
)
"""How libraries report, in errors of other types than MemoryError, that memory could not be allocated."""


def is_machine_error(error: BaseException) -> bool:
    """Return whether an error, or one that led to it, is the machine's: memory, open files, disk, device.

    Such an error says nothing about the image or table that was read when it occurred.
    """
    return any(_remedy(each) for each in _chain(error))


def is_disk_full(error: BaseException) -> bool:
    """Return whether nothing more can be written, which fewer images at once do not change."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return any(isinstance(each, OSError) and each.errno in full for each in _chain(error))


def machine_error(error: BaseException, where: object = None) -> MachineError:
    """Return the error of which `is_machine_error` is true as one sentence: what ran out, and what to do.

    where: the file in work when the error names none.
    """
    cause = next(each for each in _chain(error) if _remedy(each))
    is_named = isinstance(cause, OSError) and cause.strerror
    found = cause.strerror if isinstance(cause, OSError) and is_named else "the memory is exhausted"
    file = (cause.filename if isinstance(cause, OSError) else None) or where
    place = f"{file}: " if file else ""
    return MachineError(f"{place}{found}; {_remedy(cause)}")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that led to it, as a traceback shows them."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or (None if following.__suppress_context__ else following.__context__)


def _remedy(error: BaseException) -> str:
    """Return what to do about a machine error; empty for any other error."""
    if isinstance(error, OSError) and error.errno is not None:
        return _SHORTAGES.get(error.errno, "")
    # Messages of errors of other types may repeat text of a file.
    library = isinstance(error, RuntimeError | OSError) or type(error).__module__.startswith(("cv2", "onnxruntime"))
    no_memory = isinstance(error, MemoryError) or (library and _NO_MEMORY.search(str(error)))
    return _SHORTAGES[errno.ENOMEM] if no_memory else ""


def printable(text: str) -> str:
    """Return text with line ends, control characters and undecodable bytes of file names as escape sequences."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def first_of(names: Sequence[str], most: int) -> str:
    """Return the first names as a list for a message, `a, b, ...` where there are more than `most`."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def counted(number: int, what: str) -> str:
    """Return `1 image`, `2 images`: a number and what it counts."""
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def choices(names: Sequence[object]) -> str:
    """Return names as a readable list for a message: `a, b or c`; `none` when there are none."""
    words = [str(name) for name in names]
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
