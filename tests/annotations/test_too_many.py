"""Files of a few megabytes with more faults, shapes or characters than anyone writes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoseg.annotations import FORMATS
from sonoseg.errors import DataError
from sonoseg.io.png import write_image
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.annotations import Structure

SQUARE = [[1, 1], [9, 1], [9, 9], [1, 9]]
STRUCTURES = [Structure(name="R", shape="region", color="#ff0000")]


def coco(shapes: int, faults: int, list_: str = "annotations") -> tuple[str, Any]:
    flat = [number for point in SQUARE for number in point]
    lists: dict[str, list[Any]] = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "R"}],
        "annotations": [{"id": at, "image_id": 1, "category_id": 1, "segmentation": [flat]} for at in range(shapes)],
    }
    lists[list_] += [3] * faults
    return "annotations.json", lists


def labelme(shapes: int, faults: int) -> tuple[str, Any]:
    return "images/a.json", {
        "shapes": [{"label": "R", "shape_type": "polygon", "points": SQUARE}] * shapes + [3] * faults
    }


def shapes_json(shapes: int, faults: int) -> tuple[str, Any]:
    return "annotations.json", {"a": [["R", "polygon", SQUARE]] * shapes + [3] * faults, "b": 3}


FILES: dict[str, Callable[[int, int], tuple[str, Any]]] = {
    "coco": coco,
    "coco, images": lambda shapes, faults: coco(shapes, faults, "images"),
    "coco, categories": lambda shapes, faults: coco(shapes, faults, "categories"),
    "labelme": labelme,
    "shapes_json": shapes_json,
}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Any]:
    """Return a function that reads a file beside the one image `a`."""
    write_image(tmp_path / "images" / "a.png", np.zeros((20, 30), np.uint8))

    def read(name: str, file: str, value: Any) -> Any:
        (tmp_path / file).write_text(json.dumps(value))
        return FORMATS[name].read(tmp_path, annotations_section(name), STRUCTURES)

    return read


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_faults_is_refused_as_a_whole(name: str, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A number takes two bytes, its fault some hundred: 256 MiB of them would take 50 GB."""
    monkeypatch.setattr("sonoseg.annotations.labelled.MAX_FAULTS", 50)
    with pytest.raises(DataError, match="more than 50 faults, the first: ") as caught:
        read(name.partition(",")[0], *FILES[name](0, 200))
    assert len(str(caught.value)) < 400
    assert len(read(name.partition(",")[0], *FILES[name](0, 20))[1]) <= 22


@pytest.mark.parametrize("name", ["coco", "labelme", "shapes_json"])
def test_of_too_many_shapes_the_first_are_read(name: str, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("labelled", "coco"):
        monkeypatch.setattr(f"sonoseg.annotations.{module}.MAX_SHAPES", 5)
    items, faults = read(name, *FILES[name](9, 0))
    assert len(items[0].shapes) == 5
    (fault,) = [fault for fault in faults if "more than 5 shapes; remove some" in str(fault)]
    assert fault.level == "error" and fault.image == "a"
    assert "more than" not in " ".join(map(str, read(name, *FILES[name](5, 0))[1]))


@pytest.mark.parametrize(
    "value", [{"a" * 10**6: []}, {"a": [["R" * 10**6, "polygon", SQUARE]]}, {"a": [["R", "x" * 10**6, SQUARE]]}]
)
def test_long_names_are_shortened_in_messages(value: Any, read: Any) -> None:
    _, faults = read("shapes_json", "annotations.json", value)
    assert faults and all(len(str(fault)) < 400 for fault in faults)
