"""Shapes that are errors, shapes with a warning, and shapes without a fault."""

from pathlib import Path

import numpy as np
import pytest

from sonoseg.annotations import AnnotatedImage, drawn
from sonoseg.geometry.shapes import Shape
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.prepare.reading.labels import read_labels
from sonoseg.prepare.shape_checks import check_shapes
from sonoseg.schema.annotations import Structure

SIZE = (100, 200)


def levels(kind, points):
    shape = Shape("X", kind, np.array(points, dtype=float))
    return [fault.level for fault in check_shapes(((4, shape),), SIZE, "images/a.png", "a")]


@pytest.mark.parametrize(
    ("kind", "points", "expected"),
    [
        ("line", [[0, 0], [200, 100]], []),
        ("line", [[-0.5, 0], [199.5, 99.5]], []),
        ("line", [[-9, 5], [50, 5]], ["warning"]),
        ("line", [[5, 5], [50, 104]], ["warning"]),
        ("line", [[-11, 5], [50, 5]], ["error"]),
        ("line", [[5, 5], [50, 106]], ["error"]),
        ("line", [[5, 5], [1e12, 5]], ["error"]),
        ("line", [[5, 5], [1e308, -1e308]], ["error"]),
        ("line", [[5, 5], [5, 5]], ["error"]),
        ("rectangle", [[5, 5], [5, 50]], ["error"]),
        ("rectangle", [[5, 5], [6, 50]], []),
        ("rectangle", [[100, 60], [150, 110], [140, 120], [90, 70]], ["warning"]),  # turned, a corner below the image
        ("rectangle", [[100, 60], [250, 210], [240, 220], [90, 70]], ["error"]),
        ("region", [[5, 5], [10, 10], [20, 20]], ["error"]),
        ("region", [[5, 5], [10, 10], [20, 5]], []),
        ("region", [[0, 0], [10, 10], [10, 0], [0, 10]], ["warning"]),
        ("ellipse", [[50, 50], [90, 50], [70, 40], [70, 60]], []),
        ("ellipse", [[-60, 50], [90, 50], [15, 40], [15, 60]], ["warning"]),
        ("ellipse", [[50, 50], [50, 50], [70, 40], [70, 60]], ["error"]),
        ("ellipse", [[50, 50], [70, 40], [90, 50], [70, 60]], ["error"]),  # the four points go round the ellipse
    ],
)
def test_rule(kind, points, expected):
    assert levels(kind, points) == expected


@pytest.mark.parametrize(
    ("kind", "angle", "warned"), [("rectangle", 30, True), ("rectangle", 1, False), ("region", 30, False)]
)
def test_rectangles_that_are_turned_much(kind: str, angle: float, warned: bool) -> None:
    structure = Structure(name="X", shape=kind, color="#ff0000")
    shape = drawn.rotated_box(structure, (100, 50), (60, 20), angle)
    item = AnnotatedImage("a", ImageRef(Path("a.png")), shapes=((4, shape),))
    labels, faults = read_labels(item, SIZE, Path(), [structure], DEFAULT_LIMITS)
    assert labels is not None and abs(int((labels > 0).sum()) - 60 * 20) < 90
    assert [fault.kind for fault in faults] == ["turned"] * warned
    if warned:
        assert "shape 4 (X)" in str(faults[0]) and "is turned; results are parallel" in str(faults[0])


def test_the_fault_names_image_index_and_class():
    shape = Shape("MID", "line", np.array([[5.0, 5], [5, 5]]))
    (fault,) = check_shapes(((4, shape),), SIZE, "images/a.png", "a")
    assert fault.where == "images/a.png, shape 4 (MID)"
