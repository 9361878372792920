"""Images that the task excludes: found by every spelling of their name, with all faults that they have."""

from pathlib import Path

import pytest

from sonoseg.annotations import FORMATS, AnnotatedImage
from sonoseg.io.faults import error
from sonoseg.io.image_ref import ImageRef
from sonoseg.prepare.duplicates.selection import without_excluded
from tests.annotations.test_mask_folder import ONE, touch

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
