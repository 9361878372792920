"""A folder with one image: the stages print commands that work, and the error of the others names the flag."""

import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import image_preprocessing
import train_test_data_preparation
import training
from tests.small import small_task


def next_line(said: str) -> str:
    (line,) = [line for line in said.splitlines() if line.startswith("next: ")]
    return line


PLATEAU = {"name": "adam", "learning_rate": 0.005, "schedule": "plateau"}


@pytest.mark.parametrize(
    ("changed", "end"),
    [
        ({}, " --refit"),
        ({"patience": 3}, " --refit --epochs 5"),  # without a number of epochs, --refit refuses such a task
        ({"optimizer": PLATEAU}, " --refit"),
    ],
)
def test_stages_1_and_2_and_what_they_say(
    changed: dict[str, Any],
    end: str,
    tmp_path: Path,
    spine_data: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = {"epochs": 5, "batch_size": 4, "patience": None, "optimizer": {"learning_rate": 0.005}}
    task = small_task("spine", tmp_path, training=fields | changed)
    where = ["--task", str(task), "--workspace", str(tmp_path)]
    assert train_test_data_preparation.main([*where, "--data", str(spine_data(1))]) == 0
    assert image_preprocessing.main([*where, "--jobs", "1"]) == 0
    command = next_line(capsys.readouterr().out.partition("image_preprocessing.py")[2])
    assert command.endswith(f"python training.py {shlex.join(where)}{end}")
    assert ("choose another training.optimizer.schedule" in command) == ("optimizer" in changed)
    for flags in ([], ["--fold", "all"]):
        assert training.main([*where, *flags]) == 2
        said = capsys.readouterr().err
        assert "at least two patients in its training part; --refit trains on all images, and validates none" in said


def test_two_patients_that_train_need_no_refit(
    tmp_path: Path, spine_data: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--task", str(small_task("spine", tmp_path)), "--workspace", str(tmp_path)]
    assert train_test_data_preparation.main([*where, "--data", str(spine_data(6))]) == 0
    assert image_preprocessing.main([*where, "--jobs", "1"]) == 0
    assert capsys.readouterr().out.endswith(f"next: python training.py {shlex.join(where)}\n")


@pytest.mark.parametrize(
    ("sanity_check", "models", "has_test", "end"),
    [
        (False, None, True, "inference.py --task t"),
        (False, None, False, "inference.py --task t --images path/to/images"),
        (False, Path("m"), False, "inference.py --task t --model m --images path/to/images"),
        (True, None, False, "training.py --task t"),
    ],
)
def test_stage_3_names_images_where_none_is_left_to_test(
    sanity_check: bool, models: Path | None, has_test: bool, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = Namespace(sanity_check=sanity_check, task="t", workspace=Path("w"))
    monkeypatch.setattr("sonoseg.runs.command_line.default_workspace", lambda: Path("w"))
    assert training.following_command(arguments, models, has_test) == f"python {end}"
