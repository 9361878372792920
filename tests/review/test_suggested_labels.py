"""The comparison of suggested with random images to label (benchmarks/suggested_labels.py), without training."""

import argparse
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import suggested_labels
from sonoseg.errors import UsageError

SETTINGS = argparse.Namespace(count=4, rounds=2)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:03d}_HC.png" for number in range(20)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def suggesting(*names: str) -> Callable[..., Any]:
    """Return what takes the place of `suggest`: it finds the images with these names, those that are in the folder."""

    def suggest(folder: Path, models: Any, workspace: Any, count: int, progress: Any) -> Any:
        there = [folder / name for name in names if (folder / name).is_file()]
        found = [SimpleNamespace(source=SimpleNamespace(path=path)) for path in there[:count]]
        if not found:
            raise UsageError("the model rejects all images")
        return SimpleNamespace(chosen=found)

    return suggest


def model_in(folder: Path) -> Path:
    path = folder / "Models" / suggested_labels.NAME / "best_model.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize(
    ("found", "expected"),
    [((19, 5, 7, 2), [19, 5, 7, 2]), ((19, 5), [19, 5]), ((), [])],
)
def test_suggested_images_come_first_and_random_ones_fill_up(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: tuple[int, ...], expected: list[int]
) -> None:
    monkeypatch.setattr(suggested_labels, "suggest", suggesting(*(images[number].name for number in found)))
    picked = suggested_labels.chosen("suggested", images, model_in(tmp_path / "run"), 4, random.Random(1))
    assert picked[: len(expected)] == [images[number] for number in expected]
    assert len(set(picked)) == 4 and set(picked) <= set(images)


def test_no_image_is_chosen_twice(images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggested_labels, "suggest", suggesting(images[3].name))
    picked = suggested_labels.chosen("suggested", images, model_in(tmp_path / "run"), 30, random.Random(1))
    assert sorted(picked) == images


def test_random_images_do_not_depend_on_the_model(images: list[Path], tmp_path: Path) -> None:
    one, two = (suggested_labels.chosen("random", images, tmp_path / "none", 4, random.Random(3)) for _ in range(2))
    assert one == two and len(set(one)) == 4


def test_both_ways_begin_with_one_model_and_are_tested_on_images_that_are_never_labelled(
    images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labelled: dict[str, list[Path]] = {}
    tested: list[list[Path]] = []

    def trained(task: Path, paths: Sequence[Path], root: Path, seed: int) -> Path:
        labelled[root.name] = list(paths)
        return model_in(root)

    def mean_dice(model: Path, paths: Sequence[Path]) -> float:
        tested.append(list(paths))
        return len(labelled[model.parents[2].name]) / 100

    monkeypatch.setattr(suggested_labels, "trained", trained)
    monkeypatch.setattr(suggested_labels, "mean_dice", mean_dice)
    monkeypatch.setattr(suggested_labels, "suggest", suggesting(*(path.name for path in images)))
    result = suggested_labels.compare(images, tmp_path / "task.yaml", tmp_path / "out", SETTINGS, seed=2)
    assert result == {
        **{"seed": 2, "labelled": [4, 8, 12]},
        **{"suggested": [0.04, 0.08, 0.12], "random": [0.04, 0.08, 0.12]},
    }
    assert labelled.keys() == {"start", "suggested1", "suggested2", "random1", "random2"}
    assert all(len(set(paths)) == len(paths) for paths in labelled.values())
    for arm in suggested_labels.ARMS:
        assert labelled[f"{arm}2"][:8] == labelled[f"{arm}1"] and labelled[f"{arm}1"][:4] == labelled["start"]
    assert len(tested[0]) == 5 and all(paths == tested[0] for paths in tested)
    assert not {path for paths in labelled.values() for path in paths} & set(tested[0])
    free = [path for path in images if path not in labelled["start"] + tested[0]]
    assert labelled["suggested1"][4:] == free[:4] and labelled["suggested2"][8:] == free[4:8]
