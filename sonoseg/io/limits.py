"""Limits of what is read, checked against the header of a file before anything is decoded."""

from dataclasses import dataclass

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded: far above any ultrasound still, far below the memory of a laptop."""

MAX_FRAMES = 1000
"""Most frames of one file: far above a cine loop of an examination."""

MAX_BYTES = 2**30
"""Largest image file that is read into memory: more than `MAX_FRAMES` frames of an examination, uncompressed."""


@dataclass(frozen=True)
class ReadLimits:
    """max_pixels: of one frame, width times height. max_frames, max_bytes: of one file."""

    max_pixels: int = MAX_PIXELS
    max_frames: int = MAX_FRAMES
    max_bytes: int = MAX_BYTES


DEFAULT_LIMITS = ReadLimits()
