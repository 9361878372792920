"""The interface of an engine: a network that is ready to run, as a function from images to probabilities."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sonoseg.models.probe import TOLERANCE
from sonoseg.types import Maps

NetworkFunction = Callable[[Maps], Maps]
"""Images `(B, 1, h, w)` float32 of the input size -> probabilities `(B, 1 + K, h, w)` float32, background first.
Several threads may call it at once."""

Conversion = Mapping[str, bytes]
"""A converted network: suffix -> content of the file with that suffix."""


@dataclass(frozen=True)
class Engine:
    """A network that is ready to run.

    sha256: of what runs, 64 hexadecimal digits: of the conversion, or of the model file for torch; empty for a network
    of no file.
    agreement: fraction of the pixels, 0 to 1, on which it agreed with torch; None for torch itself.
    milliseconds: time of an image when the engines were compared; None when they were not.
    remarks: sentences about the choice for the user.
    """

    run: NetworkFunction
    name: str
    version: str
    sha256: str = ""
    agreement: float | None = None
    milliseconds: float | None = None
    remarks: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the entry `engine` of a model in `run.json`."""
        return {
            "name": self.name,
            "version": self.version,
            "sha256": self.sha256,
            "agreement": self.agreement,
            "milliseconds": self.milliseconds,
        }


@dataclass(frozen=True)
class EngineType:
    """An engine that runs a converted network.

    package: the package whose version decides whether a conversion is up to date.
    install: the arguments of `pip install`.
    convert: (traced network, input size (h, w)) -> conversion. Raises what the engine raises.
    start: (conversion, num_threads) -> network. `num_threads` threads may call it at once, each with one core; 0: one
    thread with all cores. The first call has to end before others begin.
    explicit_only: never chosen by `auto`, because it computes with fewer bits.
    tolerance: largest difference of a probability from torch's. probe_tolerance: of the output on the probe image, see
    `models.probe`.
    """

    package: str
    install: str
    convert: Callable[[Any, tuple[int, int]], Conversion]
    start: Callable[[Conversion, int], NetworkFunction]
    explicit_only: bool = False
    tolerance: float = 0.01
    probe_tolerance: float = TOLERANCE
