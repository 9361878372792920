"""Quality models through the stages: fitted by a training, used by stage 4, pooled over folds, kept by a refit."""

import csv
import json
from pathlib import Path

import pytest

import image_preprocessing
import inference
import train_test_data_preparation
import training
from sonoseg.evaluation.folds import load_data
from sonoseg.evaluation.quality.files import earlier_quality, read_observations
from sonoseg.evaluation.quality.observe import COPIES
from sonoseg.models.model_header import read_header
from sonoseg.postprocess.features import FEATURES
from sonoseg.runs.workspace import BEST_MODEL, QUALITY_DATA, QUALITY_MODEL, Workspace
from sonoseg.schema.task_files import load_task
from tests.small import phantoms, small_task


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A workspace with a small model of simulated heads, of which 24 of 24 patients validate, and the common flags."""
    root = tmp_path_factory.mktemp("quality")
    task = small_task("fetal_head", root, epochs=3, split={"test_size": 0.2, "folds": 2}, annotations=HEADS)
    where = ["--task", str(task), "--workspace", str(root)]
    assert train_test_data_preparation.main([*where, "--data", str(phantoms("fetal_head", root, images=64))]) == 0
    assert image_preprocessing.main([*where, "--jobs", "1"]) == 0
    assert training.main([*where, "--device", "cpu"]) == 0
    return root, where


HEADS = {"images": "training_set", "masks": "training_set"}


def models_of(root: Path) -> Path:
    return root / "Models" / "small_fetal_head"


def test_a_training_stores_a_quality_model_and_what_it_was_fitted_to(trained) -> None:
    root, _ = trained
    quality = read_header(models_of(root) / BEST_MODEL).quality
    assert quality is not None and quality.source == "fold 0" and quality.familiarity is not None
    assert set(quality.structures) == {"HEAD"} and len(quality.structures["HEAD"].weights) == len(FEATURES)
    observations = read_observations(models_of(root))
    validating = load_data(load_task(trained[1][1]), Workspace(root, "small_fetal_head"), 0).validation_samples
    assert len(observations) == len(validating) * (1 + COPIES) and quality.images == len(validating) >= 20
    assert {one.patient for one in observations} == {sample.patient for sample in validating}  # nobody that trained
    evaluation = json.loads((models_of(root) / "evaluation.json").read_text())
    assert evaluation["quality"]["images"] + evaluation["quality"]["nothing_found"] == evaluation["images"]
    assert "Quality score and intervals" in (models_of(root) / "evaluation.html").read_text()


def test_stage_4_writes_quality_and_intervals(trained) -> None:
    root, where = trained
    assert inference.main([*where, "--engine", "torch"]) == 0
    folder = root / "result" / "small_fetal_head"
    with (folder / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {"quality", "hc_mm_low", "hc_mm_high"} <= set(rows[0])
    for row in rows:
        record = json.loads((folder / f"{row['name']}.json").read_text())
        assert (float(row["quality"]) if row["quality"] else None) == record["quality"]
        assert bool(row["hc_mm_low"]) == ("hc_mm" in record["intervals"])
        if row["hc_mm_low"]:
            assert float(row["hc_mm_low"]) < float(row["hc_mm"]) < float(row["hc_mm_high"])


def test_a_refit_keeps_the_quality_model_of_the_same_settings_and_split(trained) -> None:
    root, where = trained
    before = read_header(models_of(root) / BEST_MODEL)
    task = load_task(where[1])
    data = load_data(task, Workspace(root, task.name), None)
    assert earlier_quality(models_of(root), task, data) == before.quality
    longer, other = (
        task.model_copy(update={"training": task.training.model_copy(update=change)})
        for change in ({"epochs": 9}, {"batch_size": 2})
    )
    assert earlier_quality(models_of(root), longer, data) == before.quality
    assert earlier_quality(models_of(root), other, data) is None
    assert earlier_quality(root / "nowhere", task, data) is None
    assert training.main([*where, "--device", "cpu", "--refit", "--epochs", "1"]) == 0
    after = read_header(models_of(root) / BEST_MODEL)
    assert after.info["fold"] is None and after.quality == before.quality
    assert not (models_of(root) / QUALITY_DATA).exists()  # that of the fold, whose model is gone


def test_a_cross_validation_pools_its_folds(trained) -> None:
    root, where = trained
    assert training.main([*where, "--device", "cpu", "--fold", "all", "--epochs", "1"]) == 0
    folder = models_of(root) / "cross_validation"
    stored = json.loads((folder / QUALITY_MODEL).read_text())["quality"]
    folds = [read_header(folder / f"fold_{fold}" / BEST_MODEL).quality for fold in (0, 1)]
    assert stored["source"] == "2 folds"
    assert stored["images"] == sum(len(read_observations(folder / f"fold_{fold}")) for fold in (0, 1)) // (1 + COPIES)
    assert all(quality is None or quality.images < stored["images"] for quality in folds)
    pooled = json.loads((folder / "out_of_fold" / "evaluation.json").read_text())
    assert pooled["quality"]["images"] + pooled["quality"]["nothing_found"] == stored["images"]
