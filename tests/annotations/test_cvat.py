"""CVAT for images: what is read from it, and what is refused."""

import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonoseg.annotations import FORMATS, AnnotatedImage, Annotation
from sonoseg.annotations.cvat.file import _drawn
from sonoseg.annotations.labelled import MAX_FAULTS, MAX_SHAPES
from sonoseg.errors import DataError
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault
from sonoseg.schema.annotation_formats import Cvat
from sonoseg.schema.annotations import Structure
from tests.annotations.conftest import ReadFile
from tests.annotations.two_structures import errors, labels_of

SIZE = (30, 40)

Read = Callable[..., tuple[list[AnnotatedImage], list[Fault]]]


@pytest.fixture
def read(images_of: Callable[..., ReadFile]) -> Read:
    """Return a function that reads a file with these elements; the folder has the images a.png and b.png."""
    read_file = images_of(SIZE, "a.png", "b.png")

    def read(elements: str | bytes, **section: object) -> tuple[list[AnnotatedImage], list[Fault]]:
        text = elements if isinstance(elements, bytes) else f"<annotations>{elements}</annotations>".encode()
        fields = {"format": "cvat", "without_annotation": "leave_out", **section}
        return read_file(Cvat.model_validate(fields), "annotations.xml", text)

    return read


def image(shapes: str, name: str = "a.png", size: str = 'width="40" height="30"') -> str:
    return f'<image id="0" name="{name}" {size}>{shapes}</image>'


def shape(tag: str, **attributes: object) -> str:
    values = " ".join(f"{name}={quoteattr(str(value))}" for name, value in {"label": "R", **attributes}.items())
    return f"<{tag} {values}/>"


def drawn(items: list[AnnotatedImage]) -> np.ndarray:
    return labels_of(items, SIZE) == 2


def test_a_box_over_ten_by_ten_pixels_covers_a_hundred(read: Read) -> None:
    items, faults = read(image(shape("box", xtl=3, ytl=5, xbr=13, ybr=15)))
    assert errors(faults) == [] and items[0].size == SIZE
    assert drawn(items).sum() == 100 and drawn(items)[5:15, 3:13].all()


def test_a_polygon_counts_from_the_corner_of_the_first_pixel(read: Read) -> None:
    items, _ = read(image(shape("polygon", points="0.00,0.00;4.00,0.00;4.00,6.00;0.00,6.00")))
    assert drawn(items).sum() == 24 and drawn(items)[:6, :4].all()


def test_a_box_is_turned_clockwise_about_its_centre(read: Read) -> None:
    turned = drawn(read(image(shape("box", xtl=10, ytl=12, xbr=22, ybr=18, rotation=90)))[0])
    assert turned.sum() == 72 and turned[9:21, 13:19].all()
    slanted = drawn(read(image(shape("box", xtl=5, ytl=14, xbr=35, ybr=16, rotation=30)))[0])
    assert slanted[15 + 5, 20 + 9] and not slanted[15 - 5, 20 + 9]


def test_an_ellipse_is_turned_clockwise(read: Read) -> None:
    ellipse = drawn(read(image(shape("ellipse", cx=20, cy=15, rx=12, ry=4, rotation=30)))[0])
    assert ellipse[15 + 4, 20 + 8] and not ellipse[15 - 4, 20 + 8]
    assert ellipse.sum() == pytest.approx(np.pi * 12 * 4, rel=0.02)


def test_a_mask_is_of_whole_pixels_in_its_box(read: Read) -> None:
    mask = shape("mask", rle="2, 3,1", left=5, top=7, width=3, height=2)
    items, faults = read(image(mask))
    assert errors(faults) == []
    assert sorted(zip(*np.nonzero(drawn(items)), strict=True)) == [(7, 7), (8, 5), (8, 6)]


def test_a_polyline_is_its_segments_with_one_position(read: Read) -> None:
    line = shape("polyline", label="L", points="0.5,0.5;10.5,0.5;10.5,9.5")
    items, faults = read(image(shape("box", xtl=1, ytl=1, xbr=9, ybr=9) + line))
    assert errors(faults) == []
    assert [index for index, _ in items[0].shapes] == [0, 1, 1]
    assert [found.points.tolist() for _, found in items[0].shapes[1:]] == [[[0, 0], [10, 0]], [[10, 0], [10, 9]]]


def test_tags_attributes_and_hidden_shapes_are_not_drawn(read: Read) -> None:
    box = '<box label="R" occluded="1" z_order="7" xtl="1" ytl="1" xbr="9" ybr="9"><attribute name="a">b</attribute>'
    items, faults = read(image(f'<tag label="x"/>{box}</box>' + shape("box", outside=1)))
    assert errors(faults) == [] and [index for index, _ in items[0].shapes] == [0]
    named = {("'a'", "shape"): 1, ("'occluded'", "shape"): 1, ("'z_order'", "shape"): 1, ("'x'", "image"): 1}
    assert items[0].unread == named


def test_an_image_without_a_shape_is_asked_about(read: Read) -> None:
    elements = image('<tag label="x"/>') + image(shape("box", label="other"), name="b.png")
    items, faults = read(elements, labels={"other": None})
    assert [item.id for item in items] == ["b"] and faults[0].kind == "left_out"
    assert [fault.kind for fault in read(elements, labels={"other": None}, without_annotation=None)[1]] == [
        "not_annotated"
    ]
    assert len(read(elements, labels={"other": None}, without_annotation="empty")[0]) == 2


def test_images_are_found_by_the_last_part_of_their_name(read: Read) -> None:
    box = shape("box", xtl=1, ytl=1, xbr=9, ybr=9)
    assert [item.id for item in read(image(box, name="../../subset/a.png"))[0]] == ["a"]


GOOD = {"xtl": 1, "ytl": 1, "xbr": 9, "ybr": 9}
MASK = {"rle": "0,4", "left": 0, "top": 0, "width": 2, "height": 2}


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        (image(shape("points", points="1,1")), "shape 0: R: its element is 'points', which covers no area"),
        (image(shape("cuboid")), "'cuboid', which covers no area"),
        (image("<skeleton label='R'><points label='R' points='1,1'/></skeleton>"), "'skeleton', which covers no area"),
        (image(shape("box", label="", **GOOD)), "has no label"),
        (image(shape("box", label="X", **GOOD)), "label 'X': 1 shape of no class; map it to L or R"),
        (image(shape("box", **{**GOOD, "xtl": "nan"})), "xtl is 'nan'; expected a number"),
        (image(shape("box", **{**GOOD, "xtl": "1e999"})), "xtl is '1e999'; expected a number"),
        (image(shape("box", **{**GOOD, "xtl": "9" * 5000})), r"xtl is '9999.*\.\.\..*9'; expected a number"),
        (image(shape("box", xtl=1)), "ytl is missing"),
        (image(shape("polygon", points="1,1;2,2")), "2 points; a polygon has 3 or more"),
        (image(shape("polygon", points="1,1;2,2;3")), "points are '1,1;2,2;3'; expected"),
        (image(shape("polygon")), "points are ''; expected"),
        (image(shape("polygon", points=";".join(["1,1"] * 10_001))), "10001 points; at most 10000 are read"),
        (image(shape("polyline", points="1,1;2,2")), "R: an open line, and the structure is a region"),
        (image(shape("ellipse", cx=1, cy=1, rx=0, ry=2)), "a radius of the ellipse is not above 0"),
        (image(shape("mask", **{**MASK, "rle": "0,3"})), "do not add up to its 2x2 pixels"),
        (image(shape("mask", **{**MASK, "rle": "1000000000"})), "its rle is '1000000000'; expected whole numbers"),
        (image(shape("mask", **{**MASK, "rle": "-1,5"})), "its rle is '-1,5'; expected whole numbers"),
        (image(shape("mask", **{**MASK, "rle": "0,,4"})), "its rle is '0,,4'; expected whole numbers"),
        (image(shape("mask", **{**MASK, "rle": ",".join("0" * 10**6)})), "do not add up to its 2x2 pixels"),
        (image(shape("mask", **{**MASK, "width": 10**6, "height": 10**6})), "a mask of 1000000x1000000 pixels"),
        (image(shape("mask", **{**MASK, "width": -2, "height": -2})), "a mask of -2x-2 pixels"),
        (image(shape("mask", **{**MASK, "left": 0.5})), "left is 0.5; expected a whole number"),
        (image("", name="c.png"), "'c.png': annotation for an image that is not in the folder"),
        (image("", name="../../etc/passwd"), "'../../etc/passwd': annotation for an image that is not in the folder"),
        ("<image/>", "'': annotation for an image that is not in the folder"),
        (image("") + image(""), "'a.png': a second annotation of the same image"),
        (image("", size='width="40"'), "its height and width are '40'; expected two whole numbers"),
        (image("", size='width="-1" height="x"'), "its height and width are 'x' and '-1'"),
        (image(shape("tag") + shape("box", **GOOD) * (MAX_SHAPES + 5)), f"more than {MAX_SHAPES} shapes"),
    ],
)
def test_what_cannot_be_used_is_one_fault(read: Read, elements: str, reason: str) -> None:
    _, faults = read(elements)
    (message,) = errors(faults)
    assert re.search(reason.replace("(", r"\("), message), message
    assert len(message) < 400 and "\n" not in message


BOMB = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + b"".join(
    b'<!ENTITY a%d "%s">' % (level, b"&a%d;" % (level - 1) * 10 if level else b"&a;" * 10) for level in range(12)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB + b"]><annotations><image name='&a11;'/></annotations>", "has a document type"),
        (b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations>&x;</annotations>', "document type"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><annotations/>', "has a document type"),
        (b"", "not XML: no element found"),
        (b"<annotations><image></annotations>", "line 1, column 23: not XML: mismatched tag"),
        (b"<annotations>&x;</annotations>", "not XML: undefined entity"),
        (b"<annotations>\xff</annotations>", "not XML: not well-formed"),
        (b'<?xml version="1.0" encoding="no-such"?><annotations/>', "not readable as XML|not XML"),
        (b"<a/>", "the first element is 'a', expected 'annotations'"),
        (b"<annotations>" + b"<a>" * 100_000, "elements inside each other more than 20 times"),
        (b'<annotations><track id="0" label="R"/></annotations>', "has tracks, as 'CVAT for video' exports; export"),
        (b"<annotations>" + b"<image/>" * (MAX_FAULTS + 10) + b"</annotations>", "more than 100000 faults"),
    ],
)
def test_what_is_not_cvat_for_images_is_refused(read: Read, tmp_path: Path, text: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(text)
    assert str(tmp_path / "annotations.xml") in str(caught.value)
    assert "CVAT for images 1.1" in str(caught.value) and len(str(caught.value)) < 600


def test_a_missing_file_and_a_link_that_leads_out_are_refused(read: Read, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such annotation file"):
        read("", file="other.xml")
    (tmp_path / "link.xml").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="leads out of the data folder"):
        read("", file="link.xml")


def test_the_file_has_what_cvat_looks_up(tmp_path: Path) -> None:
    region = Shape("R", "region", np.array([(0.0, 0), (4, 0), (4, 4)]))
    section = Cvat(format="cvat", labels={'a "b" & <c>': "R"})
    FORMATS["cvat"].write(
        tmp_path, section, [Annotation("x & y.png", (region,), size=SIZE), Annotation("b", size=SIZE)]
    )
    root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
    assert root.findtext("version") == "1.1" and root.findtext("meta/task/size") == "2"
    assert [name.text for name in root.iter("name")] == ['a "b" & <c>']
    images = root.findall("image")
    assert [each.attrib["id"] for each in images] == ["0", "1"]
    assert images[0].attrib == {"id": "0", "name": "x & y.png", "width": "40", "height": "30"}
    assert images[0][0].attrib["points"] == "0.50,0.50;4.50,0.50;4.50,4.50"


def test_names_that_xml_cannot_contain_are_refused(tmp_path: Path) -> None:
    region = Shape("R", "region", np.array([(0.0, 0), (4, 0), (4, 4)]))
    for name, labels in ("a\x01.png", {}), ("a\udcff.png", {}), ("a.png", {"\x02": "R"}):
        with pytest.raises(ValueError, match="cannot be written to XML"):
            section = Cvat(format="cvat", labels=labels)
            FORMATS["cvat"].write(tmp_path, section, [Annotation(name, (region,), size=SIZE)])
    assert list(tmp_path.iterdir()) == []


NAMES = ["label", "points", "xtl", "ytl", "xbr", "ybr", "rotation", "cx", "cy", "rx", "ry", "rle", "left", "top"]
TEXTS = st.one_of(
    st.sampled_from(["R", "L", "", "1,1;2,5;9,9", "0,4", "2", "1e308", "-1e400", "nan", "1_0", "²", "0x1", ";", ","]),
    st.floats().map(str),
    st.integers().map(str),
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"), max_size=9
    ),
)


@given(
    tag=st.sampled_from(["polygon", "polyline", "box", "ellipse", "mask", "points", "image", "a"]),
    attributes=st.dictionaries(st.sampled_from([*NAMES, "width", "height", "name", "outside"]), TEXTS),
    size=st.tuples(TEXTS, TEXTS),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_attributes_give_faults_or_shapes(read: Read, tag, attributes, size) -> None:
    sides = f"width={quoteattr(size[0])} height={quoteattr(size[1])}"
    items, _ = read(image(shape(tag, **attributes), size=sides) + shape(tag, **attributes))
    for item in items:
        for _, found in item.shapes:
            assert np.isfinite(found.points).all() if isinstance(found, Shape) else found.mask.ndim == 2


@pytest.mark.parametrize(
    "element",
    [shape("mask", **{**MASK, "rle": "0," * 300_000 + "4"}), shape("polygon", points="1,1;" * 150_000 + "1,1")],
    ids=["runs", "points"],
)
def test_of_too_many_numbers_nothing_is_kept_in_memory(element: str) -> None:
    """What is refused in the end would first take ten times the memory of its text, which may be 256 MiB."""
    attributes = dict(re.findall(r'(\w+)="([^"]*)"', element))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"do not add up|at most 10000"):
            _drawn(element[1:].partition(" ")[0], attributes, Structure(name="R", shape="region", color="#ff0000"))
        assert tracemalloc.get_traced_memory()[1] < 1_500_000
    finally:
        tracemalloc.stop()
