"""Errors with a remedy. Each message gives the file, what was found, what was expected and what to do."""

from collections.abc import Sequence


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


class LimitError(DataError):
    """An image is larger than what is read; the limit can be raised."""


class ModelError(SonoSegError):
    """A model or checkpoint file cannot be used here."""


class Stopped(Exception):
    """A signal ended a run, whose finished work is saved; `code` is the exit code of the script."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


def printable(text: str) -> str:
    """Return text with line ends, control characters and undecodable bytes of file names as escape sequences."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def choices(names: Sequence[object]) -> str:
    """Return names as a readable list for a message: `a, b or c`; `none` when there are none."""
    words = [str(name) for name in names]
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
