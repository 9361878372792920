"""Are the shapes of one image drawable on it? Everything here needs the image's size, so it comes after decoding."""

import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error, warning

MARGIN = 0.05
"""Points may lie this part of the image's size outside it (a hand that slipped over the edge), with a warning."""

ELLIPSE_MARGIN = 1.0
"""The ends of an ellipse's axes may lie further outside: an organ that the image cuts off has its axes there."""


def check_shapes(shapes: tuple[tuple[int, Shape], ...], size: tuple[int, int], where: str, image: str) -> list[Fault]:
    """Return the faults of numbered shapes on an image of `size` (height, width); `where` is its path, `image` its id.

    Errors: points far outside, a line without length, a rectangle, ellipse or region without area, ellipse axes that do
    not cross at right angles in their middles. Warnings: points a little outside (only what lies inside is drawn), a
    region that crosses itself (filled by the even-odd rule).
    """
    faults = []
    for index, shape in shapes:
        named = f"{where}, shape {index} ({shape.structure})"
        outside = _outside(shape, size, named, image)
        faults += outside
        if any(fault.level == "error" for fault in outside):
            continue
        problem = _degenerate(shape)
        if problem:
            faults.append(error(named, problem, "shape", image))
        if shape.kind == "region" and not problem and crosses_itself(shape.points):
            message = "the region's outline crosses itself; filled by the even-odd rule"
            faults.append(warning(named, message, "crossing", image))
    return faults


def _outside(shape: Shape, size: tuple[int, int], named: str, image: str) -> list[Fault]:
    height, width = size
    extent = np.array([width, height], dtype=np.float64)
    # A pixel reaches half a pixel around its centre, so the picture's edge is at -0.5 and at size - 0.5; annotation
    # tools that count from the pixel's corner give up to `size`.
    beyond = np.maximum(-0.5 - shape.points, shape.points - extent) / extent
    worst = beyond.max()
    if worst <= 0:
        return []
    x, y = shape.points[int(beyond.max(axis=1).argmax())]
    found = f"point ({x:g}, {y:g}) lies outside the image of {width}x{height} pixels"
    if worst > (ELLIPSE_MARGIN if shape.kind == "ellipse" else MARGIN):
        return [error(named, f"{found}; was it annotated on a picture of another size?", "shape", image)]
    return [warning(named, f"{found}; only the part inside is drawn", "outside", image)]


def _degenerate(shape: Shape) -> str | None:
    points = shape.points
    if shape.kind == "line" and np.array_equal(points[0], points[1]):
        return "both ends of the line are the same point"
    if shape.kind == "rectangle" and (points[0] == points[1]).any():
        return "the rectangle has no area: its corners share a coordinate"
    if shape.kind == "ellipse":
        return _ellipse_problem(points)
    if shape.kind == "region" and abs(_signed_area(points)) < 1e-9 and not crosses_itself(points):
        return "the region has no area: its points lie on one line"
    return None


def _ellipse_problem(ends: NDArray[np.float64]) -> str | None:
    first, second = ends[1] - ends[0], ends[3] - ends[2]
    long, short = sorted((float(np.linalg.norm(first)), float(np.linalg.norm(second))))[::-1]
    if short == 0:
        return "the ellipse has an axis of length 0"
    cosine = abs(float(first @ second)) / (long * short)
    apart = float(np.linalg.norm((ends[0] + ends[1]) / 2 - (ends[2] + ends[3]) / 2))
    if cosine > np.sin(np.radians(10)) or apart > 0.1 * long:
        return (
            "the four points are not the ends of an ellipse's axes: they have to be both ends of one, then of the other"
        )
    return None


def _signed_area(points: NDArray[np.float64]) -> float:
    x, y = (points - points.mean(axis=0)).T
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def crosses_itself(points: NDArray[np.float64]) -> bool:
    """Tell whether two edges of a closed outline `(N, 2)` cross in a point inside both; touching is no crossing."""
    start, end = points, np.roll(points, -1, axis=0)
    for index in range(len(points) - 2):
        others = slice(index + 2, len(points))
        this_side = _side(start[index], end[index], start[others]) * _side(start[index], end[index], end[others])
        that_side = _side(start[others], end[others], start[index]) * _side(start[others], end[others], end[index])
        if ((this_side < 0) & (that_side < 0)).any():
            return True
    return False


def _side(start: NDArray[np.float64], end: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return on which side of the line start-end a point lies: -1, 0 or 1; shapes broadcast."""
    along, toward = end - start, point - start
    return np.sign(along[..., 0] * toward[..., 1] - along[..., 1] * toward[..., 0])
