"""What verification finds. Every part of stage 1 collects faults; one place turns the errors among them into an end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sonoseg.core.errors import FaultsError


@dataclass(frozen=True, order=True)
class Fault:
    """One finding: an error stops stage 1, a warning is listed. `where` names the file, and the shape or row in it."""

    level: Literal["error", "warning"]
    where: str
    message: str

    def __str__(self) -> str:
        mark = "(warning) " if self.level == "warning" else ""
        return printable(f"{mark}{self.where}: {self.message}")


def error(where: str, message: str) -> Fault:
    return Fault("error", where, message)


def warning(where: str, message: str) -> Fault:
    return Fault("warning", where, message)


def printable(text: str) -> str:
    """Return text with newlines, control characters and undecodable bytes of file names spelled out as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def in_order(faults: Sequence[Fault]) -> list[Fault]:
    """Return the faults sorted, errors first, each once."""
    return sorted(set(faults))


def stop_on_errors(source: str, faults: Sequence[Fault]) -> None:
    """Raise FaultsError with every fault listed, warnings last, when one of them is an error."""
    ordered = in_order(faults)
    errors = sum(fault.level == "error" for fault in ordered)
    if errors:
        count = "1 fault" if errors == 1 else f"{errors} faults"
        headline = f"{source}: {count} found and nothing was written; correct the files named here and run again"
        raise FaultsError(headline, [str(fault) for fault in ordered], shown=100)
