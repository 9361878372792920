"""The shapes of Label Studio: each a JSON object, the `result` of an annotation.

Coordinates are per cent of the image's width or height, and count from the corner of the first pixel: half a pixel is
subtracted when reading, and added when writing. Angles are those on the screen, of pixels: a shape is converted to
pixels before it is turned.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

import numpy as np

from sonoseg.annotations import drawn
from sonoseg.annotations.label_studio.rle import decode_brush, encode_brush
from sonoseg.annotations.labelled import quoted
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size
from sonoseg.types import Points

LABELLED = ("polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels")
"""Types of results that are read."""

OWN_KEY = "sonoseg"
"""In the `meta` of a polygon, for the line from which it was made."""

TO_NAME = "image"
"""Name of the image's tag in the labelling configuration for which results are written."""

HALF_PIXEL = 0.5

MAX_SIDE = 1_000_000
MAX_PER_CENT = 1e6
"""Largest width or height of an image, and largest coordinate, that are read."""

DIGITS = 6
"""Of a pixel, after the decimal point: what the conversion from per cent leaves behind is rounding."""

UNCHANGED_PX = 0.01
"""A line's polygon is unchanged when none of its points is further from where it was written."""


def size_of(result: Mapping[str, Any]) -> Size:
    """Return the size of the image that a result states. Raises ValueError for none, and for an image that is turned.

    The coordinates of an image that was turned in Label Studio are those of the turned one.
    """
    height, width = (result.get(name) for name in ("original_height", "original_width"))
    if not (_is_side(height) and _is_side(width)):
        found = f"{quoted(height)} and {quoted(width)}"
        raise ValueError(f"its original_height and original_width are {found}; expected whole numbers above 0")
    if result.get("image_rotation", 0) not in (0, None):
        raise ValueError("its image was turned in Label Studio; turn it back there, and annotate it again")
    return height, width


def _is_side(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_SIDE


def read_result(result: Mapping[str, Any], size: Size, structure: Structure) -> Shape | Bitmap:
    """Return the shape of a result whose type is one of `LABELLED`. Raises ValueError with the structure's name."""
    try:
        value = result["value"]
        if result["type"] == "brushlabels":
            if value.get("format") != "rle":
                raise ValueError(f"the format of its brush is {quoted(value.get('format'))}; expected 'rle'")
            return Bitmap.of(structure.name, decode_brush(value.get("rle"), size))
        if result["type"] == "polygonlabels":
            polygon = drawn.polygon(structure, value.get("points"))
            return _unchanged_line(result, polygon, size, structure) or Shape(
                structure.name, "region", _pixels(polygon.points, size)
            )
        if result["type"] == "rectanglelabels":
            return _rectangle(value, size, structure)
        centre = _pixels(_pair(value, "x", "y"), size).tolist()
        radii = (_pair(value, "radiusX", "radiusY") * _pixels_per_cent(size)).tolist()
        return drawn.ellipse(structure, centre, radii, _number(value, "rotation", 0.0))
    except ValueError as problem:
        raise ValueError(f"{structure.name}: {problem}") from None


def write_result(shape: Shape | Bitmap, size: Size, label: str) -> dict[str, Any] | None:
    """Return the result of a shape, without an id; None for a bitmap without a pixel inside its image."""
    more: dict[str, Any] = {}
    value: dict[str, Any]
    if isinstance(shape, Bitmap):
        window, inside = shape.draw(size)
        if not inside.any():
            return None
        mask = np.zeros(size, dtype=bool)
        mask[window] = inside
        tool, value = "brush", {"format": "rle", "rle": encode_brush(mask)}
    elif shape.kind == "ellipse":
        centre, radii, angle = drawn.ellipse_values(shape.points)
        (x, y), (radius_x, radius_y) = _per_cent(centre, size), (np.array(radii) / _pixels_per_cent(size)).tolist()
        tool = "ellipse"
        value = {"x": x, "y": y, "radiusX": radius_x, "radiusY": radius_y, "rotation": angle % 360}
    else:
        points = np.array(SHAPE_KINDS[shape.kind].write_points(shape.points))
        if shape.kind == "rectangle":
            tool, value = "rectangle", _rectangle_values(points, size)
        elif shape.kind == "line":
            tool, value = "polygon", {"points": _per_cent(_around(points), size), "closed": True}
            more = {"meta": {OWN_KEY: [shape.to_json()]}}
        else:
            tool, value = "polygon", {"points": _per_cent(points, size), "closed": True}
    value[f"{tool}labels"] = [label]
    common = {"type": f"{tool}labels", "from_name": tool, "to_name": TO_NAME, "image_rotation": 0}
    return {**common, "original_width": size[1], "original_height": size[0], "value": value, **more}


def _rectangle_values(points: Points, size: Size) -> dict[str, Any]:
    """Return the values of a rectangle's points, as `_rectangle` reads them: it is turned about its first corner."""
    centre, sides, angle = drawn.box_values(points)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    to_centre = np.array([sides[0] * cos - sides[1] * sin, sides[0] * sin + sides[1] * cos]) / 2
    x, y = _per_cent(centre - to_centre, size)
    width, height = (np.array(sides) / _pixels_per_cent(size)).tolist()
    return {"x": x, "y": y, "width": width, "height": height, "rotation": angle % 360}


def _rectangle(value: Mapping[str, Any], size: Size, structure: Structure) -> Shape:
    """Return a rectangle that is turned about its upper left corner."""
    corner, sides = _pair(value, "x", "y"), _pair(value, "width", "height")
    angle = _number(value, "rotation", 0.0)
    if angle == 0:
        first, second = _pixels(np.array([corner, corner + sides]), size).tolist()
        return drawn.box(structure, first, second)
    along, down = sides * _pixels_per_cent(size)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    to_centre = np.array([along * cos - down * sin, along * sin + down * cos]) / 2
    return drawn.rotated_box(structure, (_pixels(corner, size) + to_centre).tolist(), (along, down), angle)


def _unchanged_line(result: Mapping[str, Any], polygon: Shape, size: Size, structure: Structure) -> Shape | None:
    """Return the line whose polygon `write_result` has written, None for any other polygon."""
    meta = result.get("meta")
    written = meta.get(OWN_KEY) if isinstance(meta, dict) else None
    if structure.shape != "line" or not isinstance(written, list) or len(written) != 1 or len(polygon.points) != 4:
        return None
    try:
        _, word, points = written[0]
        line = SHAPE_KINDS["line"].read_points(points)
    except (TypeError, ValueError):
        return None
    if word != SHAPE_KINDS["line"].json_name or np.abs(line).max() > MAX_PER_CENT:
        return None
    moved = np.abs(_around(line) - _pixels(polygon.points, size)).max()
    return Shape(structure.name, "line", line) if moved <= UNCHANGED_PX else None


def _around(line: Points) -> Points:
    """Return the corners `(4, 2)` of the rectangle, one pixel wide, around a line and half a pixel beyond its ends."""
    start, end = line
    length = float(np.linalg.norm(end - start))
    along = (end - start) / length * HALF_PIXEL if length else np.array([HALF_PIXEL, 0.0])
    across = np.array([-along[1], along[0]])
    return np.array([start - along - across, end + along - across, end + along + across, start - along + across])


def _pixels_per_cent(size: Size) -> Points:
    """Return the pixels `(2,)`, along x and y, of one per cent."""
    height, width = size
    return np.array([width, height]) / 100


def _pixels(points: Points, size: Size) -> Points:
    """Return points `(..., 2)` in per cent as points in pixels, with whole numbers at pixel centres."""
    if np.abs(points).max() > MAX_PER_CENT:
        raise ValueError(f"a coordinate of {np.abs(points).max():g} per cent; expected 0 to 100")
    pixels: Points = np.round(points * _pixels_per_cent(size) - HALF_PIXEL, DIGITS)
    return pixels


def _per_cent(points: Points, size: Size) -> list[Any]:
    """Return points `(..., 2)` in pixels as points in per cent, for JSON."""
    values: list[Any] = ((points + HALF_PIXEL) / _pixels_per_cent(size)).tolist()
    return values


def _pair(value: Mapping[str, Any], first: str, second: str) -> Points:
    return np.array([_number(value, first), _number(value, second)])


def _number(value: Mapping[str, Any], name: str, default: float | None = None) -> float:
    number = value.get(name, default)
    if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= MAX_PER_CENT:
        raise ValueError(f"{name} is {quoted(number)}; expected a number; export the JSON again")
    return float(number)
