"""training.py beyond one plain run: the summary, scoring again, cross-validation and its ensemble."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

import image_preprocessing
import inference
import train_test_data_preparation
import training
from sonoseg.models.model_file import save_model
from sonoseg.models.model_header import read_header
from sonoseg.runs.split_tables import read_split
from tests.small import phantoms, small_task

NAME = "small_fetal_head"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which a small task has been cross-validated; the first image has no pixel size."""
    root = tmp_path_factory.mktemp("workspace")
    small_task("fetal_head", root, epochs=2)
    data = phantoms("fetal_head", root)
    table = data / "training_set_pixel_size_and_HC.csv"
    rows = table.read_text().splitlines()
    rows[1] = ",".join([rows[1].split(",")[0], "", rows[1].split(",")[2]])
    table.write_text("\n".join(rows) + "\n")
    assert train_test_data_preparation.main([*where(root), "--data", str(data)]) == 0
    assert image_preprocessing.main([*where(root), "--jobs", "1"]) == 0
    assert training.main([*where(root), "--fold", "all", "--device", "cpu", "--run", "cv"]) == 0
    return root


def where(root: Path) -> list[str]:
    return ["--task", str(root / f"{NAME}.yaml"), "--workspace", str(root)]


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def ids(path: Path) -> set[str]:
    with path.open(newline="") as stream:
        return {row["id"] for row in csv.DictReader(stream)}


def test_every_fold_validates_once_and_the_test_split_is_scored_by_all_together(workspace: Path) -> None:
    tables = workspace / "Train_Test_Dataset" / NAME
    train, test = (read_split(tables / f"{part}_split.csv", ["HEAD"], tables.parents[1]) for part in ("train", "test"))
    folder = workspace / "Models" / NAME / "cross_validation"
    folds = sorted({sample.fold for sample in train if sample.fold is not None})
    assert folds == [0, 1, 2]
    for fold in folds:
        own = {sample.id for sample in train if sample.fold == fold}
        assert ids(folder / f"fold_{fold}" / "per_case.csv") == own
        assert read_header(folder / f"fold_{fold}" / "best_model.safetensors").info["fold"] == fold
        assert (workspace / "logs" / NAME / f"cv-fold{fold}").is_dir()
    assert ids(folder / "out_of_fold" / "per_case.csv") == {sample.id for sample in train}
    assert ids(folder / "ensemble" / "per_case.csv") == {sample.id for sample in test}

    result = read(folder / "cross_validation.json")
    dices = [read(folder / f"fold_{fold}" / "evaluation.json")["mean_dice"] for fold in folds]
    assert result["mean_dice"]["folds"] == dices
    assert result["mean_dice"]["mean"] == pytest.approx(sum(dices) / 3)
    spread = (sum((dice - sum(dices) / 3) ** 2 for dice in dices) / 2) ** 0.5
    assert result["mean_dice"]["standard_deviation"] == pytest.approx(spread)
    scored = (workspace / "Models" / NAME / "evaluations.jsonl").read_text().splitlines()
    assert len(scored) == 1, "only the ensemble has seen the test split"


def test_inference_takes_the_folds_as_an_ensemble(workspace: Path, tmp_path: Path) -> None:
    folder = workspace / "Models" / NAME / "cross_validation"
    flags = ["--model", str(folder), "--output", str(tmp_path / "out"), "--engine", "torch"]
    assert inference.main([*where(workspace), *flags]) == 0
    run = read(tmp_path / "out" / "run.json")
    members = [read_header(folder / f"fold_{fold}" / "best_model.safetensors").sha256 for fold in range(3)]
    assert [one["sha256"] for one in run["models"]] == members == read(folder / "cross_validation.json")["models"]


def test_a_cross_validation_goes_on_where_it_stopped(workspace: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "copy"))
    folder = root / "Models" / NAME / "cross_validation"
    before = [(folder / f"fold_{fold}" / "best_model.safetensors").read_bytes() for fold in range(3)]
    shutil.rmtree(folder / "fold_2")
    (folder / "cross_validation.json").unlink()
    assert training.main([*where(root), "--fold", "all", "--resume", "--device", "cpu"]) == 0
    after = [read_header(folder / f"fold_{fold}" / "best_model.safetensors") for fold in range(3)]
    assert (folder / "fold_0" / "best_model.safetensors").read_bytes() == before[0]
    assert (folder / "fold_1" / "best_model.safetensors").read_bytes() == before[1]
    assert after[2].info["fold"] == 2 and (folder / "cross_validation.json").is_file()


def test_folds_that_were_not_trained_alike_are_refused_and_earlier_scores_stay(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "copy"))
    folder = root / "Models" / NAME / "cross_validation"
    assert training.main([*where(root), "--fold", "all", "--resume", "--epochs", "3", "--device", "cpu"]) == 2
    assert "other settings (epochs)" in capsys.readouterr().err
    assert (folder / "cross_validation.json").is_file(), "nothing was replaced, so nothing is forgotten"

    odd = folder / "fold_1" / "best_model.safetensors"
    header = read_header(odd)
    save_model(odd, load_file(odd), header.task, {**header.info, "planned_epochs": 9})
    before = (folder / "cross_validation.json").read_bytes()
    assert training.main([*where(root), "--fold", "all", "--score", "--device", "cpu"]) == 2
    assert "its models differ in planned_epochs" in capsys.readouterr().err
    assert (folder / "cross_validation.json").read_bytes() == before


def test_folds_of_an_earlier_split_are_refused(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "copy"))
    (root / "Models" / NAME / "cross_validation" / "fold_7").mkdir()
    assert training.main([*where(root), "--fold", "all", "--resume", "--device", "cpu"]) == 2
    assert "fold_7 left from a cross-validation with other folds" in capsys.readouterr().err


def test_scoring_again_is_counted_and_changes_nothing(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "copy"))
    models = root / "Models" / NAME
    assert training.main([*where(root), "--device", "cpu"]) == 0
    first = read(models / "evaluation.json")
    model = (models / "best_model.safetensors").read_bytes()
    assert training.main([*where(root), "--score", "--device", "cpu"]) == 0
    again = read(models / "evaluation.json")
    assert (models / "best_model.safetensors").read_bytes() == model
    assert again["classes"] == first["classes"] and again["scored_before"] == first["scored_before"] + 1 == 2
    assert len((models / "evaluations.jsonl").read_text().splitlines()) == 3

    # A model that was trained on other tables may have seen the test images.
    assert train_test_data_preparation.main([*where(root), "--data", str(root / "head"), "--seed", "1", "--force"]) == 0
    assert image_preprocessing.main([*where(root), "--jobs", "1"]) == 0
    capsys.readouterr()
    assert training.main([*where(root), "--score", "--device", "cpu"]) == 2
    assert "it may have seen the images" in capsys.readouterr().err
    assert len((models / "evaluations.jsonl").read_text().splitlines()) == 3


def test_a_refit_trains_on_all_folds_and_says_that_none_validated(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "copy"))
    folder = root / "Models" / NAME
    assert training.main([*where(root), "--refit", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "no validation images" in said and "validation Dice" not in said
    info = read_header(folder / "best_model.safetensors").info
    train = read_split(root / "Train_Test_Dataset" / NAME / "train_split.csv", ["HEAD"], root)
    assert info["images"] == {"train": len(train), "validation": 0}
    assert (info["fold"], info["validation_dice"], info["best_epoch"], info["epochs"]) == (None, None, 2, 2)
    assert "No fold validated it" in (folder / "MODEL_CARD.md").read_text()
    assert "none (refit on all folds)" in (folder / "evaluation.html").read_text()
    history = (folder / "history.csv").read_text().splitlines()
    assert len(history) == 3 and "loss/total" in history[0] and "validation" not in history[0]
    first = read(folder / "evaluation.json")
    assert training.main([*where(root), "--score", "--device", "cpu"]) == 0
    assert read(folder / "evaluation.json")["classes"] == first["classes"]
    assert inference.main([*where(root), "--output", str(tmp_path / "out"), "--engine", "torch"]) == 0


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"patience": 3}, "no fold validates; state --epochs"),
        ({"optimizer": {"learning_rate": 0.1, "schedule": "plateau"}}, "choose another training.optimizer.schedule"),
    ],
)
def test_a_refit_needs_settings_that_no_validation_decides(
    settings: dict, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small_task("fetal_head", tmp_path, training={"epochs": 2, "batch_size": 4, **settings})
    assert training.main([*where(tmp_path), "--refit"]) == 2
    assert problem in capsys.readouterr().err


def test_the_summary_needs_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert training.main(["--task", "nerve_unet", "--workspace", str(tmp_path), "--summary"]) == 0
    said = capsys.readouterr().out
    assert "252x252 pixels in, 68x68 out" in said and "31,036,481" in said and "15.12 G" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flags", [["--fold", "some"], ["--fold", "-1"], ["--fold", "all", "--sanity-check"], ["--refit", "--sanity-check"]]
)
def test_flags_that_mean_nothing_are_refused(
    flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert training.main(["--workspace", str(tmp_path), *flags]) == 2
    assert "error:" in capsys.readouterr().err


def test_a_score_of_changed_settings_is_refused(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "copy"))
    assert training.main([*where(root), "--fold", "2", "--device", "cpu"]) == 0
    assert training.main([*where(root), "--score", "--device", "cpu"]) == 0, "the test split is the same for all folds"
    lines = (root / "Models" / NAME / "evaluations.jsonl").read_text()
    small_task("fetal_head", root, epochs=2, postprocessing={"threshold": 0.9})
    capsys.readouterr()
    assert training.main([*where(root), "--score", "--device", "cpu"]) == 2
    assert "other settings than the task file has now (postprocessing)" in capsys.readouterr().err
    assert (root / "Models" / NAME / "evaluations.jsonl").read_text() == lines


def test_folds_are_scored_in_one_unit(workspace: Path) -> None:
    folder = workspace / "Models" / NAME / "cross_validation"
    units = {read(folder / f"fold_{fold}" / "evaluation.json")["distance_unit"] for fold in range(3)}
    assert len(units) == 1 and read(folder / "cross_validation.json")["distance_unit"] in units


def test_a_leak_in_the_table_of_copies_is_seen(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = Path(shutil.copytree(workspace, tmp_path / "copy"))
    index = root / "Train_Test_Dataset" / NAME / "train" / "index.csv"
    with index.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    original = next(row for row in rows if row["augmentation"] == "none")
    original["fold"] = str((int(original["fold"]) + 1) % 3)
    with index.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert training.main([*where(root), "--device", "cpu"]) == 2
    assert "made from another split" in capsys.readouterr().err
