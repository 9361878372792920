"""What stage 1 says where the task's pattern or column gives no patient: which it is, and in which task file."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from sonoseg.io.png import write_image
from train_test_data_preparation import main

Said = tuple[int, str]

PATTERN = r"^(\d+)_"


@pytest.fixture
def stage_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Return a function that writes heads of these names and a task file, and runs stage 1 with `child.yaml`."""

    def run(names: list[str], text: str, table: str = "", task: str = "child.yaml") -> Said:
        data = tmp_path / "data"
        for seed, name in enumerate(names):
            noise = np.random.default_rng(seed).integers(20, 235, (6, 8), dtype=np.uint8)
            mask = np.zeros((48, 64), np.uint8)
            cv2.ellipse(mask, (32, 24), (20 - seed % 3, 14), 0, 0, 360, 255, -1)
            write_image(data / "training_set" / f"{name}.png", np.kron(noise, np.ones((8, 8), np.uint8)))
            write_image(data / "training_set" / f"{name}_Annotation.png", mask)
        if table:
            (data / "training_set_pixel_size_and_HC.csv").write_text(table)
        (tmp_path / "child.yaml").write_text(text)
        task = str(tmp_path / task) if task.endswith(".yaml") else task
        code = main(["--task", task, "--data", str(data), "--workspace", str(tmp_path)])
        said = capsys.readouterr()
        return code, " ".join((said.err if code else said.out).split())

    return run


LETTERS = [f"i{letter}" for letter in "abcdef"]
TO_COME = "write a task file that extends fetal_head with `patients:` of its own (or `patients: unknown`)"


@pytest.mark.parametrize(
    ("task", "text", "said"),
    [
        (
            "child.yaml",
            "extends: fetal_head\nname: child\n",
            f"child.yaml: patients.pattern {PATTERN!r} of fetal_head, which it extends, matches none of 6 file names, "
            "such as ia.png; state `patients:` in child.yaml (or `patients: unknown`)",
        ),
        (
            "child.yaml",
            f"extends: fetal_head\nname: child\npatients: {{pattern: '{PATTERN}x'}}\n",
            f"child.yaml: patients.pattern {PATTERN + 'x'!r} matches none of 6 file names, such as ia.png; correct it "
            "(or write `patients: unknown`)",
        ),
        (
            "fetal_head",
            "",
            f"fetal_head: patients.pattern {PATTERN!r} matches none of 6 file names, such as ia.png; {TO_COME}",
        ),
    ],
)
def test_a_pattern_that_matches_no_file_name(task: str, text: str, said: str, stage_1: Callable[..., Said]) -> None:
    code, found = stage_1(LETTERS, text, task=task)
    assert code == 2 and f" - {said} - (warning)" in found and "1 fault found" in found


def test_a_pattern_that_matches_some(stage_1: Callable[..., Said]) -> None:
    code, found = stage_1(["1_a", "2_b", "c", "3_d", "e"], "extends: fetal_head\nname: child\n")
    said = (
        f" - child.yaml: patients.pattern {PATTERN!r} of fetal_head, which it extends, does not match 2 of 5 "
        "file names (c.png, e.png); rename the files, or state `patients:` in child.yaml (or `patients: unknown`) - "
    )
    assert code == 2 and said in found


def column_table(*columns: str) -> str:
    rows = [",".join([f"{name}.png", *("0.1" for _ in columns)]) for name in LETTERS]
    return "\n".join([",".join(["filename", *columns]), *rows]) + "\n"


SIZE = "pixel size(mm)"


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("extends: fetal_head\nname: child\npatients: {column: pat}\n", "child.yaml"),
        ("extends: middle.yaml\nname: child\n", "middle.yaml, which child.yaml extends"),
    ],
)
def test_a_column_that_the_table_does_not_have(
    text: str, stated: str, tmp_path: Path, stage_1: Callable[..., Said]
) -> None:
    (tmp_path / "middle.yaml").write_text("extends: fetal_head\nname: child\npatients: {column: pat}\n")
    code, found = stage_1(LETTERS, text, column_table(SIZE))
    assert code == 0
    assert (
        f"(warning) training_set_pixel_size_and_HC.csv: no column 'pat' (patients.column of {stated}), only "
        f"'filename', {SIZE!r}: no patient for 6 images (ia, ib, ic, id, ie, ...): each counts as a patient of its own"
    ) in found


def test_a_column_with_empty_cells(stage_1: Callable[..., Said]) -> None:
    table = column_table(SIZE, "pat").replace("ib.png,0.1,0.1", "ib.png,0.1,")
    _, found = stage_1(LETTERS, "extends: fetal_head\nname: child\npatients: {column: pat}\n", table)
    assert "training_set_pixel_size_and_HC.csv, column 'pat': no patient for 1 image (ib): each counts" in found
    assert "means nothing; fill in the column (patients.column of child.yaml)" in found
