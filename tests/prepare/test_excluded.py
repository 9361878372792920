"""Images that the task excludes: found by every spelling of their name, with all faults that they have."""

import json
from pathlib import Path

import numpy as np
import pytest

from sonoseg.annotations import FORMATS, AnnotatedImage, Annotation
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import error
from sonoseg.io.image_ref import ImageRef
from sonoseg.prepare.duplicates.selection import without_excluded
from sonoseg.schema.annotation_formats import section_of
from tests.annotations.test_mask_folder import ONE, touch
from tests.annotations.two_structures import STRUCTURES

ITEMS = [AnnotatedImage(name, ImageRef(Path(f"images/{name}.png"))) for name in ("a", "b.1", "c")]


@pytest.mark.parametrize(
    ("names", "kept", "said"),
    [
        ([], ["a", "b.1", "c"], []),
        (["a", "b.1.png"], ["c"], ["2 images left out: a, b.1"]),
        (["b"], ["a", "b.1", "c"], ["no image is called b; correct the name"]),
        (["c.jpg"], ["a", "b.1", "c"], ["no image is called c.jpg; correct the name"]),
        (["d.png"], ["a", "b.1", "c"], ["1 image left out: d"]),
        (["d"], ["a", "b.1", "c"], ["1 image left out: d"]),
        (["e.png"], ["a", "b.1", "c"], ["1 image left out: e.png"]),
        (["e", "c"], ["a", "b.1"], ["2 images left out: c, e.png"]),
    ],
)
def test_names_of_excluded_images(names: list[str], kept: list[str], said: list[str]) -> None:
    """d: an image with a fault of which no item was made; e: one that has not even an id."""
    faults = [error("images/d.png", "has no mask", "no_mask", "d"), error("images/e.png", "is a link"), error("t", "x")]
    items, rest = without_excluded(ITEMS, faults, names)
    assert [item.id for item in items] == kept
    assert [fault.message for fault in rest if fault.kind == "excluded"] == said
    left = {fault.where for fault in rest if fault.level == "error"}
    assert left == {"images/d.png", "images/e.png", "t"} - {f"images/{Path(name).stem}.png" for name in names}


def test_an_excluded_image_may_have_no_mask_several_or_one_of_a_wrong_name(tmp_path: Path, make_task) -> None:
    touch(tmp_path, "images/a.png", "masks/a_mask.png", "images/none.png", "images/two.png", "masks/two_mask.png")
    touch(tmp_path, "masks/two_mask.bmp", "images/Case.png", "images/upper.png", "masks/upper_MASK.png")
    task = make_task(ONE)
    found = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    items, rest = without_excluded(*found, ["none.png", "two", "Case", "upper", "upper_MASK.png"])
    assert [item.id for item in items] == ["a"] and [fault.level for fault in rest] == ["warning"]


@pytest.mark.parametrize("name", ["a", "a.png"])
def test_two_images_of_one_id_are_excluded_together(name: str, tmp_path: Path, make_task) -> None:
    touch(tmp_path, "images/a.jpg", "images/a.png", "masks/a_mask.png", "images/b.png", "masks/b_mask.png")
    task = make_task(ONE)
    items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
    assert [str(fault) for fault in faults] == [
        "images/a.png: has the same id as images/a.jpg (or one that differs only in case); rename one"
    ]
    items, rest = without_excluded(items, faults, [name])
    assert [item.id for item in items] == (["b"] if name == "a" else ["a", "b"])
    assert not any(fault.level == "error" for fault in rest)


def _again(file: Path, name: str) -> None:
    """Add a second annotation of the image 2.png to an annotation file."""
    text = file.read_text()
    if name == "labelme":
        file.with_name("2 .json").write_text(text)
        return
    if name == "cvat":
        at = text.rindex("<image", 0, text.index('name="2.png"'))
        entry = text[at : text.index("</image>", at) + len("</image>")]
        file.write_text(text.replace(entry, entry * 2))
        return
    document = json.loads(text)
    if name == "coco":
        document["images"].append({**document["images"][1], "id": 99})
    elif name == "label_studio":
        document.append(document[1])
    else:
        document["2" if "2.png" in document else "2.png"] = next(iter(document.values()))
    file.write_text(json.dumps(document))


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"mask_folder"}))
def test_an_excluded_image_may_be_annotated_twice(name: str, tmp_path: Path) -> None:
    section = section_of({"format": name})
    touch(tmp_path, "images/1.png", "images/2.png")
    square = Shape("R", "region", np.array([[1.0, 1], [5, 1], [5, 4], [1, 4]]))
    FORMATS[name].write(tmp_path, section, [Annotation(f"{number}.png", (square,), size=(6, 8)) for number in (1, 2)])
    file = "images/2.json" if name == "labelme" else FORMATS[name].shared_files(section)[0]
    _again(tmp_path / file, name)
    items, faults = FORMATS[name].read(tmp_path, section, STRUCTURES)
    assert [fault.image for fault in faults] == ["2"] and "second" in faults[0].message
    items, rest = without_excluded(items, faults, ["2.png"])
    assert [item.id for item in items] == ["1"] and [fault.kind for fault in rest] == ["excluded"]
