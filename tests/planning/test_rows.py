"""What of a plan is used and what the task file states, also when that changes after the plan was made."""

import json
from pathlib import Path
from typing import Any

import pytest

from sonoseg.planning.choice import Choice, nested
from sonoseg.planning.planned_task import load_planned_task
from sonoseg.planning.rows import PlannedSetting, rows_of
from sonoseg.schema.task_files import load_draft, task_of
from tests.planning.test_stage1 import report, stage1, write

CHOICES = [
    Choice("input.size", [96, 128], "small"),
    Choice("input.fit", "resize", "same"),
    Choice(
        "network",
        {"name": "unet", "channels": [8, 16], "strides": [2], "residual_units": 2, "norm": "batch", "init": None},
        "2 levels",
    ),
    Choice("augmentation.foreground_zoom", {"probability": 0.3}, "A is small"),
    Choice("training.loss", {"name": "dice_ce", "batch_dice": True}, "A is rare"),
    Choice("training.optimizer", {"name": "adamw", "learning_rate": 0.003}, "as measured"),
    Choice("training.epochs", 5, "fill the time"),
    Choice("training.batch_size", 4, "5 %"),
]


def rows(tmp_path: Path, more: dict[str, Any]) -> dict[str, PlannedSetting]:
    draft = load_draft(write(tmp_path / "disc.yaml", more))
    return {row.setting: row for row in rows_of(draft, task_of(draft, nested(CHOICES)), CHOICES)}


def test_a_section_is_stated_only_with_all_that_is_planned_of_it(tmp_path: Path) -> None:
    found = rows(
        tmp_path, {"network": {"name": "unet"}, "training": {"loss": {"name": "dice_ce", "batch_dice": False}}}
    )
    network, loss = found["network"], found["training.loss"]
    assert not network.pinned and network.value["channels"] == [8, 16]
    assert network.reason == f"2 levels; {tmp_path / 'disc.yaml'} states name"
    assert loss.pinned and loss.value["batch_dice"] is False and loss.reason == f"stated in {tmp_path / 'disc.yaml'}"
    assert not found["training.epochs"].pinned and found["training.epochs"].reason == "fill the time"
    partly = rows(tmp_path, {"network": {"name": "unet", "channels": [4, 8]}})["network"]
    assert partly.value["channels"] == [4, 8] and partly.value["strides"] == [2] and "dropout" not in partly.value


def test_another_network_and_null_leave_nothing_of_the_plan(tmp_path: Path) -> None:
    found = rows(tmp_path, {"network": {"name": "segnet"}, "augmentation": {"foreground_zoom": None}})
    assert found["network"].pinned and found["network"].value["name"] == "segnet"
    assert found["augmentation.foreground_zoom"].pinned and found["augmentation.foreground_zoom"].value is None


def test_a_kept_plan_follows_what_is_stated_and_what_no_longer_is(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sonoseg.planning.timing.seconds_per_step", lambda task: 0.5)

    def settings() -> dict[str, Any]:
        return {row["setting"]: row for row in report(tmp_path)["plan"]["settings"]}

    file = tmp_path / "disc.yaml"
    assert stage1(write(file, {"enhancement": {"unsharp": {}}}), data, tmp_path) == 0
    first = settings()
    planned, text = load_planned_task(file, tmp_path), (tmp_path / "Train_Test_Dataset/disc/task.yaml").read_text()
    capsys.readouterr()

    assert stage1(write(file, {"training": {"epochs": 3}, "network": {"name": "unet"}}), data, tmp_path) == 0
    pinned = settings()["training.epochs"]
    assert pinned["pinned"] and pinned["value"] == 3 and pinned["reason"] == f"stated in {file}"
    assert pinned["planned_reason"] == first["training.epochs"]["reason"]
    assert not settings()["network"]["pinned"] and "training.epochs" not in capsys.readouterr().out
    assert load_planned_task(file, tmp_path).training.epochs == 3

    assert stage1(write(file, {}), data, tmp_path) == 0
    again = load_planned_task(file, tmp_path)
    assert settings() == first and again.training.epochs == planned.training.epochs != 3
    assert (tmp_path / "Train_Test_Dataset/disc/task.yaml").read_text() == text
    assert again.enhancement != planned.enhancement, "a setting that is not planned has its default again"


def test_plans_of_earlier_versions_are_kept(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their reports have no `planned_reason`, and their `task.yaml` is the whole task."""
    monkeypatch.setattr("sonoseg.planning.timing.seconds_per_step", lambda task: 0.5)
    file = write(tmp_path / "disc.yaml", {})
    assert stage1(file, data, tmp_path) == 0
    planned = load_planned_task(file, tmp_path)
    folder = tmp_path / "Train_Test_Dataset/disc"
    content = report(tmp_path)
    for row in content["plan"]["settings"]:
        del row["planned_reason"]
    (folder / "dataset_report.json").write_text(json.dumps(content))
    (folder / "task.yaml").write_text(json.dumps(planned.model_dump(mode="json", exclude_none=True)))
    monkeypatch.setattr("sonoseg.planning.timing.seconds_per_step", lambda task: 50.0)  # would plan fewer epochs
    assert load_planned_task(file, tmp_path) == planned
    assert stage1(file, data, tmp_path) == 0
    assert load_planned_task(file, tmp_path) == planned
