"""How large a picture may be, asked of its header before anything is decoded; this alone keeps a bad file harmless."""

import os

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded: far above any ultrasound still, far below what fills a laptop's memory."""

MAX_FRAMES = 1
"""Pictures of several frames are refused: which of them is meant is for a person to say."""

_CHOSEN = "SONOSEG_MAX_PIXELS"
"""Where the flag puts its number: the processes that stage 2 starts inherit it."""


def set_max_pixels(pixels: int) -> None:
    """Decode pictures of up to so many pixels from now on, in this process and those that it starts."""
    os.environ[_CHOSEN] = str(pixels)


def max_pixels() -> int:
    """Return what the running script was told by `--max-pixels`, or MAX_PIXELS."""
    return int(os.environ.get(_CHOSEN, MAX_PIXELS))
