"""The errors a person can cause. Each message says the file, what was found, what was expected and what to do."""

from collections.abc import Sequence


class SonoSegError(ValueError):
    """Base of every error that is explained in one sentence and ends a script with exit code 2."""


class UsageError(SonoSegError):
    """The command line asks for something that cannot be done."""


class TaskError(SonoSegError):
    """A task file is missing, is not valid YAML, or names something that does not exist."""


class DataError(SonoSegError):
    """An image, a mask, an annotation or a table is not what it has to be."""


class ModelError(SonoSegError):
    """A model or checkpoint file cannot be used here."""


class Stopped(Exception):
    """A signal asked a run to end, and what it has done so far is saved; `code` is the script's exit code."""

    def __init__(self, message: str, code: int):
        super().__init__(message)
        self.code = code


class FaultsError(DataError):
    """Several faults found in one pass; the message lists them all, first `shown` in full."""

    def __init__(self, headline: str, faults: Sequence[str], shown: int = 20):
        self.faults = list(faults)
        lines = [headline, *(f"  - {fault}" for fault in self.faults[:shown])]
        if len(self.faults) > shown:
            lines.append(f"  ... and {len(self.faults) - shown} more")
        super().__init__("\n".join(lines))


def printable(text: str) -> str:
    """Return text with line ends, control characters and undecodable bytes of file names as escape sequences."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def choices(names: Sequence[object]) -> str:
    """Return names as a readable list for a message: `a, b or c`; `none` when there are none."""
    words = [str(name) for name in names]
    if not words:
        return "none"
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
