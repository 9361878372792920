"""Check 36: regular expressions, YAML and JSON made to explode, and absurd settings: an answer within a second."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

import train_test_data_preparation as stage1
from sonoseg.errors import DataError, TaskError
from sonoseg.io.png import write_image
from sonoseg.io.tables import read_table
from sonoseg.schema.task_files import available_tasks, load_task
from sonoseg.schema.yaml_text import MAX_VALUES


@pytest.fixture(autouse=True)
def within_a_second() -> Iterator[None]:
    started = time.process_time()
    yield
    assert time.process_time() - started < 1


BOMB = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
YAML = {
    "an alias bomb": (BOMB, f"line 4: not readable as YAML: more than {MAX_VALUES} values"),
    "a bomb of merge keys": (MERGES, f"line 5: not readable as YAML: more than {MAX_VALUES} values"),
    "an alias of itself": ("a: &a [*a]", f"line 1: not readable as YAML: more than {MAX_VALUES} values"),
    "100,000 values": ("a:\n" * 100_000, "larger than 256 KiB"),
    "80,000 values": ("a:\n" * 80_000, f"more than {MAX_VALUES} values"),
    "nested lists": ("a: " + "[" * 200_000, "line 1: not readable as YAML: more than 50 levels"),
    "nested mappings": ("{a: " * 60_000, "line 1: not readable as YAML: more than 50 levels"),
    "nested blocks": ("- " * 100_000, "line 1: not readable as YAML: more than 50 levels"),
    "a large file": ("# " + "x" * 300_000, "larger than 256 KiB"),
    "a key twice": ("name: a\ntitle: b\nname: c\n", "line 3: not readable as YAML: key 'name' is there twice"),
    "a key twice below": ("input:\n  fit: resize\n  fit: letterbox\n", "line 3: not readable as YAML: key 'fit'"),
    "a number as a key": ("1.5: a", "line 1: not readable as YAML: a key that is no text, '1.5'; put it in quotes"),
    "a list as a key": ("[a, b]: c", "line 1: not readable as YAML: a key that is no text"),
    "5,000 digits": ("a: " + "1" * 5000, "is no number of at most 18 digits"),
    "5,000 hexadecimal digits": ("a: 0x" + "f" * 5000, "is no number of at most 18 digits"),
    "sexagesimal digits": ("a: 1" + ":59" * 2000, "is no number of at most 18 digits"),
    "NaN": ("name: a\nb: .nan", "line 2: not readable as YAML: '.nan' is no finite number"),
    "infinity": ("a: -.inf", "'-.inf' is no finite number"),
    "an overflow": ("a: 1.0e+999", "'1.0e+999' is no finite number"),
    "a set": ("a: !!set {b, c}", "line 1: not readable as YAML: found the tag 'tag:yaml.org,2002:set'"),
    "a tag without value": ("a: !!int ''", "found the tag"),
    "a tag of another kind": ("a: !!bool maybe", "found the tag"),
    "half a surrogate pair": ('a: "\\ud800"', "half of a surrogate pair in '\\ud800'"),
    "NUL": ('a: "\\0"', "a control character"),
    "two documents": ("a: 1\n---\nb: 2\n", "line 2: not readable as YAML"),
    "a list": ("- a\n", "found list; expected fields such as"),
    "no field": ("", "found NoneType; expected fields such as"),
}


@pytest.mark.parametrize("what", YAML)
def test_a_task_file(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, message = YAML[what]
    (tmp_path / "task.yaml").write_text(text)
    assert stage1.main(["--task", str(tmp_path / "task.yaml"), "--workspace", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert message in said and f"{tmp_path / 'task.yaml'}" in said and said.count("\n") == 1


def test_other_bytes_than_utf_8(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_bytes("title: Müller".encode("cp1252"))
    with pytest.raises(TaskError, match=r"task.yaml: not readable as YAML: .*save it as UTF-8 text"):
        load_task(tmp_path / "task.yaml")


def test_what_yaml_is_good_for_is_still_read(tmp_path: Path) -> None:
    text = (
        "extends: spine\nname: mine\ntitle: 2026-01-31\nreview: {ranges: {midline_angle_deg: &r {low: -30, high: 30}}}"
    )
    (tmp_path / "task.yaml").write_text(f"{text}\nevaluation: {{surface_tolerance_mm: 1.5e+0}}\n", encoding="utf-8-sig")
    task = load_task(tmp_path / "task.yaml")
    assert task.title == "2026-01-31", "a date is text"
    assert task.review.ranges["midline_angle_deg"].high == 30 and task.evaluation.surface_tolerance_mm == 1.5
    text = "extends: spine\nname: mine\nevaluation: &e {surface_tolerance_mm: 2}\n"
    (tmp_path / "task.yaml").write_text(text + "review: {ranges: {midline_angle_deg: {low: 1}}}\n")
    assert load_task(tmp_path / "task.yaml").evaluation.surface_tolerance_mm == 2


@pytest.mark.parametrize("parent", ["./task.yaml", "../here/task.yaml", "link.yaml"])
def test_a_task_file_that_extends_itself(parent: str, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "link.yaml").symlink_to("task.yaml")
    (folder / "task.yaml").write_text(f"extends: {parent}")
    with pytest.raises(TaskError, match="extends forms a cycle"):
        load_task(folder / "task.yaml")


@pytest.mark.parametrize("parent", ["a" * 5000, "a" * 5000 + ".yaml", "[a, b]", "{a: b}", "loop.yaml", "/dev/zero"])
def test_a_task_file_that_extends_what_cannot_be_a_file(parent: str, tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "task.yaml").write_text(f"extends: {parent}")
    with pytest.raises(TaskError, match="no such task"):
        load_task(tmp_path / "task.yaml")


ABSURD = {
    "spine": {
        "structures.0.thickness_px": 1e6, "input.size": [160_000, 160_000], "input.square_px": 10**9,
        "enhancement.denoise.strength": 1e9, "enhancement.denoise.template": 10**6, "enhancement.denoise.search": 10**6,
        "enhancement.clahe.clip": 1e300, "enhancement.clahe.tiles": 10**6, "enhancement.unsharp.sigma": 1e6,
        "enhancement.unsharp.amount": 1e30, "augmentation.copies": 10**9,
        "augmentation.grid_distortion": {"probability": 1, "cells": 10**9},
        "network.channels": [10**6, 10**6], "network.strides": [10**6], "network.residual_units": 10**6,
        "training.epochs": 10**12, "training.batch_size": 10**9, "training.patience": 10**12,
        "training.loss.hausdorff": {"start_epoch": 10**12, "ramp_epochs": 10**12, "max_weight": 1e300, "alpha": 1e9},
        "training.optimizer.learning_rate": 1e9, "training.optimizer.weight_decay": 1e9,
        "training.optimizer.warm_up_epochs": "inf", "training.optimizer.plateau": {"patience": 10**12},
        "split.folds": 10**9, "evaluation.surface_tolerance_mm": 1e300, "evaluation.surface_tolerance_px": "nan",
        "review.min_confidence": 1e9, "name": "a" * 5000, "structures.0.name": "a" * 5000, "title": "a" * 5000,
        "review.ranges.midline_angle_deg": {"high": "inf"},
    },
    "nerve_unet": {"network.channels": [64] * 1000},
    "fetal_head_segnet": {"network.convolutions": [10**6] * 5, "network.channels": [4096] * 5},
}  # fmt: skip
ABSURD_ARGUMENTS = {
    "a large number": ({"channels": [10**9, 10**9]}, "arguments: channels.0 is beyond 4096"),
    "large ones together": ({"channels": [4096] * 10}, "arguments: expected numbers whose squares add up"),
    "many": ({"strides": [1] * 3000}, "arguments: found 3000 values"),
    "nested": ({"a": [[[[[[[[[[[[1]]]]]]]]]]]]}, "nested too deeply"),
}


@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in ABSURD.items() for field in fields])
def test_an_absurd_setting_is_refused_and_named(name: str, field: str, tmp_path: Path) -> None:
    fields = load_task(name).model_dump(mode="json", by_alias=False)
    *sections, last = field.split(".")
    holder = fields
    for section in sections:
        holder = holder[int(section)] if isinstance(holder, list) else holder[section]
    holder[last] = ABSURD[name][field]
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(fields))
    with pytest.raises(TaskError) as caught:
        load_task(tmp_path / "task.yaml")
    named = field.replace("network.", f"network.{fields['network']['name']}.")
    assert f"  - {named}" in str(caught.value)


@pytest.mark.parametrize("what", ABSURD_ARGUMENTS)
def test_absurd_arguments_of_monai_are_refused(what: str, tmp_path: Path) -> None:
    arguments, message = ABSURD_ARGUMENTS[what]
    network = {"name": "segresnet", "arguments": arguments}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"extends": "fetal_head", "name": "x", "network": network}))
    with pytest.raises(TaskError, match=message):
        load_task(tmp_path / "task.yaml")


def test_settings_that_are_absurd_together_are_refused(tmp_path: Path) -> None:
    fields = {"extends": "spine", "name": "x", "input": {"size": [8192, 8192]}, "training": {"batch_size": 64}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(fields))
    with pytest.raises(TaskError, match=r"training.batch_size 64, input.size \[8192, 8192\]"):
        load_task(tmp_path / "task.yaml")


@pytest.mark.parametrize("name", available_tasks())
def test_tasks_have_room_below_the_limits(name: str, tmp_path: Path) -> None:
    """Eight times the batch of a task, and a hundred times its epochs and copies."""
    task = load_task(name)
    training = {"batch_size": task.training.batch_size * 8, "epochs": task.training.epochs * 100}
    fields = {"extends": name, "training": training, "augmentation": {"copies": task.augmentation.copies * 100}}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(fields))
    assert load_task(tmp_path / "task.yaml").name == name


def data_folder(root: Path, stem: str, annotations: str | None = None) -> None:
    write_image(root / "Datasets" / "p" / "images" / f"{stem}.png", np.zeros((64, 96), np.uint8))
    shape = '[["VTB", "rect", [[10, 10], [50, 30]]]]'
    text = f'{{"{stem}": {shape}}}' if annotations is None else annotations
    (root / "Datasets" / "p" / "annotations.json").write_text(text)


def stage_1(root: Path, **sections: object) -> int:
    (root / "task.yaml").write_text(yaml.safe_dump({"extends": "spine", "name": "p", **sections}))
    return stage1.main(["--task", str(root / "task.yaml"), "--workspace", str(root)])


@pytest.mark.parametrize("pattern", [r"^((?:a|aa)+)$", r"^((?:a|a)*)*$", r"^((?:a+)+)$", r"^((?:[a-z]+)*)\d$"])
def test_a_pattern_that_backtracks_without_end(
    pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_folder(tmp_path, "a" * 200 + "!")
    assert stage_1(tmp_path, patients={"pattern": pattern}) == 2
    said = capsys.readouterr().err
    assert "!.png: patients.pattern" in said or ("matches none of 1 file names" in said and "!.png;" in said)
    if pattern == r"^((?:a|aa)+)$":
        assert "takes longer than 0.2 s on this file name" in said


@pytest.mark.parametrize(
    "pattern", ["((?:(?:a{1000}){1000}){1000})", "(a{9999999})", "(" * 400 + "a" + ")" * 400, "(" + "a" * 2000 + ")"]
)
def test_a_pattern_that_is_too_large(pattern: str, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(yaml.safe_dump({"extends": "spine", "patients": {"pattern": pattern}}))
    with pytest.raises(TaskError, match=r"patients.pattern: "):
        load_task(tmp_path / "task.yaml")


@pytest.mark.parametrize(
    ("pattern", "stem", "patient"),
    [
        (r"^(\d+)_", "010_2HC", "010"), (r"(?<=p)(\d{3})", "xp123456", "123"), (r"^(?i:PAT)-([a-z]+)", "pat-ab", "ab"),
        (r"^(.+?)_", "Müller_1", "Müller"), (r"(\w+)$", "a b", "b"), (r"^x(y)?", "xz", ""), (r"^(a)", "b", ""),
        (r"^(?P<who>[^_]+)_(?:left|right)", "p7_left", "p7"), (r"(\d)(?!.*\d)", "a1b2c", "2"),
    ],
)  # fmt: skip
def test_patterns_mean_what_they_meant(pattern: str, stem: str, patient: str) -> None:
    assert load_task("fetal_head").patients.model_validate({"pattern": pattern}).patient_in(stem) == patient


JSON = {
    "nested lists": ("[" * 200_000, "not readable as JSON"),
    "nested objects": ('{"a":' * 200_000, "not readable as JSON"),
    "5,000 digits": ('{"a": [["VTB", "rect", [[' + "1" * 5000 + ", 1], [2, 2]]]]}", "not readable as JSON"),
    "a key twice": ('{"a": [], "a": []}', "'a': a second annotation of the same image"),
    "infinity": ('{"a": [["VTB", "rect", [[1e999, 1], [2, 2]]]]}', "'a', shape 0: VTB"),
    "half a surrogate pair": ('{"\\ud800": []}', "undecodable byte"),
}


@pytest.mark.parametrize("what", JSON)
def test_an_annotation_file(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, message = JSON[what]
    data_folder(tmp_path, "a", text)
    assert stage_1(tmp_path) == 2
    said = capsys.readouterr().err
    assert message in said and "annotations.json" in said and "unexpected" not in said


@pytest.mark.parametrize("name", ["annotations.json", "metadata.csv"])
@pytest.mark.parametrize("what", ["terabytes", "a device", "a pipe"])
def test_a_file_without_end(name: str, what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_folder(tmp_path, "a")
    path = tmp_path / "Datasets" / "p" / name
    path.unlink(missing_ok=True)
    if what == "terabytes":
        path.touch()
        os.truncate(path, 3 << 40)
    elif what == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    code = stage_1(tmp_path)
    said = "".join(capsys.readouterr())
    assert name in said and "unexpected" not in said
    assert code == 2 or (name == "metadata.csv" and what == "a pipe" and "no such table" in said)
    assert not list(tmp_path.rglob("*_split.csv")) or code == 0


def test_a_table_of_many_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.io.tables.MAX_CELLS", 1000)
    table = tmp_path / "metadata.csv"
    table.write_text("a,b\n" + "1,2\n" * 400)
    assert len(read_table(table, "a test")) == 400
    table.write_text(",".join(map(str, range(100))) + "\n" + "1\n" * 400)
    with pytest.raises(DataError, match=r"metadata.csv, row 12: more than 1000 cells"):
        read_table(table, "a test")
