"""The contract of an engine: a network that is ready to run, as one function from images to probabilities."""

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
    """A network that is ready to run.

    agreement: fraction of the pixels, 0 to 1, on which it agreed with torch; None for torch itself.
    milliseconds: time of one image when the engines were compared; None when they were not.
    remarks: sentences about the choice for the user.
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
class EngineType:
    """An engine that runs a converted network.

    package: the package whose version decides whether a conversion is up to date; it is not imported to find that out.
    install: the arguments of `pip install`.
    convert: (traced network, input size (h, w)) -> files.
    start: (files, num_threads) -> `Run`. `num_threads` threads may call it at once, each with one core; 0: one thread
    with all cores.
    explicit_only: never chosen by `auto`, because it computes with fewer bits.
    tolerance: largest difference of a probability from torch's.
    """

    package: str
    install: str
    convert: Callable[[Any, tuple[int, int]], Files]
    start: Callable[[Files, int], Run]
    explicit_only: bool = False
    tolerance: float = 0.01
