"""A further folder of masks that are arranged in another way than the task says: what the masks mean stays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sonoseg.errors import DataError
from sonoseg.io.png import write_image
from sonoseg.new_task.findings import read_further
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task

OUTER, INNER = (slice(10, 40), slice(15, 55)), (slice(11, 39), slice(16, 54))


def task_with(folder: Path, annotations: dict[str, Any], names: tuple[str, ...] = ("HEAD",)) -> Task:
    structures = [{"name": name, "shape": "region", "color": f"#ff00{at:02}"} for at, name in enumerate(names)]
    loss = {"loss": {"name": "bce_dice" if len(names) == 1 else "dice_ce"}}
    fields = {"extends": "fetal_tumor", "training": loss, "name": "heads", "structures": structures, "review": None}
    (folder / "heads.yaml").write_text(yaml.safe_dump({**fields, "annotations": annotations}))
    return load_task(folder / "heads.yaml")


def further(folder: Path, masks: dict[str, np.ndarray], count: int = 4) -> Path:
    """Write pictures, and masks of them by the ends of their names in a folder `seg`; nothing is in images/."""
    for number in range(count):
        coarse = np.random.default_rng(number).integers(20, 235, (6, 8), dtype=np.uint8)
        write_image(folder / "more" / "us" / f"c{number}.png", np.kron(coarse, np.ones((8, 8), np.uint8)))
        for end, mask in masks.items():
            write_image(folder / "more" / "seg" / f"c{number}{end}.png", mask)
    return folder / "more"


def outline() -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[OUTER] = 255
    mask[INNER] = 0
    return mask


def two_values() -> np.ndarray:
    mask = np.zeros((48, 64), np.uint8)
    mask[5:20, 5:30], mask[25:40, 30:60] = 50, 100
    return mask


def shown(value: int) -> np.ndarray:
    return np.where(two_values() == value, 255, 0).astype(np.uint8)


@pytest.mark.parametrize("annotations", [{"format": "mask_folder", "fill_outlines": True}, {"format": "labelme"}])
def test_outlines_are_filled(tmp_path: Path, annotations: dict[str, Any]) -> None:
    """As the task says, or, where it has another format, as `new-task` would."""
    items, _ = read_further(further(tmp_path, {"": outline()}), task_with(tmp_path, annotations))
    assert len(items) == 4 and all(item.outlined for item in items)


def test_masks_are_not_filled_where_the_task_says_otherwise(tmp_path: Path) -> None:
    items, _ = read_further(further(tmp_path, {"": outline()}), task_with(tmp_path, {"format": "mask_folder"}))
    assert len(items) == 4 and not any(item.outlined for item in items)


def test_values_mean_the_structures_of_the_task(tmp_path: Path) -> None:
    values = {100: "A", 50: "B"}
    task = task_with(tmp_path, {"format": "mask_folder", "values": values}, ("A", "B"))
    items, _ = read_further(further(tmp_path, {"": two_values()}), task)
    assert [dict(mask.values) for item in items for mask in item.masks] == [values] * 4


def test_pictures_that_the_task_ignores_are_no_masks(tmp_path: Path) -> None:
    task = task_with(tmp_path, {"format": "mask_folder", "mask_suffix": "_gt", "ignore": ["_old"]})
    folder = further(tmp_path, {"": outline()})
    write_image(folder / "seg" / "c0_old.png", np.full((48, 64), 9, np.uint8))
    items, faults = read_further(folder, task)
    assert all(item.masks for item in items)
    assert [item.id for item in items] == ["c0", "c1", "c2", "c3"] and [one.kind for one in faults] == ["other_picture"]


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ({"": two_values()}, "its masks have the values 50, 100"),
        ({"_left": shown(50), "_right": shown(100)}, "its masks are those of LEFT, RIGHT"),
    ],
)
def test_masks_of_other_structures_are_refused(tmp_path: Path, masks: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_further(further(tmp_path, masks), task_with(tmp_path, {"format": "labelme"}, ("A", "B")))


def test_masks_that_the_task_unites_need_no_number(tmp_path: Path) -> None:
    task = task_with(tmp_path, {"format": "mask_folder", "mask_suffix": "_gt", "unite": True})
    assert len(read_further(further(tmp_path, {"": outline()}), task)[0]) == 4
