"""A run that adds images and ends before its tables are in their places: the split is not lost."""

import os
from pathlib import Path

import pytest

from tests.prepare.test_additions import Stage1, add, picture, square, stage1

__all__ = ["stage1"]


@pytest.mark.parametrize("table", ["train_split.csv", "test_split.csv"])
def test_an_interrupted_addition_goes_on(
    stage1: Stage1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    stage1.run("--seed", "1")  # the split of the default seed is another one
    before, real, failing = stage1.rows, os.replace, [table]

    def replace(source: Path, target: Path) -> None:
        if Path(target).name in failing:
            raise OSError(5, "Input/output error")
        real(source, target)

    for number in range(10, 20):
        add(tmp_path / "more", f"p{number}_0", picture(number + 30), square(9))
    monkeypatch.setattr(os, "replace", replace)
    stage1.run("--add", str(tmp_path / "more"))
    split = stage1.root / "Train_Test_Dataset" / "squares"
    assert stage1.code == 2 and not (split / "test_split.csv").exists()
    failing.append("test_split.csv.new")
    stage1.run()  # nor does a further run that cannot write
    assert stage1.code == 2
    failing.clear()
    stage1.run()
    assert stage1.code == 0 and len(stage1.rows) == 30 and not list(split.glob("*.new"))
    assert all(stage1.rows[name]["fold"] == row["fold"] for name, row in before.items())
