"""What every engine is: a network made ready to run, as one function from images to probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sonoseg.types import Maps

Run = Callable[[Maps], Maps]
"""Images `(B, 1, h, w)` float32 of the network's size to probabilities `(B, 1 + K, h, w)` float32, background first.
Several threads may call it at once."""

Files = Mapping[str, bytes]
"""A converted network: suffix -> content of the file."""


@dataclass(frozen=True)
class Engine:
    """A network that runs, and what is known of how.

    agreement: part of the pixels, 0 to 1, on which it agreed with torch; None for torch itself.
    milliseconds: of one image when the engines were compared; None when they were not.
    remarks: what a person should be told about the choice.
    """

    run: Run
    name: str
    version: str
    agreement: float | None = None
    milliseconds: float | None = None
    remarks: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "agreement": self.agreement,
            "milliseconds": self.milliseconds,
        }


@dataclass(frozen=True)
class Kind:
    """An engine that runs conversions.

    package: whose version decides whether a conversion is up to date; it is not imported to find that out.
    install: what to give to pip.
    convert: (traced network, input size (h, w)) -> files. start: (files, callers) -> `Run`; `callers` is how many
    threads will call it at once, each of which then gets one core; 0 is one thread that gets all of them.
    by_name_only: never the choice of `auto`, because it computes with fewer digits.
    tolerance: how far a probability may be from torch's.
    """

    package: str
    install: str
    convert: Callable[[Any, tuple[int, int]], Files]
    start: Callable[[Files, int], Run]
    by_name_only: bool = False
    tolerance: float = 0.01
