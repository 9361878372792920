"""Checks of annotated shapes that need the size of their image."""

import numpy as np

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error, warning
from sonoseg.sizes import Size

PIXEL_HALF = 0.5


def check_shapes(shapes: tuple[tuple[int, Shape | Bitmap], ...], size: Size, where: str, image: str) -> list[Fault]:
    """Return the faults of numbered shapes on an image of `size` (height, width); `where` is its path, `image` its id.

    Errors: points far outside the image; degenerate shapes (see `ShapeKind.problem`). Warnings: points slightly outside
    (only what lies inside is drawn); an outline that crosses itself (filled according to the even-odd rule).
    """
    faults = []
    for index, shape in shapes:
        if isinstance(shape, Bitmap):  # pixels cannot be degenerate, and what lies outside is cut off
            continue
        shape_name = f"{where}, shape {index} ({shape.structure})"
        outside = _outside(shape, size, shape_name, image)
        faults += outside
        if any(fault.level == "error" for fault in outside):
            continue
        kind = SHAPE_KINDS[shape.kind]
        problem = kind.problem(shape.points)
        if problem:
            faults.append(error(shape_name, problem, "shape", image))
        elif kind.crosses_itself(shape.points):
            message = f"the {shape.kind}'s outline crosses itself; filled by the even-odd rule"
            faults.append(warning(shape_name, message, "crossing", image))
    return faults


def _outside(shape: Shape, size: Size, shape_name: str, image: str) -> list[Fault]:
    """Return the fault of the point that lies furthest outside the image, if any."""
    height, width = size
    extent = np.array([width, height], dtype=np.float64)
    # A pixel extends half a pixel around its centre, so the image's edge is at -0.5 and at size - 0.5; annotation
    # tools that count from the pixel's corner give coordinates up to `size`.
    beyond = np.maximum(-PIXEL_HALF - shape.points, shape.points - extent) / extent
    worst = beyond.max()
    if worst <= 0:
        return []
    x, y = shape.points[int(beyond.max(axis=1).argmax())]
    message = f"point ({x:g}, {y:g}) lies outside the image of {width}x{height} pixels"
    if worst > SHAPE_KINDS[shape.kind].margin(shape.points):
        return [error(shape_name, f"{message}; was it annotated on an image of another size?", "shape", image)]
    return [warning(shape_name, f"{message}; only the part inside is drawn", "outside", image)]
