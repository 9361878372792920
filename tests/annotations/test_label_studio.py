"""The JSON export of Label Studio: what is read from it, and what is refused."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sonoseg.annotations import FORMATS, AnnotatedImage, Annotation
from sonoseg.annotations.label_studio.rle import encode_brush
from sonoseg.annotations.labelled import MAX_FAULTS, MAX_SHAPES
from sonoseg.errors import DataError
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault
from sonoseg.schema.annotation_formats import LabelStudio
from tests.annotations.conftest import ReadFile
from tests.annotations.two_structures import errors, labels_of

SIZE = (50, 100)

Read = Callable[..., tuple[list[AnnotatedImage], list[Fault]]]


@pytest.fixture
def read(images_of: Callable[..., ReadFile]) -> Read:
    """Return a function that reads a file of this JSON value; the folder has the images a.png and b.png."""
    read_file = images_of(SIZE, "a.png", "b.png")

    def read(value: Any, **section: object) -> tuple[list[AnnotatedImage], list[Fault]]:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        fields = {"format": "label_studio", "without_annotation": "leave_out", **section}
        return read_file(LabelStudio.model_validate(fields), "annotations.json", text)

    return read


def result(kind: str, label: object = "R", **values: object) -> dict[str, Any]:
    changes = {name: values.pop(name) for name in ("original_width", "image_rotation", "meta") if name in values}
    value = {**values, kind: [label] if isinstance(label, str) else label}
    sides = {"original_width": SIZE[1], "original_height": SIZE[0]}
    return {"id": "x", "type": kind, "from_name": "f", "to_name": "image", "value": value, **sides, **changes}


BOX = {"x": 10, "y": 20, "width": 20, "height": 20}


def task(*results: Any, image: str = "/data/upload/1/0123abcd-a.png", **more: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"image": image}, "annotations": [{"result": [*results]}], **more}


def drawn(items: list[AnnotatedImage]) -> np.ndarray:
    return labels_of(items, SIZE) == 2


def test_a_rectangle_is_in_per_cent_of_width_and_height(read: Read) -> None:
    items, faults = read([task(result("rectanglelabels", **BOX))])
    assert errors(faults) == [] and items[0].id == "a" and items[0].size == SIZE
    assert drawn(items).sum() == 20 * 10 and drawn(items)[10:20, 10:30].all()


def test_a_rectangle_is_turned_about_its_upper_left_corner(read: Read) -> None:
    values = {"x": 30, "y": 20, "width": 10, "height": 40, "rotation": 90}
    turned = drawn(read([task(result("rectanglelabels", **values))])[0])
    # 10 x 20 pixels from (30, 10): after a quarter turn they lie to the left of the corner, 20 wide and 10 high.
    assert turned.sum() == 200 and turned[10:20, 10:30].all()


def test_a_polygon_counts_from_the_corner_of_the_first_pixel(read: Read) -> None:
    items, _ = read([task(result("polygonlabels", points=[[0, 0], [4, 0], [4, 12], [0, 12]], closed=True))])
    assert drawn(items).sum() == 24 and drawn(items)[:6, :4].all()


def test_an_ellipse_is_turned_in_pixels(read: Read) -> None:
    values = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 10, "rotation": 30}
    ellipse = drawn(read([task(result("ellipselabels", **values))])[0])
    assert ellipse.sum() == pytest.approx(np.pi * 20 * 5, rel=0.02)
    end = 25 + round(18 * np.sin(np.pi / 6)), 50 + round(18 * np.cos(np.pi / 6))
    assert ellipse[end] and not ellipse[50 - end[0], end[1]]


def test_a_brush_stroke_is_of_whole_pixels(read: Read) -> None:
    mask = np.random.default_rng(0).random(SIZE) > 0.7
    items, faults = read([task(result("brushlabels", format="rle", rle=encode_brush(mask)))])
    assert errors(faults) == [] and np.array_equal(drawn(items), mask)


def test_a_line_whose_polygon_was_moved_is_the_polygon(read: Read, tmp_path: Path) -> None:
    line = Shape("L", "line", np.array([(10.0, 10), (60, 30)]))
    section = LabelStudio(format="label_studio")
    FORMATS["label_studio"].write(tmp_path, section, [Annotation("a.png", (line,), size=SIZE)])
    written = json.loads((tmp_path / "annotations.json").read_text())
    shape = written[0]["annotations"][0]["result"][0]
    assert [kind.kind for _, kind in read(written)[0][0].shapes] == ["line"]
    shape["meta"]["text"] = ["a note of the annotator"]
    assert [kind.kind for _, kind in read(written)[0][0].shapes] == ["line"]
    shape["value"]["points"][0][0] += 0.5
    assert [kind.kind for _, kind in read(written)[0][0].shapes] == ["region"]
    shape["value"]["points"][0][0] -= 0.5
    for meta in ({"sonoseg": 1}, {"sonoseg": [1]}, {"sonoseg": [["L", "rect", line.points.tolist()]]}, [], None):
        shape["meta"] = meta
        assert [kind.kind for _, kind in read(written)[0][0].shapes] == ["region"]


def test_an_empty_annotation_states_that_there_is_nothing_and_none_asks(read: Read) -> None:
    empty = task(result("choices", label=["good"]), image="b.png")
    open_task = task(annotations=[], predictions=[{"result": [result("rectanglelabels", **BOX)]}])
    items, faults = read([open_task, empty])
    assert [(item.id, item.shapes) for item in items] == [("b", ())] and faults[0].kind == "left_out"
    assert [fault.kind for fault in read([open_task, empty], without_annotation=None)[1]] == ["not_annotated"]
    cancelled = task(annotations=[{"result": [result("rectanglelabels", **BOX)], "was_cancelled": True}])
    assert [item.id for item in read([cancelled, empty])[0]] == ["b"]


@pytest.mark.parametrize(
    ("times", "used"),
    [
        (["2024-01-03T10:00:00.5Z", "2024-01-02T10:00:00Z", "2024-01-01T10:00:00Z"], 0),
        (["2024-01-01T10:00:00Z", "2024-01-01T12:00:00", "2024-01-01T12:30:00+02:00"], 1),
        (["2024-01-03T10:00:00Z", None, "2024-01-01T10:00:00Z"], 2),
        (["2024-01-03T10:00:00Z", 5, "no time"], 2),
    ],
)
def test_the_newest_annotation_counts(read: Read, times: list[Any], used: int) -> None:
    made = [
        {"result": [result("rectanglelabels", **{**BOX, "x": 10 * index})], "updated_at": time}
        for index, time in enumerate(times)
    ]
    items, faults = read([task(annotations=made)])
    assert items[0].shapes[0][1].points[0, 0] == 10 * used - 0.5
    assert str(faults[0]) == "(warning) annotations.json, task 7: has 3 annotations; the newest is used"


@pytest.mark.parametrize(
    "data",
    [
        {"image": "/data/upload/1/0123abcd-a.png"},
        {"image": "/data/local-files/?d=folder/a.png", "other": "b.png"},
        {"picture": "s3://bucket/folder/a.png"},
        {"picture": r"C:\scans\a.png", "patient": "b", "number": 3, "more": {"x": 1}},
        {"picture": "a"},
    ],
)
def test_the_image_of_a_task(read: Read, data: dict[str, Any]) -> None:
    items, faults = read([{"data": data, "annotations": [{"result": [result("rectanglelabels", **BOX)]}]}])
    assert errors(faults) == [] and [item.id for item in items] == ["a"]


def test_ignored_labels_and_results_without_a_shape(read: Read) -> None:
    results = [result("choices", label=["x"]), {"type": "relation", "from_id": "a"}, result("keypointlabels", "P")]
    items, faults = read([task(*results, result("rectanglelabels", **BOX))], labels={"P": None})
    assert errors(faults) == [] and [index for index, _ in items[0].shapes] == [3]


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([task(result("rectanglelabels", label=["R", "L"], **BOX))], "result 0: has 2 labels; a shape has one"),
        ([task(*[result("rectanglelabels", label=[], **BOX)] * 3)], "task 7: 3 of its results have no label"),
        ([task(result("rectanglelabels", label=[1], **BOX))], r"its rectanglelabels are \[1\]; expected a list"),
        ([task(result("rectanglelabels", label="X", **BOX))], "label 'X': 1 shape of no class"),
        ([task(result("vectorlabels", vertices=[]))], "its type is 'vectorlabels', which is not read; draw it as pol"),
        ([task(result("keypointlabels", x=1, y=1))], "its type is 'keypointlabels', which is not read"),
        ([task(result("polygon", label=None))], "its type is 'polygon', which is not read"),
        ([task({"type": ["a"]})], r"its type is \['a'\]"),
        ([task({"type": "rectanglelabels"})], "result 0: has no 'value'"),
        ([task(5)], "its 'result' is no list of objects"),
        ([task(annotations=[{}])], "its 'result' is no list of objects"),
        ([task(annotations=[3])], "its 'annotations' are no list of objects"),
        ([task(), {"data": {"image": "b.png"}}], "position 1: its 'annotations' are no list"),
        ([task(), 5], "position 1: has no 'data'"),
        ([task(image="c.png")], "its image 'c.png' is not in the folder of the images"),
        ([task(image="../../../etc/passwd")], "its image 'passwd' is not in the folder"),
        ([task(data={"n": 5})], "its 'data' has no name of an image"),
        ([task(data={"x": "a.png", "y": "b.png"})], "its 'data' names 2 images"),
        ([task(), task()], "a second task with the same image"),
        ([task(result("rectanglelabels", image_rotation=90, **BOX))], "its image was turned in Label Studio"),
        ([task(result("rectanglelabels", original_width=0, **BOX))], "original_width are 50 and 0; expected whole"),
        (
            [task(result("rectanglelabels", **BOX), result("rectanglelabels", original_width=99, **BOX))],
            "result 1: states another size",
        ),
        ([task(result("rectanglelabels", **BOX), {**result("polygonlabels"), "to_name": "image2"})], "of 2 images"),
        ([task(result("rectanglelabels", **{**BOX, "x": None}))], "R: x is None; expected a number"),
        ([task(result("rectanglelabels", **{**BOX, "x": 10**400}))], "R: x is 1000.*; expected a number"),
        ([task(result("rectanglelabels", **{**BOX, "width": True}))], "R: width is True; expected a number"),
        ([task(result("ellipselabels", x=1, y=1, radiusX=0, radiusY=1))], "a radius of the ellipse is not above 0"),
        ([task(result("polygonlabels", points=[[1, 1], [2, 2]]))], "2 points; a polygon has 3 or more"),
        ([task(result("polygonlabels", points=[[1, 1]] * 10_001))], "10001 points; at most 10000"),
        ([task(result("polygonlabels", points=[[1, 1], [2, 2], [1e300, 3]]))], r"a coordinate of 1e\+300 per cent"),
        ([task(result("polygonlabels", points={"a": 1}))], "points have to be"),
        ([task(result("brushlabels", format="png"))], "the format of its brush is 'png'; expected 'rle'"),
        ([task(result("brushlabels", format="rle", rle=[255] * 30))], "its rle has 4294967295 values"),
        (
            [task(result("brushlabels", original_width=10**6, format="rle", rle=[0]))],
            "a brush of 1000000x50 pixels|its rle ends early",
        ),
        ([task(*[result("rectanglelabels", **BOX)] * (MAX_SHAPES + 5))], "more than 10000 shapes"),
    ],
)
def test_what_cannot_be_used_is_one_fault(read: Read, tasks: list[Any], reason: str) -> None:
    _, faults = read(tasks)
    (message,) = errors(faults)
    assert re.search(reason, message), message
    assert len(message) < 400 and "\n" not in message


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"a": 1}, "expected a list of tasks"),
        ([{"image": "a.png", "label": []}], r"no task with 'data' and 'annotations'; export .* \(not JSON-MIN\)"),
        ([1, "a", None], "no task with 'data' and 'annotations'"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[NaN]", "not readable as JSON"),
        (b"\xff\xfe\xfd", "not readable as JSON"),
        (b"", "not readable as JSON"),
        ([task()] + [0] * (MAX_FAULTS + 5), "more than 100000 faults"),
    ],
)
def test_what_is_no_list_of_tasks_is_refused(read: Read, tmp_path: Path, value: Any, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        read(value)
    assert str(tmp_path / "annotations.json") in str(caught.value) and len(str(caught.value)) < 600


def test_an_empty_list_and_a_byte_order_mark(read: Read) -> None:
    assert [fault.kind for fault in read([])[1]] == ["left_out", "left_out"]
    assert len(read(b"\xef\xbb\xbf" + json.dumps([task()]).encode())[0]) == 1


NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
ANYTHING = st.recursive(
    st.one_of(NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
KINDS = ["polygonlabels", "rectanglelabels", "ellipselabels", "brushlabels", "keypointlabels", "choices"]
KEYS = ["x", "y", "width", "height", "rotation", "radiusX", "radiusY", "points", "rle", "format"]


@given(
    kind=st.sampled_from(KINDS),
    values=st.dictionaries(st.sampled_from(KEYS), ANYTHING),
    label=st.one_of(st.just("R"), st.just("L"), ANYTHING),
    changes=st.dictionaries(
        st.sampled_from(["type", "value", "to_name", "original_width", "original_height", "image_rotation", "meta"]),
        ANYTHING,
        max_size=2,
    ),
    more=st.dictionaries(st.sampled_from(["data", "annotations", "id"]), ANYTHING, max_size=1),
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_values_give_faults_or_shapes(read: Read, kind, values, label, changes, more) -> None:
    single = {**result(kind, label=label, **{**BOX, "format": "rle", **values}), **changes}
    for tasks in ([task(), {**task(single), **more}], [{**task(single), **more}, task(image="b.png")]):
        items, _ = read(tasks)
        for item in items:
            for _, found in item.shapes:
                assert np.isfinite(found.points).all() if isinstance(found, Shape) else found.mask.ndim == 2


@given(ANYTHING)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_read_or_refused(read: Read, value: Any) -> None:
    try:
        read(value)
    except DataError as problem:
        assert "annotations.json" in str(problem)
