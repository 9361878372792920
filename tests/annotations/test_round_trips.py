"""Formats of annotation tools draw the same pixels after writing and reading, for shapes of every kind."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sonoseg.annotations import FORMATS, Annotation, drawn
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotation_formats import Cvat, LabelStudio
from sonoseg.schema.annotations import Structure

SECTIONS = {"cvat": Cvat(format="cvat"), "label_studio": LabelStudio(format="label_studio")}
SIZE = (97, 211)
STRUCTURES = [
    Structure(name="line", shape="line", color="#ff0000", thickness_px=3),
    Structure(name="rectangle", shape="rectangle", color="#00ff00"),
    Structure(name="ellipse", shape="ellipse", color="#0000ff"),
    Structure(name="region", shape="region", color="#ffff00"),
]

Trip = Callable[..., list[Shape | Bitmap]]


@pytest.fixture(params=SECTIONS)
def trip(request: pytest.FixtureRequest, tmp_path: Path, write_picture: Callable[..., Path]) -> Trip:
    """Return a function that gives the shapes that one format reads after writing these."""
    annotation_format, section = FORMATS[request.param], SECTIONS[request.param]
    write_picture(tmp_path / "images" / "a.png", size=SIZE)

    def read_again(*shapes: Shape | Bitmap) -> list[Shape | Bitmap]:
        annotation_format.write(tmp_path, section, [Annotation("a.png", shapes, size=SIZE)])
        (item,), faults = annotation_format.read(tmp_path, section, STRUCTURES)
        assert faults == [] and item.size in (SIZE, None)
        return [shape for _, shape in item.shapes]

    return read_again


def mask_of(shape: Shape | Bitmap) -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    window, inside = shape.draw(SIZE, 3)
    mask[window] = inside
    return mask


def overlap(first: Shape | Bitmap, second: Shape | Bitmap) -> float:
    one, other = mask_of(first), mask_of(second)
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("angle", [0, 17, 45, 90, 133.3, 180])
@pytest.mark.parametrize("axes", [(80, 30), (60, 60), (7, 90)])
def test_a_rotated_ellipse(trip: Trip, angle: float, axes: tuple[float, float]) -> None:
    shape = Shape("ellipse", "ellipse", Ellipse(100.25, 50.5, *axes, angle).axis_ends())
    (read,) = trip(shape)
    assert isinstance(read, Shape) and read.kind == "ellipse"
    assert np.abs(read.points - shape.points).max() < 0.01
    assert overlap(read, shape) >= 0.99


def test_an_ellipse_whose_axes_are_some_degrees_from_a_right_angle(trip: Trip) -> None:
    shape = Shape("ellipse", "ellipse", np.array([(95.0, 20), (105, 80), (60, 50), (140, 55)]))
    assert overlap(trip(shape)[0], shape) >= 0.99


def test_a_rectangle_covers_the_same_pixels(trip: Trip) -> None:
    shape = Shape("rectangle", "rectangle", np.array([(30.0, 12), (39, 21)]))
    (read,) = trip(shape)
    assert mask_of(read).sum() == 100 and np.array_equal(mask_of(read), mask_of(shape))
    corners = Shape("rectangle", "rectangle", np.array([(210.0, 0), (0, 96)]))
    assert mask_of(trip(corners)[0]).all()


@pytest.mark.parametrize("angle", [-30, 17, 45, 90, 133.3])
def test_a_turned_rectangle(trip: Trip, angle: float) -> None:
    shape = drawn.rotated_box(STRUCTURES[1], (100.25, 50.5), (70, 21), angle)
    assert shape.kind == "rectangle" and len(shape.points) == (2 if angle == 90 else 4)
    for points in (shape.points, shape.points[::-1]):  # clockwise, and anticlockwise
        (read,) = trip(Shape("rectangle", "rectangle", points))
        assert isinstance(read, Shape) and read.kind == "rectangle" and read.structure == "rectangle"
        assert np.abs(np.sort(read.outline(), axis=0) - np.sort(shape.outline(), axis=0)).max() <= 0.02
        assert overlap(read, shape) >= 0.99


@pytest.mark.parametrize("angle", [-61, 7, 38, 91])
def test_a_thin_turned_rectangle_keeps_its_direction(trip: Trip, angle: float) -> None:
    shape = drawn.rotated_box(STRUCTURES[1], (100.25, 50.5), (3, 90), angle)
    (read,) = trip(Shape("rectangle", "rectangle", shape.points.round(2)))
    assert isinstance(read, Shape)
    assert np.abs(np.sort(read.outline(), axis=0) - np.sort(shape.outline(), axis=0)).max() <= 0.03


def test_a_line_is_the_same_line(trip: Trip) -> None:
    for points in [(3.0, 90.25), (200.5, 4.75)], [(20.0, 5), (20, 90)], [(-0.5, -0.5), (210.5, 96.5)]:
        (read,) = trip(Shape("line", "line", np.array(points)))
        assert isinstance(read, Shape) and read.kind == "line"
        assert np.abs(read.points - np.array(points)).max() < 0.01


def test_a_region(trip: Trip) -> None:
    angles = np.linspace(0, 2 * np.pi, 57, endpoint=False)
    radii = 30 + 12 * np.sin(5 * angles)
    shape = Shape(
        "region", "region", np.array([90, 48]) + np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]
    )
    (read,) = trip(shape)
    assert isinstance(read, Shape) and np.abs(read.points - shape.points).max() <= 0.0051
    assert overlap(read, shape) >= 0.99


@pytest.mark.parametrize("left, top, size", [(0, 0, SIZE), (20, 30, (11, 5)), (-4, 90, (20, 30)), (205, -3, (6, 40))])
def test_a_bitmap_has_the_same_pixels_inside_its_image(trip: Trip, left: int, top: int, size: tuple[int, int]) -> None:
    mask = np.random.default_rng(0).random(size) > 0.5
    bitmap = Bitmap.of("region", mask, left, top)
    (read,) = trip(bitmap)
    assert isinstance(read, Bitmap) and np.array_equal(mask_of(read), mask_of(bitmap))


def test_a_bitmap_without_a_pixel_inside_its_image_is_not_written(trip: Trip) -> None:
    line = Shape("line", "line", np.array([(1.0, 2), (30, 4)]))
    outside = Bitmap.of("region", np.ones((3, 3), bool), left=300)
    empty = Bitmap.of("region", np.zeros((3, 3), bool))
    assert len(trip(outside, line, empty)) == 1
