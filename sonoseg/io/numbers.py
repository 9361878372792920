"""Numbers in text that people wrote: tables and command lines."""

import math
import re

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


def parse_number(text: str) -> float:
    """Return a finite decimal number, such as `0.25`, `-3` or `1e-3`.

    Raises ValueError for everything else that `float` reads as well: `1_0`, digits of other scripts, `nan`, `inf`,
    spaces, and numbers that are too large.
    """
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{shown(text)} is no number; expected digits with at most one decimal point, such as 0.25")
    return value


def parse_integer(text: str) -> int:
    """Return an integer of at most 18 digits. Raises ValueError for everything else, as `parse_number` does."""
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"{shown(text)} is no integer; expected at most 18 digits, such as 12")
    return int(text)


def shown(text: str) -> str:
    """Return a text in quotes for a message, cut after 40 characters."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")
