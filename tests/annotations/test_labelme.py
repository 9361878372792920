"""Files of labelme: every shape type, what is written, the image a file belongs to, and hostile files."""

import base64
import io
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from sonoseg.annotations import FORMATS, AnnotatedImage, Annotation
from sonoseg.errors import DataError
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault
from sonoseg.io.png import encode_png
from sonoseg.prepare.verify import check
from sonoseg.schema.annotation_formats import LabelMe
from tests.annotations.conftest import ReadFile
from tests.annotations.two_structures import STRUCTURES, labels_of
from tests.annotations.values import JSON, iou, line_distance

SIZE = (48, 64)
SECTION = LabelMe(format="labelme", labels={"ignored": None, "midline": "L"})


def entry(kind: str | None, points: Any, label: Any = "R", **more: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, "group_id": 3, "flags": {"x": True}, **more}


def png_text(mask: np.ndarray) -> str:
    return base64.b64encode(encode_png(mask.astype(np.uint8))).decode()


@pytest.fixture
def read(images_of: Callable[..., ReadFile]) -> Callable[..., tuple[list[AnnotatedImage], list[str]]]:
    """Return a function that writes `a.json` with these shapes, and reads it: items and faults as text."""
    read_file = images_of(SIZE, "a.png")

    def read(shapes: Any = (), section: LabelMe = SECTION, **fields: Any) -> tuple[list[AnnotatedImage], list[str]]:
        document = {"version": "5.5.0", "shapes": shapes, "imagePath": "a.png", "imageData": "x" * 1000, **fields}
        items, faults = read_file(section, "images/a.json", json.dumps(document))
        return items, [str(fault) for fault in faults]

    return read


@pytest.mark.parametrize("kind", ["polygon", None, "rectangle", "rectangle of 4", "oriented_rectangle", "mask"])
def test_a_square_at_pixel_centres_has_its_pixels(kind: str | None, read: Callable[..., Any]) -> None:
    corners, both = [[3, 5], [12, 5], [12, 14], [3, 14]], [[12, 14], [3, 5]]
    if kind == "mask":
        shape = entry("mask", [[3.0, 5.9], [12.2, 14.0]], mask=png_text(np.ones((10, 10))))
    elif kind == "rectangle of 4":
        shape = entry("rectangle", corners)
    else:
        shape = entry(kind, both if kind == "rectangle" else corners)
    items, faults = read([shape], imageHeight=SIZE[0], imageWidth=SIZE[1])
    assert faults == [] and items[0].size == SIZE
    labels = labels_of(items, SIZE)
    assert np.count_nonzero(labels) == 100 and (labels[5:15, 3:13] == 2).all()


def test_circles_lines_and_strips_are_drawn(read: Callable[..., Any]) -> None:
    items, faults = read(
        [
            entry("circle", [[30, 20], [30, 30]]),
            entry("line", [[1, 1], [1, 9]], "midline"),
            entry("linestrip", [[5, 40], [20, 40], [20, 45]], "L"),
        ]
    )
    assert faults == [] and items[0].size is None
    assert [index for index, _ in items[0].shapes] == [0, 1, 2, 2]
    labels = labels_of(items, SIZE)
    assert np.count_nonzero(labels == 2) == pytest.approx(np.pi * 100, rel=0.02)
    assert labels[20, 20] == labels[20, 40] == 2 and labels[20, 41] == 0
    assert (labels[1:10, 1] == 1).all() and (labels[40, 5:21] == 1).all() and (labels[40:46, 20] == 1).all()


def test_labels_are_mapped_ignored_and_unknown(read: Callable[..., Any]) -> None:
    shapes = [entry("point", [[1, 1]], "ignored"), entry("rectangle", [[1, 1], [5, 5]], "other")]
    items, faults = read(shapes)
    assert items[0].shapes == ()
    assert faults == [
        "images, label 'other': 1 shape of no class; map it to L or R in annotations.labels of the task, or to null "
        "to ignore it"
    ]


def test_a_file_without_shapes_is_an_image_without_structures(read: Callable[..., Any]) -> None:
    items, faults = read([])
    assert faults == [] and items[0].shapes == () and items[0].id == "a"


@pytest.mark.parametrize(
    ("choice", "count", "words"), [(None, 1, "set annotations"), ("empty", 2, ""), ("leave_out", 1, "left out")]
)
def test_an_image_without_a_file_is_asked_about(
    choice: Any, count: int, words: str, read: Callable[..., Any], tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    write_picture(tmp_path / "images" / "b.png", size=SIZE)
    items, faults = read([], LabelMe(format="labelme", without_annotation=choice))
    assert len(items) == count
    assert words in " ".join(faults) and len(faults) == (choice != "empty")


@pytest.mark.parametrize("path", [r"C:\data\images\a.png", "../../x/a.png", "renamed.png", None, "../../etc/passwd"])
def test_the_stem_of_the_file_decides_which_image_it_belongs_to(path: Any, read: Callable[..., Any]) -> None:
    items, faults = read([entry("rectangle", [[1, 1], [5, 5]])], imagePath=path)
    assert faults == [] and items[0].id == "a" and items[0].shapes


def test_files_that_fit_no_image_are_faults(
    read: Callable[..., Any], tmp_path: Path, write_picture: Callable[..., Path]
) -> None:
    write_picture(tmp_path / "images" / "b.png", size=SIZE)
    write_picture(tmp_path / "images" / "d.png", size=SIZE)
    write_picture(tmp_path / "images" / "D.bmp", size=SIZE)
    folder = tmp_path / "images"
    (folder / "c.json").write_text("{}")
    (folder / "b.json").write_text("{not json")
    (folder / "b.JSON").write_text('{"shapes": []}')
    (folder / "d.json").write_text('{"shapes": []}')
    (folder / "._a.json").write_bytes(b"\0")
    items, faults = read([], imagePath="..\\b.png")
    assert {item.id for item in items} == {"a", "b"}
    # The image d has a fault of its own, and its JSON file needs no second one.
    assert [fault for fault in faults if "d." in fault.split(":")[0]] == [
        "images/d.png: has the same id as images/D.bmp (or one that differs only in case); rename one"
    ]
    assert any(
        "images/a.json: its imagePath is '..\\\\b.png', which is another image than a" in fault for fault in faults
    )
    assert any("images/c.json: annotation of an image that is not there; expected c in images/" in f for f in faults)
    assert any("a second annotation of the image b" in fault for fault in faults)


def test_a_missing_folder_a_link_and_a_damaged_file(read: Callable[..., Any], tmp_path: Path) -> None:
    read([])
    with pytest.raises(DataError, match="no such folder; expected the JSON files of labelme"):
        FORMATS["labelme"].read(tmp_path, LabelMe(format="labelme", annotations="json"), STRUCTURES)
    (tmp_path / "images" / "a.json").unlink()
    (tmp_path / "images" / "a.json").symlink_to("/etc/passwd")
    items, faults = FORMATS["labelme"].read(tmp_path, SECTION, STRUCTURES)
    assert [str(fault) for fault in faults] == ["images/a.json: leads out of the data folder; copy the file there"]
    for text in ("", "[1, 2", "[" * 100_000, '{"shapes": NaN}', '{"shapes": 3}', "[]", "3"):
        (tmp_path / "images" / "a.json").unlink()
        (tmp_path / "images" / "a.json").write_text(text)
        items, faults = FORMATS["labelme"].read(tmp_path, SECTION, STRUCTURES)
        assert len(faults) == 1 and faults[0].kind == "unreadable" and items[0].shapes == ()


def bomb(width: int, height: int) -> str:
    """Return a PNG of a few kB that declares and contains many pixels."""
    image = io.BytesIO()
    Image.new("1", (width, height)).save(image, "PNG")
    return base64.b64encode(image.getvalue()).decode()


def with_late_header(width: int, height: int) -> str:
    """Return a PNG whose second header declares other sizes than its first."""
    png = encode_png(np.ones((10, 10), np.uint8))
    data = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    chunk = (13).to_bytes(4, "big") + data + zlib.crc32(data).to_bytes(4, "big")
    return base64.b64encode(png[:33] + chunk + png[33:]).decode()


BOX = [[3, 5], [12, 14]]


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        (entry("point", [[1, 1]]), "R: a point has no area"),
        (entry("points", [[1, 1], [2, 2]]), "R: a point has no area"),
        (entry("line", [[1, 1], [2, 2]]), "R: an open line"),
        (entry("line", [[1, 1], [2, 2], [3, 3]], "L"), "L: 3 points; a line of labelme has 2"),
        (entry("polygon", [[1, 1], [2, 2]]), "R: 2 points; a polygon has 3 or more"),
        (entry("polygon", [[0, 0]] * 10_001), "10001 points; at most 10000"),
        (entry("polygon", [[0, 1], [2, "3"], [1, 1]]), "pairs of numbers"),
        (entry("polygon", [[0, 1], [2, 1e300], [1, 1]]), "pairs of numbers"),
        (entry("polygon", None), "found nothing as points"),
        (entry("rectangle", [[1, 1]]), "1 points; a rectangle of labelme has 2"),
        (entry("circle", [[1, 1], [1, 1]]), "radius of the ellipse is not above 0"),
        (entry("cuboid", [[1, 1]]), "unknown shape_type 'cuboid'; expected polygon, rectangle"),
        (entry(["polygon"], [[1, 1]]), "unknown shape_type a list"),  # type: ignore[arg-type]
        (entry("polygon", [], label=3), "found 3 as label"),
        (3, "found 3; expected an object with label"),
        (entry("mask", BOX), "found nothing as mask"),
        (entry("mask", BOX, mask="%"), "not the base64 text of a PNG"),
        (entry("mask", BOX, mask="äöü"), "not the base64 text of a PNG"),
        (entry("mask", BOX, mask=png_text(np.ones((10, 11)))), "11x10 pixels; expected a PNG of 10x10"),
        (entry("mask", BOX, mask=bomb(20_000, 20_000)), "20000x20000 pixels; expected a PNG of 10x10"),
        (
            entry("mask", BOX, mask=with_late_header(30_000, 30_000)),
            "30000x30000 pixels declared; at most 100 are decoded",
        ),
        (entry("mask", BOX, mask=png_text(np.ones((10, 10)))[:60]), "its mask: "),
        (entry("mask", [[3, 5], [64, 14]], mask=""), "not inside the image of 64x48"),
        (entry("mask", [[-1, 5], [12, 14]], mask=""), "not inside the image"),
        (entry("mask", [[3, 5], [2, 14]], mask=""), "not inside the image"),
    ],
)
def test_what_cannot_be_drawn_is_a_fault(shape: Any, reason: str, read: Callable[..., Any]) -> None:
    items, faults = read([shape], imageHeight=SIZE[0], imageWidth=SIZE[1])
    assert len(faults) == 1 and faults[0].startswith("images/a.json, shape 0: ") and reason in faults[0]
    assert len(faults[0]) < 250 and items[0].shapes == ()


def test_a_huge_box_is_refused_where_the_size_of_the_image_is_not_stated(read: Callable[..., Any]) -> None:
    _, faults = read([entry("mask", [[0, 0], [19_999, 19_999]], mask=bomb(20_000, 20_000))])
    assert "20000x20000 pixels; at most 50000000 are read" in faults[0]


@pytest.mark.parametrize("value", ["48", -1, 0, 1.5, True, [], 10**400, 10**7])
def test_a_size_that_is_none_is_a_fault(value: Any, read: Callable[..., Any]) -> None:
    items, faults = read([], imageHeight=value, imageWidth=64)
    assert len(faults) == 1 and "expected a number of pixels" in faults[0] and items[0].size is None


def test_the_size_that_is_stated_has_to_be_that_of_the_image(
    read: Callable[..., Any], tmp_path: Path, make_task: Callable[..., Any]
) -> None:
    (item,), _ = read([entry("rectangle", [[1, 1], [9, 9]])], imageHeight=SIZE[0], imageWidth=SIZE[1] + 1)
    checked, faults = check(item, tmp_path, make_task([{"name": "R", "shape": "region"}]))
    assert checked is None
    assert [str(fault) for fault in faults] == [
        "images/a.png: was annotated as an image of 65x48 pixels, this one has 64x48; annotate this one, or put that "
        "one here"
    ]


SHAPES = [
    Shape("L", "line", np.array([[3.25, 4], [50.5, 40.75]])),
    Shape("R", "rectangle", np.array([[2, 3], [31, 20]], dtype=float)),
    Shape("R", "ellipse", np.array([[10, 20], [50, 28], [28, 34], [32, 14]], dtype=float)),
    Shape("R", "ellipse", np.array([[10, 20], [50, 28], [29, 34], [32, 13.5]])),  # not quite perpendicular
    Shape("R", "region", np.array([[5, 5], [40, 9], [33.3, 40], [20, 20], [7, 30]])),
    Bitmap.of("R", np.random.default_rng(0).random((20, 30)) > 0.4, 5, 7),
    Bitmap.of("R", np.ones((20, 30), bool), -5, 40),
    Shape("R", "rectangle", np.array([[20, 5], [44, 17], [39, 27], [15, 15]], dtype=float)),
]


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_what_is_written_is_read_and_covers_the_same_pixels(
    number: int, tmp_path: Path, read: Callable[..., Any]
) -> None:
    shape = SHAPES[number]
    section = LabelMe(format="labelme", annotations="json", labels={"midline": "L"})
    FORMATS["labelme"].write(tmp_path, section, [Annotation("a.png", (shape,), size=SIZE)])
    document = json.loads((tmp_path / "json" / "a.json").read_text())
    assert document["imagePath"] == "../images/a.png" and document["imageData"] is None
    assert document["shapes"][0]["label"] == ("midline" if shape.structure == "L" else "R")
    (item,), faults = FORMATS["labelme"].read(tmp_path, section, STRUCTURES)
    assert faults == [] and item.size == SIZE
    ((index, read_shape),) = item.shapes
    assert index == 0 and type(read_shape) is type(shape)
    if isinstance(shape, Shape):
        assert isinstance(read_shape, Shape) and read_shape.kind == shape.kind
        assert number == 3 or np.abs(read_shape.points - shape.points).max() <= 0.01
    if shape.structure == "L":
        assert line_distance(read_shape, shape) < 0.5
    assert iou(read_shape, shape, SIZE) >= 0.99


def test_an_ellipse_follows_its_rectangle(tmp_path: Path, read: Callable[..., Any]) -> None:
    own = {"sonoseg": {"shape": "ellipse"}}
    items, faults = read([entry("oriented_rectangle", [[10, 10], [40, 10], [40, 30], [10, 30]], **own)])
    assert faults == []
    ((_, ellipse),) = items[0].shapes
    assert isinstance(ellipse, Shape) and ellipse.kind == "ellipse"
    assert ellipse.points.tolist() == [[10, 20], [40, 20], [25, 10], [25, 30]]
    items, _ = read([entry("polygon", [[10, 10], [40, 10], [40, 30], [10, 30]], **own)])
    assert items[0].shapes[0][1].kind == "region"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (Annotation("a.png", SHAPES[:1]), "a.png: has no size"),  # type: ignore[arg-type]
        (Annotation("a.png", (Bitmap.of("R", np.ones((2, 2), bool), 80, 3),), size=SIZE), "a.png: R has no pixel"),
    ],
)
def test_an_annotation_that_cannot_be_stored_is_refused(annotation: Annotation, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        FORMATS["labelme"].write(tmp_path, SECTION, [annotation])


FIELDS = st.dictionaries(
    st.sampled_from(["shapes", "imagePath", "imageHeight", "imageWidth", "version", "flags"]), JSON, max_size=6
)
SHAPE_FIELDS = st.fixed_dictionaries(
    {
        "label": st.sampled_from(["L", "R", "ignored", "x"]) | JSON,
        "shape_type": st.sampled_from(
            ["polygon", "rectangle", "oriented_rectangle", "circle", "line", "linestrip", "point", "mask"]
        )
        | JSON,
        "points": st.lists(st.lists(st.floats(-1e3, 1e3) | JSON, min_size=2, max_size=2), max_size=5) | JSON,
        "mask": st.just(png_text(np.ones((4, 4)))) | st.text(max_size=9) | JSON,
        "sonoseg": st.just({"shape": "ellipse"}) | JSON,
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=JSON | FIELDS | st.fixed_dictionaries({"shapes": st.lists(SHAPE_FIELDS, max_size=3)}))
def test_any_json_gives_faults_or_shapes(document: Any, read: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "images" / "a.json").write_text(json.dumps(document))
    items, faults = FORMATS["labelme"].read(tmp_path, SECTION, STRUCTURES)
    assert [item.id for item in items] == ["a"]
    assert all(isinstance(fault, Fault) and len(str(fault)) < 2000 for fault in faults)
    for _, shape in items[0].shapes:
        shape.draw(SIZE)
