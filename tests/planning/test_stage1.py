"""A task file that leaves the training open, through stage 1 and into the later ones."""

import json
from pathlib import Path

import pytest
import yaml

import image_preprocessing
import train_test_data_preparation
import training
from sonoseg.planning.planned_task import load_planned_task
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task_files import load_draft, load_task, task_of


@pytest.fixture
def task_file(tmp_path: Path) -> Path:
    return write(tmp_path / "disc.yaml", {})


def write(path: Path, more: dict) -> Path:
    fields = {
        "name": "disc",
        "structures": [{"name": "DISC", "shape": "region", "color": "#ff0000"}],
        "annotations": {"format": "mask_folder", "mask_suffix": ""},
        "patients": {"pattern": r"^(\d+)_"},
        "plan": {"minutes": 1},
    }
    path.write_text(yaml.safe_dump(fields | more, sort_keys=False))
    return path


def stage1(task_file: Path, data: Path, root: Path, *more: str) -> int:
    flags = ["--task", str(task_file), "--data", str(data), "--workspace", str(root)]
    return train_test_data_preparation.main([*flags, *more])


def report(root: Path) -> dict:
    return json.loads((root / "Train_Test_Dataset" / "disc" / "dataset_report.json").read_text())


@pytest.mark.training
def test_what_is_open_is_planned_kept_and_read_by_the_later_stages(
    task_file: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonoseg.planning.timing.TIMED", 2)
    with pytest.raises(Exception, match=r"leaves input.size, network.name, training.epochs .*; run stage 1"):
        load_task(task_file)
    assert image_preprocessing.main(["--task", str(task_file), "--workspace", str(tmp_path)]) == 2
    assert "run stage 1" in capsys.readouterr().err

    assert stage1(task_file, data, tmp_path) == 0
    shown = capsys.readouterr().out
    assert "planned from the training images:" in shown and "DISC lies in the upper part" in shown
    assert "too few for one fold" in shown
    rows = {row["setting"]: row for row in report(tmp_path)["plan"]["settings"]}
    assert rows["augmentation.flip_vertical"]["value"] == 0 and not rows["input.size"]["pinned"]
    page = (tmp_path / "Train_Test_Dataset" / "disc" / "dataset_report.html").read_text()
    assert "Plan of the training" in page and "a step takes" in page

    planned = load_planned_task(task_file, tmp_path)
    assert planned.input.size == (96, 128) and planned.network.name == "unet"
    before = Workspace(tmp_path, "disc").planned_task.read_text()
    assert stage1(task_file, data, tmp_path) == 0  # nothing is timed again, so that nothing changes
    assert Workspace(tmp_path, "disc").planned_task.read_text() == before

    # A setting that the task file states wins over the plan, without a new one.
    pinned = write(task_file, {"training": {"epochs": 1, "batch_size": 2}, "augmentation": {"copies": 0}})
    changed = load_planned_task(pinned, tmp_path)
    assert (changed.training.epochs, changed.training.batch_size) == (1, 2)
    assert changed.network == planned.network and changed.training.optimizer == planned.training.optimizer
    flags = ["--task", str(pinned), "--workspace", str(tmp_path)]
    assert image_preprocessing.main(flags) == 0
    assert training.main([*flags, "--device", "cpu"]) == 0

    assert stage1(pinned, data, tmp_path, "--replan") == 0
    rows = {row["setting"]: row for row in report(tmp_path)["plan"]["settings"]}
    assert rows["training.ema_decay"]["value"] == 0.9, "of the few steps of one epoch without copies"
    assert rows["training.epochs"]["pinned"] and "stated in" in rows["training.epochs"]["reason"]


def test_auto_opens_a_setting_of_an_extended_task(tmp_path: Path) -> None:
    file = tmp_path / "heads.yaml"
    file.write_text("extends: fetal_head\nname: heads\ntraining: {epochs: auto}\ninput: auto\n")
    assert load_draft(file).open == ("input", "training.epochs", "input.size")
    file.write_text("extends: fetal_head\nname: heads\n")
    assert not load_draft(file).is_open and load_task(file).input.size == (192, 288)


@pytest.mark.parametrize("network", [{"channels": [8, 16, 32, 64]}, {"strides": [2, 2]}])
def test_a_network_with_channels_or_strides_alone_is_open(tmp_path: Path, network: dict) -> None:
    draft = load_draft(write(tmp_path / "disc.yaml", {"network": {"name": "unet"} | network}))
    assert draft.is_open and len(task_of(draft).network.coarser_weights) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"plan": {"minutes": 0}}, r"plan\.minutes"),
        ({"plan": {"hours": 1}}, r"plan\.hours: there is no such field"),
        ({"exclude": "../list.txt"}, "exclude"),
        ({"input": {"fit": "stretch"}}, "input.fit"),
    ],
)
def test_wrong_settings_of_a_draft_are_named(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str], more: dict, message: str
) -> None:
    assert stage1(write(tmp_path / "disc.yaml", more), data, tmp_path) == 2
    error = capsys.readouterr().err
    assert pytest.importorskip("re").search(message, error) and "Traceback" not in error


def test_excluded_images_are_left_out(task_file: Path, data: Path, tmp_path: Path) -> None:
    file = write(
        task_file,
        {"extends": "fetal_tumor", "review": None, "exclude": ["00_0", "01_1.png", "99_9"]},
    )
    assert stage1(file, data, tmp_path) == 0
    found = report(tmp_path)
    assert found["counts"]["all"]["images"] == 18
    messages = [one["message"] for one in found["warnings"] if one["kind"] == "excluded"]
    assert messages == ["2 images left out: 00_0, 01_1", "no image is called 99_9; correct the name"]
