"""Shapes from what annotation tools draw: polygons, polylines, boxes and ellipses, some of them rotated.

All take coordinates in pixels with whole numbers at pixel centres. Where a tool counts from the corner of the first
pixel, the format subtracts half a pixel before. They raise ValueError with the reason, without the structure's name,
for points that are no pairs of finite numbers, too few or too many.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.rectangle import is_rectangle
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotations import Structure
from sonoseg.types import Points


def polygon(structure: Structure, points: Any) -> Shape:
    """Return the filled polygon of JSON points `[[x, y], ...]`, three or more, for a structure of any kind."""
    return Shape(structure.name, "region", SHAPE_KINDS["region"].read_points(points))


def polyline(structure: Structure, points: Any) -> list[Shape]:
    """Return the segments of an open line of JSON points, two or more, for a structure that is a line."""
    if structure.shape != "line":
        raise ValueError(f"an open line, and the structure is a {structure.shape}; draw its outline as a polygon")
    if not isinstance(points, list) or len(points) < 2:
        raise ValueError(f"{len(points) if isinstance(points, list) else 'no'} points; a line has 2 or more")
    SHAPE_KINDS["region"].read_points([*points, points[0], points[0]][: max(3, len(points))])  # finite, not too many
    read = np.array(points, dtype=np.float64)
    return [Shape(structure.name, "line", read[index : index + 2]) for index in range(len(read) - 1)]


def box(structure: Structure, first: Sequence[float], second: Sequence[float]) -> Shape:
    """Return the rectangle, parallel to the image's sides, between two opposite corners (x, y)."""
    points = SHAPE_KINDS["rectangle"].read_points([list(first), list(second)])
    return Shape(structure.name, "rectangle", np.array([points.min(axis=0), points.max(axis=0)]))


def rotated_box(structure: Structure, centre: Sequence[float], size: Sequence[float], angle_deg: float) -> Shape:
    """Return the rectangle of a centre (x, y) and a size (width, height), turned clockwise as the image is seen."""
    if angle_deg % 90 == 0:
        half = np.array(size if angle_deg % 180 == 0 else size[::-1]) / 2
        return box(structure, (np.array(centre) - half).tolist(), (np.array(centre) + half).tolist())
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array(size) / 2
    return four_corners(structure, _turned(corners, centre, angle_deg).tolist())


def four_corners(structure: Structure, points: Sequence[Sequence[float]]) -> Shape:
    """Return the shape of four corners (x, y) in order: a rectangle, turned or not, or else a polygon."""
    corners = SHAPE_KINDS["region"].read_points([list(point) for point in points])
    if not is_rectangle(corners):
        return Shape(structure.name, "region", corners)
    return Shape(structure.name, "rectangle", SHAPE_KINDS["rectangle"].read_points(corners.tolist()))


def ellipse(structure: Structure, centre: Sequence[float], radii: Sequence[float], angle_deg: float = 0) -> Shape:
    """Return the ellipse of a centre (x, y) and two radii along x and y, turned clockwise as the image is seen."""
    if not min(radii) > 0:
        raise ValueError("a radius of the ellipse is not above 0")
    along, across = radii
    ends = np.array([[-along, 0], [along, 0], [0, -across], [0, across]])
    points = SHAPE_KINDS["ellipse"].read_points(_turned(ends, centre, angle_deg).tolist())
    return Shape(structure.name, "ellipse", points)


def box_values(points: Points) -> tuple[Points, tuple[float, float], float]:
    """Return centre `(2,)`, size (width, height) and angle, as `rotated_box` takes them, of a rectangle's points."""
    if len(points) == 2:
        width, height = np.abs(points[1] - points[0]).tolist()
        return points.mean(axis=0), (width, height), 0.0
    along, down = points[1] - points[0], points[3] - points[0]
    if along[0] * down[1] - along[1] * down[0] < 0:  # the corners run anticlockwise
        along, down = down, along
    width, height = float(np.linalg.norm(along)), float(np.linalg.norm(down))
    # The angle is that of the longer side, which rounded corners change less.
    x, y = along if width >= height else (down[1], -down[0])
    return points.mean(axis=0), (width, height), math.degrees(math.atan2(y, x))


def ellipse_values(points: Points) -> tuple[Points, tuple[float, float], float]:
    """Return centre `(2,)`, two radii and angle, as `ellipse` takes them, of the ends of two axes `(4, 2)`.

    The angle is that of the longer axis, as in drawing: annotated axes may be some degrees away from a right angle.
    """
    first, second = points[1] - points[0], points[3] - points[2]
    along, across = float(np.linalg.norm(first)) / 2, float(np.linalg.norm(second)) / 2
    x, y = first if along >= across else (second[1], -second[0])
    return points.mean(axis=0), (along, across), math.degrees(math.atan2(y, x))


def rectangle_around(ends: Points) -> Points:
    """Return the corners `(4, 2)` of the rectangle around an ellipse, whose axes `(4, 2)` are its middle lines.

    Of axes that are not quite perpendicular it is a parallelogram, from which the same ellipse is read.
    """
    along, across = (ends[1] - ends[0]) / 2, (ends[3] - ends[2]) / 2
    corners: Points = ends.mean(axis=0) + np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) @ np.stack([along, across])
    return corners


def _turned(points: Points, centre: Sequence[float], angle_deg: float) -> Points:
    """Return points `(N, 2)` about (0, 0), turned by an angle (x towards y) and moved to a centre."""
    cos, sin = math.cos(math.radians(angle_deg)), math.sin(math.radians(angle_deg))
    turned: Points = points @ np.array([[cos, sin], [-sin, cos]]) + np.array(centre)
    return turned
