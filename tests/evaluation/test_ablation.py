"""Variants of a task: what a subset of the images contains, and which rows of a list are trained with which seed."""

from pathlib import Path

import pytest
import yaml

from benchmarks.ablation import only_fold, read_list, rows_with_seeds, subset
from sonoseg.errors import UsageError
from sonoseg.evaluation.folds import FoldData
from sonoseg.io.image_ref import ImageRef
from sonoseg.runs.split_tables import Prepared, Sample
from sonoseg.schema.task_files import load_task
from tests.conftest import REPOSITORY

PATIENTS = [f"p{number:02}" for number in range(12)]
TESTED = PATIENTS[8:]


def made_data() -> FoldData:
    """Twelve patients with two images each, whose patient is written in two ways; the last four are the test part.

    Each image of the training part has an augmented copy. Fold 0, that of the first two patients, validates.
    """
    samples, rows = [], []
    for number, patient in enumerate(PATIENTS):
        fold = None if patient in TESTED else number // 2
        for image, name in (("a", f"{patient} x"), ("b", f"{patient}  x")):  # one patient to whoever reads the names
            key, path = f"{patient}{image}", Path(f"{patient}{image}.png")
            samples.append(Sample(key, ImageRef(path), path, name, fold, {}, 10, 10, None, "", ""))
            rows += [Prepared(f"{key}{copy}", key, name, fold, path, path, copy) for copy in ("none", "1")]
    return FoldData(
        fold=0,
        train=[row for row in rows if row.fold],
        validation=[row for row in rows if row.fold == 0 and row.augmentation == "none"],
        test=[row for row in rows if row.fold is None and row.augmentation == "none"],
        samples=samples,
        hashes={},
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_subset_has_whole_patients_and_no_test_image(seed: int) -> None:
    part = subset(made_data(), images=5, validation=4, seed=seed)
    trained = [row.source_id for row in part.train if row.augmentation == "none"]
    assert len(set(trained)) == 6, "five images or the rest of a patient more, none of them a test image"
    patients = {image[:3] for image in trained}
    assert len(patients) == 3 and not patients & set(TESTED)
    validated = [row.source_id for row in part.validation]
    assert len(validated) == len(set(validated)) == 4 and {row.augmentation for row in part.validation} == {"none"}
    assert not {image[:3] for image in validated} & (patients | set(TESTED))
    assert [row.id for row in part.test] == [row.id for row in made_data().test]


def test_one_fold_alone_trains_and_validates() -> None:
    part = subset(only_fold(made_data(), 2), images=2, validation=9, seed=0)
    (patient,) = {row.source_id[:3] for row in part.train}
    (other,) = {row.source_id[:3] for row in part.validation}
    assert {patient, other} == {PATIENTS[4], PATIENTS[5]} and part.test == []
    with pytest.raises(UsageError, match="0 validates here"):
        only_fold(made_data(), 0)


def test_a_row_may_have_further_seeds() -> None:
    rows = {"recipe": {}, "other": {}, "third": None}
    every = [(name, seed) for seed in (1, 2) for name in rows]
    assert list(rows_with_seeds({"seeds": [1, 2], "rows": rows})) == every
    further = {"recipe": [3, 4], "third": [3]}
    seeds = [("recipe", 3), ("recipe", 4), ("third", 3)]
    assert list(rows_with_seeds({"seeds": [1, 2], "rows": rows, "further_seeds": further})) == every + seeds
    assert list(rows_with_seeds({"rows": {"recipe": {}}})) == [("recipe", 0)]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rows: {}", "lacks epochs, task"),
        ("just text", "not a list of variants"),
        ("{task: t, epochs: 1, rows: {a: {}}, further_seeds: {b: [1]}}", "further_seeds: found b; expected a"),
    ],
)
def test_a_list_that_is_wrong_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text(text)
    with pytest.raises(UsageError, match=problem):
        read_list(tmp_path / "list.yaml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "benchmarks").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_row_of_a_list_is_a_valid_task_and_trained_once_a_seed(path: Path, tmp_path: Path) -> None:
    plan = read_list(path)
    for name, settings in plan["rows"].items():
        file = tmp_path / "row.yaml"
        file.write_text(yaml.safe_dump({"extends": plan["task"], "name": "row", **(settings or {})}))
        assert load_task(str(file)).name == "row", name
    trained = list(rows_with_seeds(plan))
    assert len(set(trained)) == len(trained) > 0
