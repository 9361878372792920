"""Two implementations timed alternately in one process, so that changes of the machine's load cancel out."""

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS, WARM_UP = 7, 2


@dataclass
class Figure:
    """A row of the results. `before` and `after` are seconds per `unit`; `ratio` is the median of their quotients.

    target: the aim; reached: whether it is met. floor: the least time that the machine allows (bytes or operations over
    the measured maximal rate). remains: what the time above the floor is spent on.
    """

    name: str
    unit: str
    before: float
    after: float
    ratio: float
    before_is: str
    after_is: str
    target: str = ""
    reached: bool | None = None
    floor: str = ""
    remains: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    plain: Callable[[], Any], fast: Callable[[], Any], per: int = 1, rounds: int = ROUNDS, warm_up: int = WARM_UP
) -> tuple[float, float, float]:
    """Return the median seconds of `plain` and `fast` per unit, of which each processes `per`, and the median ratio."""
    pairs = []
    for number in range(warm_up + rounds):
        pair = (seconds_of(plain), seconds_of(fast))
        if number >= warm_up:
            pairs.append(pair)
    plain_s, fast_s = (statistics.median(pair[side] for pair in pairs) for side in (0, 1))
    return plain_s / per, fast_s / per, statistics.median(pair[0] / pair[1] for pair in pairs)


def seconds_of(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def matrix_product_rate(size: int = 2048, dtype: str = "float32") -> float:
    """Return the machine's maximal rate: operations per second of a square matrix product; int8: of whole numbers."""
    import torch

    matrix = torch.rand(size, size).mul(100).to(getattr(torch, dtype))
    product = torch._int_mm if dtype == "int8" else torch.matmul
    best = min(seconds_of(lambda: product(matrix, matrix)) for _ in range(30))
    return float(2 * size**3 / best)


def memory_rate(mebibytes: int = 256) -> float:
    """Return the machine's maximal rate: bytes read and written per second by a copy larger than any cache."""
    source = np.zeros(mebibytes << 20, np.uint8)
    target = np.ones_like(source)
    best = min(seconds_of(lambda: np.copyto(target, source)) for _ in range(6))
    return 2 * source.nbytes / best


def peak_mib(folder: Path) -> float:
    """Return the peak resident memory of a process in MiB, from its folder in /proc; 0 when it has ended."""
    try:
        lines = (folder / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024
