"""Files of COCO: polygons, run lengths and boxes, agreement with pycocotools, and hostile files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from sonoseg.annotations import FORMATS, AnnotatedImage, Annotation
from sonoseg.annotations.coco_segmentation import encode, read_segmentation, write_polygon
from sonoseg.errors import DataError
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.region import fit_regions
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotation_formats import Coco
from tests.annotations.conftest import ReadFile
from tests.annotations.two_structures import AREA, STRUCTURES, labels_of
from tests.annotations.values import JSON, iou, mask_of

SIZE = (48, 64)
SECTION = Coco(format="coco", labels={"ignored": None, "midline": "L"})
IMAGE = {"id": 7, "file_name": "data/images/a.png", "width": SIZE[1], "height": SIZE[0]}
CATEGORIES = [
    {"id": 1, "name": "R"},
    {"id": 2, "name": "midline"},
    {"id": 3, "name": "ignored"},
    {"id": 4, "name": "x"},
]
SQUARE = [3, 5, 13, 5, 13, 15, 3, 15]
"""In the coordinates of the file: the pixels 3 to 12 and 5 to 14."""


def annotation(segmentation: Any = None, category: Any = 1, key: Any = 1, **more: Any) -> dict[str, Any]:
    return {"id": key, "image_id": 7, "category_id": category, "segmentation": segmentation, "iscrowd": 0, **more}


Read = Callable[..., tuple[list[AnnotatedImage], list[str]]]


@pytest.fixture
def read(images_of: Callable[..., ReadFile]) -> Read:
    """Return a function that writes a file of COCO, and reads it: items and faults as text."""
    read_file = images_of(SIZE, "a.png")

    def read(
        annotations: Any = (), images: Any = (IMAGE,), categories: Any = CATEGORIES, section: Coco = SECTION
    ) -> tuple[list[AnnotatedImage], list[str]]:
        document = {"images": images, "annotations": annotations, "categories": categories}
        items, faults = read_file(section, "annotations.json", json.dumps(document))
        return items, [str(fault) for fault in faults]

    return read


def square_mask() -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[5:15, 3:13] = True
    return mask


def list_of_counts(mask: np.ndarray) -> list[int]:
    """Return the run lengths of a mask, column by column, the first of pixels outside."""
    values = mask.T.ravel()
    ends = np.flatnonzero(np.diff(values)) + 1
    counts = np.diff([0, *ends, values.size]).tolist()
    return [0, *counts] if values[0] else counts


SEGMENTATIONS = {
    "polygon": {"segmentation": [SQUARE]},
    "two pieces": {"segmentation": [[3, 5, 13, 5, 13, 10, 3, 10], [3, 10, 13, 10, 13, 15, 3, 15]]},
    "overlapping pieces": {"segmentation": [SQUARE, [3, 5, 10, 5, 10, 15, 3, 15]]},
    "list of run lengths": {"segmentation": {"size": list(SIZE), "counts": list_of_counts(square_mask())}},
    "compressed run lengths": {"segmentation": encode(square_mask()), "iscrowd": 1},
    "box": {"segmentation": [], "bbox": [3, 5, 10, 10]},
    "box alone": {"bbox": [3.0, 5, 10, 10]},
    "with keypoints": {"segmentation": [SQUARE], "keypoints": [1, 1, 2]},
}


@pytest.mark.parametrize("name", SEGMENTATIONS)
def test_a_square_has_its_pixels(name: str, read: Read) -> None:
    items, faults = read([annotation(**SEGMENTATIONS[name])])
    assert faults == [] and items[0].size == SIZE and {index for index, _ in items[0].shapes} == {0}
    labels = labels_of(items, SIZE)
    assert np.count_nonzero(labels) == 100 and (labels[5:15, 3:13] == 2).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32), st.sampled_from([0.02, 0.5, 0.98]))
def test_run_lengths_are_decoded_as_pycocotools_does(height: int, width: int, seed: int, share: float) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    for segmentation in (encode(mask), {"size": [height, width], "counts": list_of_counts(mask)}):
        (bitmap,) = read_segmentation(AREA, {"segmentation": segmentation}, (height, width))
        assert np.array_equal(mask_of(bitmap, (height, width)), mask)
    assert np.array_equal(coco_mask.decode(encode(mask)) > 0, mask)


def test_labels_are_mapped_ignored_and_unknown(read: Read) -> None:
    items, faults = read(
        [annotation([SQUARE], 3, 1), annotation([SQUARE], 4, 2), annotation([SQUARE], 4, 3), annotation([SQUARE], 2, 4)]
    )
    assert [(index, shape.structure) for index, shape in items[0].shapes] == [(3, "L")]
    assert faults == [
        "annotations.json, label 'x': 2 shapes of no class; map it to L or R in annotations.labels of the task, or to "
        "null to ignore it"
    ]


@pytest.mark.parametrize("images", [[IMAGE], []])
@pytest.mark.parametrize(
    ("choice", "count", "words"), [(None, 0, "set annotations"), ("empty", 1, ""), ("leave_out", 0, "left out")]
)
def test_an_image_without_annotations_is_asked_about(
    choice: Any, count: int, words: str, images: Any, read: Read
) -> None:
    items, faults = read([], images, section=Coco(format="coco", without_annotation=choice))
    assert len(items) == count and len(faults) == (choice != "empty") and words in " ".join(faults)


def test_an_image_whose_annotations_are_all_ignored_was_annotated(read: Read) -> None:
    items, faults = read([annotation([SQUARE], 3)])
    assert faults == [] and items[0].shapes == ()


OTHER = {"id": 8, "file_name": "b.png", "width": 5, "height": 5}
RLE = encode(square_mask())


@pytest.mark.parametrize(
    ("fields", "where", "reason"),
    [
        ({"images": [IMAGE, OTHER]}, "images, entry 1", "no image 'b.png' in images/; put it there"),
        ({"images": [IMAGE, {**OTHER, "file_name": "../../etc/passwd"}]}, "images, entry 1", "no image '../../etc/"),
        ({"images": [IMAGE, {**OTHER, "file_name": "é" * 10**6}]}, "images, entry 1", "é'... in images/"),
        ({"images": [IMAGE, {**OTHER, "file_name": 3}]}, "images, entry 1", "found 3 as file_name"),
        ({"images": [IMAGE, {**IMAGE, "id": 8}]}, "images, entry 1", "a second entry of the image a"),
        ({"images": [IMAGE, {**OTHER, "id": 7}]}, "images, entry 1", "a second entry with the id 7"),
        ({"images": [IMAGE, {**OTHER, "id": None}]}, "images, entry 1", "found nothing as its id"),
        ({"images": [IMAGE, 3]}, "images, entry 1", "found 3; expected an object"),
        ({"images": [{**IMAGE, "height": "48"}]}, "images, entry 0", "found '48' as height or width"),
        ({"categories": [*CATEGORIES, {"id": 1, "name": "L"}]}, "categories, entry 4", "a second entry with the id 1"),
        ({"categories": [*CATEGORIES, {"id": 9}]}, "categories, entry 4", "found nothing as name"),
        ({"entry": annotation([SQUARE], 99)}, "annotations, id 1", "its category_id is 99, and no category"),
        ({"entry": annotation([SQUARE], None)}, "annotations, id 1", "its category_id is nothing"),
        ({"entry": annotation([SQUARE], image_id=99)}, "annotations, id 1", "its image_id is 99, and no image"),
        ({"entry": annotation([SQUARE], image_id=[7])}, "annotations, id 1", "its image_id is a list"),
        ({"entry": annotation([SQUARE], key=5)}, "annotations, id 5", "a second entry with the id 5"),
        ({"entry": annotation([SQUARE], key=None)}, "annotations, entry 1", "found nothing as its id"),
        ({"entry": annotation()}, "annotations, id 1", "R: has neither a segmentation nor a bbox"),
        ({"entry": annotation(bbox=[1, 2, 3])}, "annotations, id 1", "R: its bbox has to be"),
        ({"entry": annotation(bbox=[1, 2, 3, 0])}, "annotations, id 1", "R: its bbox has to be"),
        ({"entry": annotation(bbox=[1, 2, 3, 4], keypoints=[1, 1, 2])}, "annotations, id 1", "keypoints have no area"),
        ({"entry": annotation("x")}, "annotations, id 1", "found 'x' as segmentation"),
        ({"entry": annotation(SQUARE)}, "annotations, id 1", "a polygon has to be a list of numbers"),
        ({"entry": annotation([[1, 2, 3, 4]])}, "annotations, id 1", "2 points; a polygon has 3 or more"),
        ({"entry": annotation([SQUARE[:-1]])}, "annotations, id 1", "7 numbers in a polygon"),
        ({"entry": annotation([[1, 2, 3, 4, 5, 1e300]])}, "annotations, id 1", "a polygon has to be a list"),
        ({"entry": annotation([[1, 2] * 10_001])}, "annotations, id 1", "10001 points; at most 10000"),
        ({"entry": annotation({"counts": "1"})}, "annotations, id 1", "run lengths of nothing pixels; expected 64x48"),
        ({"entry": annotation({**RLE, "size": [64, 48]})}, "annotations, id 1", "48x64 pixels; expected 64x48"),
        ({"entry": annotation({**RLE, "size": [10**9, 10**9]})}, "annotations, id 1", "1000000000x1000000000 pixels"),
        ({"entry": annotation({**RLE, "counts": 3})}, "annotations, id 1", "counts of run lengths have to be a text"),
        ({"entry": annotation({**RLE, "counts": [1, -1]})}, "annotations, id 1", "counts of run lengths have to be"),
        ({"entry": annotation({**RLE, "counts": [1.0, 2]})}, "annotations, id 1", "counts of run lengths have to be"),
        ({"entry": annotation({**RLE, "counts": [10**9]})}, "annotations, id 1", "do not add up to the 3072 pixels"),
        ({"entry": annotation({**RLE, "counts": [3071]})}, "annotations, id 1", "do not add up to the 3072 pixels"),
        ({"entry": annotation({**RLE, "counts": RLE["counts"][:-1]})}, "annotations, id 1", ""),
        ({"entry": annotation({**RLE, "counts": "o"})}, "annotations, id 1", "run lengths are damaged"),
        ({"entry": annotation({**RLE, "counts": "o" * 10**6})}, "annotations, id 1", "run lengths are damaged"),
        ({"entry": annotation({**RLE, "counts": "0" * 10**6})}, "annotations, id 1", "run lengths are damaged"),
        ({"entry": annotation({**RLE, "counts": "\n"})}, "annotations, id 1", "run lengths are damaged"),
        ({"entry": annotation({**RLE, "counts": "é€"})}, "annotations, id 1", "run lengths are damaged"),
    ],
)  # fmt: skip
def test_every_fault_is_one_sentence(fields: dict[str, Any], where: str, reason: str, read: Read) -> None:
    fields = dict(fields)
    # A sound annotation first, so that the image is one of those that were annotated.
    annotations = [annotation([SQUARE], key=5), *([fields.pop("entry")] if "entry" in fields else [])]
    items, faults = read(annotations, **fields)
    assert len(faults) == 1 and faults[0].startswith(f"annotations.json, {where}: ") and reason in faults[0]
    assert len(faults[0]) < 250 and len(items[0].shapes) == 1


def test_run_lengths_need_the_size_of_the_image(read: Read) -> None:
    _, faults = read([annotation(RLE)], [{"id": 7, "file_name": "a.png"}])
    assert "the image has no height and width" in faults[0]
    _, faults = read([annotation({**RLE, "size": [10**5, 10**5]})], [{**IMAGE, "height": 10**5, "width": 10**5}])
    assert "100000x100000 pixels; at most 50000000 are decoded" in faults[0]


@pytest.mark.parametrize("text", ["", "{", "[" * 10**5, "[]", "3", '{"images": []}', '{"images": 1, "annotations": 2}'])
def test_a_file_of_another_kind_is_refused(text: str, read: Read, tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text(text)
    with pytest.raises(DataError, match=r"annotations\.json: (not readable as JSON|no object with a list)"):
        FORMATS["coco"].read(tmp_path, SECTION, STRUCTURES)


def test_a_missing_file_and_one_outside_are_refused(read: Read, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such annotation file"):
        FORMATS["coco"].read(tmp_path, SECTION, STRUCTURES)
    (tmp_path / "annotations.json").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="leads out of the data folder"):
        FORMATS["coco"].read(tmp_path, SECTION, STRUCTURES)


SHAPES = [
    Shape("L", "line", np.array([[3.254, 4], [50.5, 40.75]])),
    Shape("L", "line", np.array([[10, 40], [10, 3]], dtype=float)),
    Shape("R", "rectangle", np.array([[3, 5], [12, 14]], dtype=float)),
    Shape("R", "rectangle", np.array([[12.7, 14.2], [50.3, 33.6]])),
    Shape("R", "ellipse", np.array([[10, 20], [50, 28], [28, 34], [32, 14]], dtype=float)),
    Shape("R", "ellipse", np.array([[10, 20], [50, 28], [29, 34], [32, 13.5]])),
    Shape("R", "region", np.array([[3, 5], [12, 5], [12, 14], [3, 14]], dtype=float)),
    Shape("R", "region", np.array([[3, 14], [12, 14], [12, 5], [12, 5], [3, 5], [3, 14]], dtype=float)),
    Shape("R", "region", np.array([[5, 5], [60, 9], [53.3, 46], [30, 30], [4, 40]])),
    Shape(
        "R",
        "region",
        fit_regions(mask_of(Shape("R", "ellipse", np.array([[10, 20], [50, 28], [28, 34], [32, 14.0]])), SIZE))[0],
    ),
    Bitmap.of("R", square_mask()),
    Bitmap.of("R", np.random.default_rng(0).random((20, 30)) > 0.4, 5, 7),
    Bitmap.of("R", np.ones((20, 30), bool), -5, 40),
]
AREAS = [shape for shape in SHAPES if shape.structure == "R"]


def write(shapes: Any, folder: Path) -> dict[str, Any]:
    """Write the annotation of `a.png`, and return what the file has."""
    section = SECTION.model_copy(update={"without_annotation": "empty"})
    FORMATS["coco"].write(folder, section, [Annotation("a.png", tuple(shapes), size=SIZE)])
    document: dict[str, Any] = json.loads((folder / "annotations.json").read_text())
    return document


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_what_is_written_is_read(number: int, tmp_path: Path, read: Read) -> None:
    shape = SHAPES[number]
    document = write([shape], tmp_path)
    (item,), faults = FORMATS["coco"].read(tmp_path, SECTION, STRUCTURES)
    assert faults == [] and item.size == SIZE
    ((index, again),) = item.shapes
    assert index == 0 and type(again) is type(shape)
    if isinstance(shape, Shape):
        assert isinstance(again, Shape) and again.kind == shape.kind
        assert np.abs(again.points - shape.points).max() <= 0.0051
    assert iou(again, shape, SIZE) >= 0.99
    mask = mask_of(shape, SIZE)
    (entry,) = document["annotations"]
    left, top, width, height = entry["bbox"]
    assert entry["area"] == mask.sum() and entry["iscrowd"] == 0
    assert mask[top : top + height, left : left + width].sum() == mask.sum()


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_the_polygon_alone_gives_the_same_pixels(number: int, tmp_path: Path, read: Read) -> None:
    """Other programs drop the key of our own."""
    shape = SHAPES[number]
    document = write([shape], tmp_path)
    document["annotations"][0].pop("sonoseg", None)
    items, faults = read(document["annotations"], document["images"], document["categories"])
    assert faults == []
    again = items[0].shapes[0][1]
    if shape.structure == "L":
        assert isinstance(again, Shape) and isinstance(shape, Shape)
        # Between the two corners of an end, half a pixel beyond it.
        ends = np.array([again.points[[0, 3]].mean(axis=0), again.points[[1, 2]].mean(axis=0)])
        assert np.linalg.norm(ends - shape.points, axis=1).max() <= 0.51
    else:
        assert iou(again, shape, SIZE) >= 0.99


def test_pycocotools_draws_what_was_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = write(SHAPES, tmp_path)
    assert document["info"]["description"] == "Made by SonoSeg. Not for clinical use."
    coco = COCO(str(tmp_path / "annotations.json"))
    assert [(item["id"], item["name"]) for item in coco.loadCats(coco.getCatIds())] == [(1, "midline"), (2, "R")]
    assert [image["file_name"] for image in coco.loadImgs(coco.getImgIds())] == ["a.png"]
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert len(annotations) == len(SHAPES)
    for entry, shape in zip(annotations, SHAPES, strict=True):
        mask = coco.annToMask(entry) > 0
        if shape.structure == "L":
            assert isinstance(shape, Shape)
            rows, columns = np.nonzero(mask)
            start, along = shape.points[0], shape.points[1] - shape.points[0]
            off = (columns - start[0]) * along[1] - (rows - start[1]) * along[0]
            assert (np.abs(off) / np.linalg.norm(along) <= 0.8).all()
            assert mask.sum() >= np.abs(along).max()
        else:
            assert iou(mask, shape, SIZE) >= 0.99
    squares = [entry for entry, shape in zip(annotations, SHAPES, strict=True) if mask_of(shape, SIZE).sum() == 100]
    assert len(squares) == 4 and all(coco.annToMask(entry).sum() == 100 for entry in squares)


@pytest.mark.parametrize("seed", range(60))
def test_pycocotools_agrees_on_polygons_of_any_form(seed: int) -> None:
    """Stars of 3 to 12 corners, in both directions, corners at pixel centres or between."""
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 13)))[:: random.choice([-1, 1])]
    radii = random.uniform(60, 100, len(angles))
    points = np.stack([120 + radii * np.cos(angles), 120 + radii * np.sin(angles)], axis=1)
    shape = Shape("R", "region", points.round() if random.random() < 0.5 else points)
    mask = mask_of(shape, (240, 240))
    run_lengths = coco_mask.merge(coco_mask.frPyObjects(write_polygon(shape), 240, 240))
    different = np.count_nonzero((coco_mask.decode(run_lengths) > 0) ^ mask)
    perimeter = np.linalg.norm(np.diff(shape.points, axis=0, append=shape.points[:1]), axis=1).sum()
    assert different <= 0.25 * perimeter  # it rounds corners to a fifth of a pixel


def test_an_edited_polygon_counts_and_not_the_key(tmp_path: Path, read: Read) -> None:
    document = write([SHAPES[4]], tmp_path)
    (entry,) = document["annotations"]
    entry["segmentation"][0] = [round(value, 1) for value in entry["segmentation"][0]]
    rounded = read([entry], document["images"], document["categories"])[0][0].shapes[0][1]
    assert isinstance(rounded, Shape) and rounded.kind == "region"  # a tenth of a pixel is an edit
    entry["segmentation"][0] = [value + 5 for value in entry["segmentation"][0]]
    moved = read([entry], document["images"], document["categories"])[0][0].shapes[0][1]
    assert isinstance(moved, Shape) and moved.kind == "region"
    assert moved.points.mean() == pytest.approx(SHAPES[4].points.mean() + 5, abs=0.1)  # type: ignore[union-attr]
    entry["segmentation"] = [SQUARE, entry["segmentation"][0]]
    assert len(read([entry], document["images"], document["categories"])[0][0].shapes) == 2


def test_the_category_decides_and_not_the_key(tmp_path: Path, read: Read) -> None:
    document = write([SHAPES[0], SHAPES[2]], tmp_path)
    for entry in document["annotations"]:
        entry["category_id"] = 3 - entry["category_id"]
    items, faults = read(document["annotations"], document["images"], document["categories"])
    assert faults == []
    assert [(s.structure, s.kind) for _, s in items[0].shapes] == [("R", "region"), ("L", "rectangle")]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (Annotation("a.png", tuple(SHAPES)), "a.png: has no size"),
        (Annotation("a.png", (Bitmap.of("R", np.ones((2, 2), bool), 80, 3),), size=SIZE), "a.png: R has no pixel"),
    ],
)
def test_an_annotation_that_cannot_be_stored_is_refused(refused: Annotation, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        FORMATS["coco"].write(tmp_path, SECTION, [refused])
    assert not list(tmp_path.iterdir())


ID = st.sampled_from([1, 2, 7, "1"]) | JSON
SEGMENTATION = (
    JSON
    | st.lists(st.lists(st.floats(-100, 100) | st.integers(-5, 70), max_size=10), max_size=3)
    | st.fixed_dictionaries(
        {
            "size": st.just(list(SIZE)) | JSON,
            "counts": st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12)
            | st.lists(st.integers(0, 3072), max_size=4)
            | st.just([3072])
            | JSON,
        }
    )
)
ENTRY = st.fixed_dictionaries(
    {
        "id": ID,
        "image_id": ID,
        "category_id": ID,
        "segmentation": SEGMENTATION,
        "bbox": st.lists(st.integers(-5, 70), min_size=4, max_size=4) | JSON,
        "keypoints": st.just(None) | JSON,
        "sonoseg": st.fixed_dictionaries(
            {"shape": st.tuples(JSON, st.sampled_from(["line", "rect", "ellipse", "polygon"]) | JSON, JSON)}
        )
        | JSON,
    }
)
IMAGES = st.lists(st.fixed_dictionaries({"id": ID, "file_name": JSON, "width": JSON, "height": JSON}) | JSON)
DOCUMENT = st.fixed_dictionaries(
    {
        "images": st.just([IMAGE]) | IMAGES,
        "annotations": st.lists(ENTRY | JSON, max_size=3),
        "categories": st.just(CATEGORIES) | st.lists(st.fixed_dictionaries({"id": ID, "name": JSON})),
    }
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=DOCUMENT | JSON | st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), JSON))
def test_any_json_gives_faults_or_shapes(document: Any, read: Read, tmp_path: Path) -> None:
    (tmp_path / "annotations.json").write_text(json.dumps(document))
    try:
        items, faults = FORMATS["coco"].read(tmp_path, SECTION, STRUCTURES)
    except DataError as refused:
        assert len(str(refused)) < 1000
        return
    assert items or faults
    assert all(len(str(fault)) < 1500 for fault in faults)
    for item in items:
        for _, shape in item.shapes:
            shape.draw(SIZE)
