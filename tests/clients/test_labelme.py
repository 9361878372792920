"""labelme itself opens what is written, and draws the same pixels. Skipped where labelme is not installed.

labelme has another licence and is no dependency; `pip install labelme` into an environment of its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotation_formats import LabelMe
from sonoseg.schema.annotations import Structure
from tests.annotations.values import iou, mask_of

labelme_shape = pytest.importorskip("labelme.utils.shape", exc_type=ImportError)

SIZE = (240, 320)
STRUCTURES = [
    Structure(name="A", shape="line", color="#ff0000", thickness_px=3),
    Structure(name="B", shape="rectangle", color="#00ff00"),
    Structure(name="C", shape="ellipse", color="#0000ff"),
    Structure(name="D", shape="region", color="#ffff00"),
]


def shape(name: str, kind: Any, *points: tuple[float, float]) -> Shape:
    return Shape(name, kind, np.array(points, dtype=float))


SQUARE = shape("D", "region", (3, 5), (12, 5), (12, 14), (3, 14))
AREAS = {
    "square": SQUARE,
    "rectangle": shape("B", "rectangle", (3, 5), (12, 14)),
    "turned rectangle": shape("B", "rectangle", (60, 40), (220, 120), (190, 180), (30, 100)),
    "region": shape("D", "region", (40, 40), (220, 60), (280, 200), (120, 160), (50, 220)),
    "bitmap": Bitmap.of("D", np.random.default_rng(0).random((50, 70)) > 0.4, 5, 7),
    "bitmap across the border": Bitmap.of("D", np.ones((50, 70), bool), -5, 220),
}


def label_file(path: Path) -> Any:
    """Return labelme's own object of a JSON file, whose module has another name in each major version."""
    try:
        from labelme._label_file import LabelFile
    except ImportError:
        from labelme.label_file import LabelFile
    return LabelFile(str(path))


@pytest.fixture
def opened(tmp_path: Path, write_picture: Callable[..., Path]) -> Callable[..., Any]:
    """Return a function that writes shapes, and gives the file as labelme opens it."""
    write_picture(tmp_path / "images" / "a.png", size=SIZE)
    section = LabelMe(format="labelme", annotations="json")

    def opened(*shapes: Shape | Bitmap) -> Any:
        FORMATS["labelme"].write(tmp_path, section, [Annotation("a.png", shapes, size=SIZE)])
        return label_file(tmp_path / "json" / "a.json")

    return opened


@pytest.mark.parametrize("name", AREAS)
def test_labelme_draws_the_same_pixels(name: str, opened: Callable[..., Any]) -> None:
    file = opened(AREAS[name])
    try:
        drawn, _ = labelme_shape.shapes_to_label(SIZE, file.shapes, {"A": 1, "B": 1, "C": 1, "D": 1})
    except AssertionError:  # version 5.5 reads masks and draws them in its window, but not by this function
        assert isinstance(AREAS[name], Bitmap)
        (left, top), (right, bottom) = file.shapes[0]["points"]
        drawn = np.zeros(SIZE)
        drawn[top : bottom + 1, left : right + 1] = file.shapes[0]["mask"]
    assert iou(drawn > 0, AREAS[name], SIZE) >= 0.99
    if name in ("square", "rectangle"):
        assert np.count_nonzero(drawn) == 100


def test_coordinates_are_those_of_pixel_centres(opened: Callable[..., Any]) -> None:
    region = AREAS["region"]
    assert isinstance(region, Shape)
    drawn, _ = labelme_shape.shapes_to_label(SIZE, opened(region).shapes, {"D": 1})
    moved = [Shape("D", "region", region.points + offset) for offset in (-0.5, 0.5)]
    assert iou(drawn > 0, region, SIZE) > max(iou(drawn > 0, other, SIZE) for other in moved)


def test_labelme_draws_a_line_where_it_is(opened: Callable[..., Any]) -> None:
    line = shape("A", "line", (10, 20), (140, 90))
    (read,) = opened(line).shapes
    assert read["points"] == [[10, 20], [140, 90]]
    drawn = labelme_shape.shape_to_mask(SIZE, read["points"], read["shape_type"], line_width=1)
    wide = np.zeros(SIZE, dtype=bool)
    window, pixels = line.draw(SIZE, 2)
    wide[window] = pixels
    assert drawn.any() and not (drawn & ~wide).any()


def test_an_ellipse_is_inside_its_rectangle(opened: Callable[..., Any]) -> None:
    ellipse = shape("C", "ellipse", (20, 50), (100, 70), (65, 40), (55, 80))
    (read,) = opened(ellipse).shapes
    assert read["shape_type"] == "oriented_rectangle"
    others = read.get("other_data", read)  # what labelme keeps and writes again
    assert others["sonoseg"] == {"shape": "ellipse"}
    drawn = labelme_shape.shape_to_mask(SIZE, read["points"], "polygon")
    inside = mask_of(ellipse, SIZE)
    assert not (inside & ~drawn).any()
    assert np.count_nonzero(inside) / np.count_nonzero(drawn) == pytest.approx(np.pi / 4, rel=0.02)


def test_what_labelme_needs_of_a_file(opened: Callable[..., Any], tmp_path: Path) -> None:
    file = opened(*AREAS.values())
    assert len(file.shapes) == len(AREAS) and file.flags == {}
    name = file.image_path if hasattr(file, "image_path") else file.imagePath
    assert (tmp_path / "json" / name).resolve() == tmp_path / "images" / "a.png"


def test_the_window_opens_and_saves_what_was_written(
    opened: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of version 6: ellipses need its oriented rectangles."""
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    monkeypatch.setenv("HOME", str(tmp_path))
    widgets = pytest.importorskip("PyQt5.QtWidgets", exc_type=ImportError)
    window_class = pytest.importorskip("labelme.app", exc_type=ImportError).MainWindow
    if not hasattr(window_class, "save_labels"):
        pytest.skip("a version of labelme before 6")
    ellipse = shape("C", "ellipse", (20, 50), (100, 70), (65, 40), (55, 80))
    shapes = [*AREAS.values(), shape("A", "line", (10, 20), (140, 90)), ellipse]
    opened(*shapes)
    file = tmp_path / "json" / "a.json"
    before = file.read_text()
    application = widgets.QApplication([])
    window = window_class(file_or_dir=str(file))
    application.processEvents()
    assert window.save_labels(str(file)) and file.read_text() != before
    section = LabelMe(format="labelme", annotations="json")
    (item,), faults = FORMATS["labelme"].read(tmp_path, section, STRUCTURES)
    assert faults == [] and len(item.shapes) == len(shapes)
    for (_, read), written in zip(item.shapes, shapes, strict=True):
        assert type(read) is type(written) and getattr(read, "kind", "") == getattr(written, "kind", "")
        assert iou(read, written, SIZE) >= 0.99
