"""Values of JSON files that other programs have written: read with limits, checked, and named in messages."""

import base64
import struct
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, is_machine_error
from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.io.names import is_inside
from sonoseg.io.reading import parse_json, read_text_file
from sonoseg.sizes import Size
from sonoseg.types import Pixels

MAX_COORDINATE = 1e6
"""Largest coordinate, in pixels, and largest side of an image: far above any picture, and no computation overflows."""

SHOWN = 60
"""Characters of a value that a message shows."""

_PNG_START = struct.Struct(">8s4x4sII")
"""Signature, (length of the first chunk), its name, width and height."""


def read_json(path: Path, data: Path) -> Any:
    """Return the value of a JSON file inside the data folder.

    Raises DataError for a link that leads out of the folder, a file that is missing, cannot be read or is too large,
    and for text that is not JSON; OSError for the errors of the machine.
    """
    if not is_inside(path, data):
        raise DataError("leads out of the data folder; copy the file there", path)
    try:
        return parse_json(read_text_file(path))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("no such annotation file; put it there, or correct its name in the task", path) from None
    except OSError as problem:
        if is_machine_error(problem):
            raise
        raise DataError(f"cannot be read ({problem.strerror}); check its permissions", path) from None
    except DataError:
        raise
    except ValueError as problem:
        raise DataError(f"not readable as JSON ({problem}); export it again", path) from None


def shown(value: Any) -> str:
    """Return a JSON value for a message: short text and numbers as they are, of others only their type."""
    if isinstance(value, str):
        return repr(value) if len(value) <= SHOWN else f"{value[:SHOWN]!r}..."
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = repr(value)
        return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "nothing"


def is_coordinate(value: Any) -> bool:
    """Return whether a JSON value is a number, and of a size that a coordinate in an image can have."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -MAX_COORDINATE <= value <= MAX_COORDINATE


def coordinate_pairs(value: Any) -> list[list[float]]:
    """Return JSON points `[[x, y], ...]`, any number of them. Raises ValueError with the reason."""
    if not isinstance(value, list):
        raise ValueError(f"found {shown(value)} as points; expected a list of [x, y]")
    for point in value:
        if not isinstance(point, list) or len(point) != 2 or not all(map(is_coordinate, point)):
            raise ValueError("points have to be [x, y] pairs of numbers, in pixels of the image")
    return value


def image_size(height: Any, width: Any) -> Size | None:
    """Return (height, width) of two JSON values; None when one is missing or null. Raises ValueError."""
    if height is None or width is None:
        return None
    for value in (height, width):
        if not isinstance(value, int) or not is_coordinate(value) or value < 1:
            raise ValueError(f"found {shown(value)} as height or width of the image; expected a number of pixels")
    return height, width


def embedded_png(value: Any, size: Size) -> Pixels:
    """Return the values `(H, W)` uint8 of a mask that is the base64 text of a PNG of this size.

    Nothing is decoded unless the PNG states the size. Raises ValueError with the reason.
    """
    height, width = size
    if not isinstance(value, str):
        raise ValueError(f"found {shown(value)} as mask; expected the base64 text of a PNG")
    try:
        png = base64.b64decode(value)
        signature, chunk, *declared = _PNG_START.unpack_from(png)
    except (ValueError, struct.error):
        signature, chunk, declared = b"", b"", []
    if signature != b"\x89PNG\r\n\x1a\n" or chunk != b"IHDR":
        raise ValueError("its mask is not the base64 text of a PNG; draw it again")
    try:
        if declared != [width, height]:
            raise DataError(f"the PNG has {declared[0]}x{declared[1]} pixels")
        values = read_mask(Path("mask"), ReadLimits(max_pixels=width * height), png)
        if values.shape != (height, width):
            raise DataError(f"the PNG has {values.shape[1]}x{values.shape[0]} pixels")
    except DataError as problem:
        message = f"{problem.reason}; expected a PNG of {width}x{height} pixels, as the points state"
        raise ValueError(f"its mask: {message}") from None
    return values
