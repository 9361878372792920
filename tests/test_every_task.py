"""Every task goes through the four scripts on its phantom: a new task file is tested by being there."""

import csv
import json
from pathlib import Path

import pytest

import image_preprocessing
import inference
import train_test_data_preparation
import training
from sonoseg.evaluation.history import read_history
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image_header
from sonoseg.models.model_header import read_header
from sonoseg.runs.split_tables import read_split
from sonoseg.schema.task_files import available_tasks, load_task
from tests.small import phantoms, small_task


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("datasets")


@pytest.mark.parametrize("name", available_tasks())
def test_a_task_trains_and_infers(name: str, datasets: Path, tmp_path: Path) -> None:
    where = ["--task", str(small_task(name, tmp_path, epochs=3)), "--workspace", str(tmp_path)]
    task = load_task(where[1])
    data = phantoms(name, datasets)
    assert train_test_data_preparation.main([*where, "--data", str(data)]) == 0
    assert image_preprocessing.main([*where, "--jobs", "1"]) == 0
    assert training.main([*where, "--device", "cpu"]) == 0
    assert inference.main([*where, "--engine", "torch"]) == 0

    models, results = tmp_path / "Models" / task.name, tmp_path / "result" / task.name
    losses = [row["loss/total"] for row in read_history(models)]
    assert losses[-1] < losses[0], f"the loss went {losses}"
    assert read_header(models / "best_model.safetensors").task == task
    scores = json.loads((models / "evaluation.json").read_text())
    assert list(scores["classes"]) == task.class_names
    assert (scores.get("threshold") is not None) == task.is_binary
    assert (models / "evaluation.html").stat().st_size > 10_000

    test = read_split(tmp_path / "Train_Test_Dataset" / task.name / "test_split.csv", task.class_names, tmp_path)
    with (results / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(test) == scores["images"] > 0
    assert {row["status"] for row in rows} <= {"ok", "check", "reject"}
    for sample in test:
        stem = sample.image.path.stem
        assert read_mask(results / f"{stem}_mask.png").shape == (sample.height, sample.width)
        assert read_image_header(results / f"{stem}_overlay.png").size == (sample.height, sample.width)
        assert (results / f"{stem}_heatmap.png").is_file() == task.review.heatmap
    assert {quantity.key for quantity in task.quantities} <= set(rows[0])
