"""Attributes that the readers do not return are counted by name, in all formats alike, however many a file has."""

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest

from sonoseg.annotations import FORMATS, AnnotatedImage
from sonoseg.annotations.cvat.file import CvatFile
from sonoseg.annotations.labelled import ImageFinder, Labels
from sonoseg.annotations.unread import MOST_NAMES, Unread, count_unread, is_filled, unread_line
from sonoseg.io.png import write_image
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.annotations import Structure

SIZE = (20, 30)
POINTS = [[1, 1], [9, 1], [9, 9], [1, 9]]
FLAT = [number for point in POINTS for number in point]
STRUCTURES = [Structure(name="R", shape="region", color="#ff0000")]

Fields = dict[str, Any]
Write = Callable[[list[Fields], Fields], str]
"""Function of the attributes of each shape and those of the image, which returns the text of a file."""


def labelme(shapes: list[Fields], image: Fields) -> str:
    common = {"label": "R", "points": POINTS, "shape_type": "polygon", "group_id": None, "description": "", "flags": {}}
    head = {"version": "5.5.0", "flags": {}, "imagePath": "a.png", "imageData": "x", "imageHeight": 20}
    return json.dumps({**head, "imageWidth": 30, "shapes": [{**common, **shape} for shape in shapes], **image})


def coco(shapes: list[Fields], image: Fields) -> str:
    head = {"id": 1, "file_name": "a.png", "height": 20, "width": 30, "license": 1, "date_captured": "2026"}
    common = {"image_id": 1, "category_id": 1, "segmentation": [FLAT], "area": 64, "bbox": [1, 1, 8, 8], "iscrowd": 0}
    lists = {"images": [{**head, **image}], "categories": [{"id": 1, "name": "R", "supercategory": ""}]}
    return json.dumps(
        {**lists, "annotations": [{"id": at, **common, **shape} for at, shape in enumerate(shapes)], "licenses": []}
    )


def cvat(shapes: list[Fields], image: Fields) -> str:
    """Attributes of the element are those of the field `""`; of the image, tags."""
    parts = []
    for shape in shapes:
        own = " ".join(f"{name}={quoteattr(value)}" for name, value in shape.get("", {}).items())
        inner = "".join(f"<attribute name={quoteattr(name)}>{shape[name]}</attribute>" for name in shape if name)
        points = 'label="R" source="manual" points="1,1;9,1;9,9;1,9"'
        parts.append(f"<polygon {points} {own}>\n{inner}\n</polygon>")
    tags = "".join(f"<tag label={quoteattr(name)} source='manual'></tag>" for name in image)
    meta = "<meta><task><labels><label><attributes><attribute><name>x</name></attribute></attributes></label></labels>"
    image_text = f'<image id="0" name="a.png" width="30" height="20">{"".join(parts)}{tags}</image>'
    return f"<annotations>{meta}</task></meta>{image_text}</annotations>"


def label_studio(shapes: list[Fields], image: Fields) -> str:
    """Each attribute is the type of a result, and its value; those of the field `""` are of the shape's own result."""
    results: list[Fields] = []
    for at, shape in enumerate(shapes):
        sides = {"original_width": 30, "original_height": 20, "image_rotation": 0, "origin": "manual"}
        value = {"points": POINTS, "closed": True, "polygonlabels": ["R"]}
        own = {"id": f"s{at}", "type": "polygonlabels", "from_name": "p", "to_name": "image", "value": value}
        results += [{**own, **sides, **shape.get("", {})}]
        results += [said(name, shape[name], f"s{at}") for name in shape if name]
    results += [said(name, value, "i") for name, value in image.items()]
    return json.dumps([{"data": {"image": "a.png"}, "annotations": [{"result": results}]}])


def said(name: str, value: Any, key: str) -> Fields:
    """Return a result of the type before the colon of a name; its control is what follows."""
    kind, _, control = name.partition(":")
    return {"id": key, "type": kind, "from_name": control, "to_name": "image", "value": value}


FILES: dict[str, tuple[str, Write]] = {
    "labelme": ("images/a.json", labelme),
    "coco": ("annotations.json", coco),
    "cvat": ("annotations.xml", cvat),
    "label_studio": ("annotations.json", label_studio),
}
Read = Callable[..., AnnotatedImage]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Return a function that writes a file of a format for the image `a`, and returns the image that is read."""
    write_image(tmp_path / "images" / "a.png", np.zeros(SIZE, np.uint8))

    def read(name: str, shapes: list[Fields], image: Fields, **section: Any) -> AnnotatedImage:
        file, write = FILES[name]
        (tmp_path / file).write_text(write(shapes, image))
        more = {"without_annotation": "empty", **section}
        (item,), faults = FORMATS[name].read(tmp_path, annotations_section(name, **more), STRUCTURES)
        assert faults == []
        return item

    return read


TAKEN = {"text": ["a note"], "points": POINTS}  # of a result about a shape, which repeats the shape's points
NAMED: dict[str, tuple[list[Fields], Fields, str]] = {
    "labelme": (
        [{"flags": {"blurred": True, "cut": False}, "group_id": 0}, {"flags": {"blurred": True}, "description": "?"}],
        {"flags": {"poor": True, "good": False}, "scanner": "X"},
        "'blurred' (2 shapes), 'description' (1 shape), 'group_id' (1 shape), 'poor' (1 image), 'scanner' (1 image)",
    ),
    "coco": (
        [{"iscrowd": 1, "attributes": {"side": "left", "occluded": False}}, {"attributes": {"side": "right"}}],
        {"patient": 7},
        "'side' (2 shapes), 'iscrowd' (1 shape), 'patient' (1 image)",
    ),
    "cvat": (
        [
            {"": {"occluded": "1"}, "side": "left", "cut": "", "grade": "0"},
            {"": {"z_order": "3", "group_id": "2"}, "side": "?"},
        ],
        {"poor": ""},
        "'side' (2 shapes), 'grade' (1 shape), 'group_id' (1 shape), 'occluded' (1 shape), 'poor' (1 image), "
        "'z_order' (1 shape)",
    ),
    "label_studio": (
        [
            {"choices:side": {"choices": ["left"]}, "textarea:note": TAKEN, "": {"meta": {"text": ["x"]}}},
            {"choices:side": {"choices": ["right"]}, "rating:": {"rating": 4}, "": {"score": 0.5, "parentID": "s0"}},
        ],
        {"choices:quality": {"choices": ["poor"]}, "choices:view": {"choices": []}},
        "'side' (2 shapes), 'meta' (1 shape), 'note' (1 shape), 'parentID' (1 shape), 'quality' (1 image), "
        "'rating' (1 shape), 'score' (1 shape)",
    ),
}
EMPTY: dict[str, tuple[list[Fields], Fields]] = {
    "labelme": (
        [{"flags": {"blurred": False}, "difficult": False, "links": [], "attributes": {}}],
        {"flags": {"x": False}},
    ),
    "coco": ([{"attributes": {"occluded": False, "rotation": 0.0, "side": ""}, "keypoints": [0, 0, 0]}], {"x": None}),
    "cvat": ([{"": {"occluded": "0", "z_order": "0"}, "side": " \n ", "cut": "False"}], {}),
    "label_studio": (
        [{"": {"meta": {"sonoseg": [1], "text": []}, "score": None, "hidden": True}, "textarea:note": {"text": [""]}}],
        {},
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_attributes_are_counted_by_name(name: str, read: Read) -> None:
    shapes, image, expected = NAMED[name]
    item = read(name, shapes, image)
    assert len(item.shapes) == 2
    assert unread_line([item.unread]) == f"attributes that are not written: {expected}"


@pytest.mark.parametrize("name", FILES)
def test_empty_values_and_what_every_file_has_are_not_named(name: str, read: Read) -> None:
    item = read(name, *EMPTY[name])
    assert len(item.shapes) == 1 and item.unread == Unread() and unread_line([item.unread]) is None


@pytest.mark.parametrize("name", FILES)
def test_shapes_that_are_not_read_have_no_attributes(name: str, read: Read) -> None:
    """They are left out as a whole, because the task says so."""
    shapes, image, _ = NAMED[name]
    unread = read(name, shapes, image, labels={"R": None}).unread
    assert unread and {owner for _, owner in unread} == {"image"}


@pytest.mark.parametrize("name", FILES)
def test_a_hundred_thousand_names_are_one_short_line(name: str, read: Read) -> None:
    names = [f"{at}\u202e\n{'n' * 400}" if at % 1000 == 0 else f"n{at}" for at in range(100_000)]
    if name == "label_studio":
        shapes = [{f"choices:{one}": {"choices": ["x"]} for one in names[at::10]} for at in range(10)]
        image = {f"choices:of image {at}": {"choices": ["x"]} for at in range(20)}
        shapes = [{key: shape[key] for key in list(shape)[:900]} for shape in shapes]  # of 10,000 results
    else:
        shapes, image = [dict.fromkeys(names[at::10], "x") for at in range(10)], {"of image": "x"}
    unread = read(name, shapes, image).unread
    assert len(unread) <= MOST_NAMES + 1
    assert sum(len(shown) for shown, _ in unread) < 40 * len(unread)
    line = unread_line([unread] * 1000)
    assert line and len(line) < 700 and line.isprintable() and line.endswith(", and others")


def test_names_of_many_images_are_bounded_too() -> None:
    tracemalloc.start()
    try:
        line = unread_line(Unread({(f"'{at}'", "shape"): 1}) for at in range(10_000))
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()
    named = ", ".join(f"'{at}' (1 shape)" for at in sorted(map(str, range(MOST_NAMES))))
    assert line == f"attributes that are not written: {named}, and others"


def test_of_one_shape_with_many_attributes_few_are_in_memory(tmp_path: Path) -> None:
    """The text of a CVAT file is taken as it is read, and may have millions of attributes of one shape."""
    write_image(tmp_path / "images" / "a.png", np.zeros(SIZE, np.uint8))
    section = annotations_section("cvat")
    file = CvatFile("a.xml", ImageFinder(tmp_path, section), Labels(section, STRUCTURES))
    file.start("annotations", {})
    file.start("image", {"name": "a.png"})
    file.start("polygon", {"label": "R", "points": "1,1;9,1;9,9"})
    tracemalloc.start()
    try:
        for at in range(10_000):
            file.start("attribute", {"name": f"{at}" * 10})
            file.data("x")
            file.end("attribute")
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
    file.end("polygon")
    file.end("image")
    assert len(file.entries["a"].unread) == MOST_NAMES + 1


def test_a_name_counts_once_for_a_shape_and_images_apart() -> None:
    unread = Unread()
    count_unread(unread, ["side", "side"])
    count_unread(unread, ["side"], "image")
    count_unread(unread, [])
    assert unread == {("'side'", "shape"): 1, ("'side'", "image"): 1}
    count_unread(unread, map(str, range(MOST_NAMES)))
    count_unread(unread, ["side", "one more"])
    assert unread["'side'", "shape"] == 2 and len(unread) == MOST_NAMES + 1


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *[("a", value, False) for value in (None, False, "", " ", "false", [], [""], [None, False], {})],
        *[("a", value, True) for value in (True, 0, 0.0, "0", "no", [1], ["", "x"], {"b": None}, 10**400)],
        *[("occluded", value, False) for value in (0, 0.0, "0", False, "false")],
        *[("occluded", value, True) for value in (1, "1", True, "true")],
    ],
)
def test_what_says_something(name: str, value: Any, expected: bool) -> None:
    assert is_filled(name, value) is expected
