"""Every annotation format returns what it has written; a new format is a row in FORMAT_CASES."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.geometry.shapes import Shape
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import read_mask
from sonoseg.schema.annotation_formats import Coco, Cvat, LabelMe, LabelStudio, MaskFolder, ShapesJson
from sonoseg.schema.annotations import Structure

SIZE = (24, 40)
STRUCTURES = [
    Structure(name="A", shape="line", color="#ff0000", thickness_px=3),
    Structure(name="B", shape="rectangle", color="#00ff00"),
    Structure(name="C", shape="ellipse", color="#0000ff"),
    Structure(name="D", shape="region", color="#ffff00"),
]


def indices(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 5, SIZE, dtype=np.uint8)


def shape(name: str, kind: Any, *points: tuple[float, float]) -> Shape:
    return Shape(name, kind, np.array(points, dtype=float))


SHAPES = (
    shape("A", "line", (1, 2), (30.25, 4)),
    shape("B", "rectangle", (2, 3), (12, 9.5)),
    shape("C", "ellipse", (5, 10), (25, 10), (15, 5), (15, 15)),
    shape("D", "region", (1, 1), (9, 1), (9, 9), (1, 9), (0.01, 5)),
    shape("A", "line", (0, 0), (0, 20)),
)


@dataclass(frozen=True)
class FormatCase:
    """A section of the format, annotations to be written (sorted by id), and the files that this writes."""

    section: Any
    annotations: list[Annotation]
    files: set[str]
    images: str = "images"
    without: Annotation | None = None
    """An annotation that the format cannot store."""


FORMAT_CASES = {
    "shapes_json": FormatCase(
        ShapesJson(format="shapes_json", file="shapes/all.json"),
        [Annotation("a.png", SHAPES), Annotation("b.tif", SHAPES[::-1]), Annotation("c d.jpg"), Annotation("é.png")],
        {"shapes/all.json"},
    ),
    "mask_folder": FormatCase(
        MaskFolder(format="mask_folder", mask_suffix="_mask"),
        [
            Annotation("a.png", mask=indices(1)),
            Annotation("b.tif", mask=indices(2)),
            Annotation("c d.jpg", mask=np.zeros(SIZE, np.uint8)),
            Annotation("é.bmp", mask=indices(3)),
        ],
        {"masks/a_mask.png", "masks/b_mask.tif", "masks/c d_mask.png", "masks/é_mask.bmp"},
        without=Annotation("a.png", SHAPES),
    ),
    "mask_folder, in one folder": FormatCase(
        MaskFolder(
            format="mask_folder", images="d", masks="d", image_suffix="_img", mask_suffix="_msk", fill_outlines=True
        ),
        [Annotation("1_img.png", mask=indices(4)), Annotation("2_img.png", mask=indices(5))],
        {"d/1_msk.png", "d/2_msk.png"},
        images="d",
    ),
    "labelme": FormatCase(
        LabelMe(format="labelme"),
        [
            Annotation("a.png", SHAPES, size=SIZE),
            Annotation("b.tif", SHAPES[::-1], size=SIZE),
            Annotation("c d.jpg", size=SIZE),
            Annotation("é.bmp", size=SIZE),
        ],
        {"images/a.json", "images/b.json", "images/c d.json", "images/é.json"},
    ),
    "labelme, in two folders": FormatCase(
        LabelMe(format="labelme", images="d", annotations="json", labels={"midline": "A", "other": None}),
        [Annotation("a.png", SHAPES, size=SIZE)],
        {"json/a.json"},
        images="d",
    ),
    "coco": FormatCase(
        Coco(format="coco", file="coco/instances.json", labels={"midline": "A"}, without_annotation="empty"),
        [
            Annotation("a.png", SHAPES, size=SIZE),
            Annotation("b.tif", SHAPES[::-1], size=SIZE),
            Annotation("c d.jpg", size=SIZE),
            Annotation("é.bmp", size=SIZE),
        ],
        {"coco/instances.json"},
    ),
    "cvat": FormatCase(
        Cvat(format="cvat", file="cvat/all.xml", labels={"midline": "A", "box <1>": "B"}, without_annotation="empty"),
        [
            Annotation("a.png", SHAPES, size=SIZE),
            Annotation("b.tif", SHAPES[::-1], size=SIZE),
            Annotation("c d.jpg", size=SIZE),
            Annotation("é.png", size=SIZE),
        ],
        {"cvat/all.xml"},
        without=Annotation("a.png", SHAPES),
    ),
    "label_studio": FormatCase(
        LabelStudio(format="label_studio", labels={"midline": "A"}),
        [
            Annotation("a.png", SHAPES, size=SIZE),
            Annotation("b.tif", SHAPES[::-1], size=SIZE),
            Annotation("c d.jpg", size=SIZE),
            Annotation("é.png", size=SIZE),
        ],
        {"annotations.json"},
        without=Annotation("a.png", SHAPES),
    ),
}


@pytest.fixture(params=FORMAT_CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path, write_picture: Callable[..., Path]) -> FormatCase:
    """A format case whose images lie in `tmp_path`."""
    case = FORMAT_CASES[request.param]
    for annotation in case.annotations:
        write_picture(tmp_path / case.images / annotation.image, size=SIZE)
    return case


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_every_format_has_a_case() -> None:
    assert {case.section.format for case in FORMAT_CASES.values()} == set(FORMATS)


def test_what_is_written_is_read(case: FormatCase, tmp_path: Path) -> None:
    annotation_format, before = FORMATS[case.section.format], files_of(tmp_path)
    annotation_format.write(tmp_path, case.section, iter(case.annotations))
    assert files_of(tmp_path) - before == case.files
    named = {name for item in case.annotations for name in annotation_format.image_files(case.section, item.image)}
    assert {*named, *annotation_format.shared_files(case.section)} == case.files
    items, faults = annotation_format.read(tmp_path, case.section, STRUCTURES)
    assert faults == []
    assert [item.image for item in items] == [
        ImageRef(tmp_path / case.images / annotation.image) for annotation in case.annotations
    ]
    for item, annotation in zip(items, case.annotations, strict=True):
        assert item.id == Path(annotation.image).stem
        assert [index for index, _ in item.shapes] == list(range(len(annotation.shapes)))
        read = [(shape.structure, shape.kind, shape.points.tolist()) for _, shape in item.shapes]
        assert read == [(shape.structure, shape.kind, shape.points.tolist()) for shape in annotation.shapes]
        if annotation.mask is None:
            assert not item.masks
        else:
            assert np.array_equal(read_mask(item.masks[0].path), annotation.mask)
            assert item.outlined == case.section.fill_outlines


def test_writing_again_replaces_the_annotations(case: FormatCase, tmp_path: Path) -> None:
    annotation_format = FORMATS[case.section.format]
    for name in case.files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"old")
    annotation_format.write(tmp_path, case.section, case.annotations, sync=False)
    assert annotation_format.read(tmp_path, case.section, STRUCTURES)[1] == []
    assert all((tmp_path / name).read_bytes() != b"old" for name in case.files)
    assert not list(tmp_path.rglob("*.tmp"))


def test_images_are_told_from_annotations_by_their_names(case: FormatCase, tmp_path: Path) -> None:
    annotation_format = FORMATS[case.section.format]
    for annotation in case.annotations:
        assert not annotation_format.is_annotation(tmp_path / case.images / annotation.image, case.section)
    for name in case.files:
        in_images = name.startswith(f"{case.images}/")
        assert annotation_format.is_annotation(tmp_path / name, case.section) == in_images


def test_an_annotation_that_cannot_be_stored_is_refused(case: FormatCase, tmp_path: Path) -> None:
    if case.without is not None:
        with pytest.raises(ValueError, match=f"{case.without.image}: has no (mask|size)"):
            FORMATS[case.section.format].write(tmp_path, case.section, [case.without])


def test_shapes_are_written_in_hundredths_and_whole_numbers_without_a_point(tmp_path: Path) -> None:
    section = ShapesJson(format="shapes_json")
    written = Annotation("a.png", (shape("A", "line", (1.23456, 2), (3, 4.5)),))
    FORMATS["shapes_json"].write(tmp_path, section, [written])
    text = (tmp_path / "annotations.json").read_text()
    assert json.loads(text) == {"a": [["A", "line", [[1.23, 2], [3, 4.5]]]]}
    assert "2.0" not in text
