"""Check 1: a split that is edited so that one patient is in both parts is refused, and the patient named."""

from pathlib import Path

import pytest

import training as stage3
from tests.trust.conftest import everything, put_rows, rows_of
from tests.trust.runs import NAME, run


def move(workspace: Path, part: str, row: int, **cells: str) -> None:
    """Change cells of one image in the tables of stages 1 and 2 alike, so that only the check of patients fails."""
    folder = workspace / "Train_Test_Dataset" / NAME
    table, index = folder / f"{part}_split.csv", folder / part / "index.csv"
    rows = rows_of(table)
    image = rows[row]["id"]
    rows[row].update(cells)
    put_rows(table, rows)
    put_rows(index, [one | cells if one["source_id"] == image else one for one in rows_of(index)])


@pytest.mark.parametrize("flags", [[], ["--score"], ["--resume"], ["--fold", "all"]], ids=" ".join)
def test_in_training_and_test(workspace: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    patient = rows_of(workspace / "Train_Test_Dataset" / NAME / "train_split.csv")[0]["patient"]
    move(workspace, "test", 0, patient=patient)
    before = everything(workspace / "Models")
    assert run(stage3, workspace, *flags) == 2
    assert f"patient {patient}: in the training and in the test table" in capsys.readouterr().err
    assert everything(workspace / "Models") == before


def test_in_two_folds(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = rows_of(workspace / "Train_Test_Dataset" / NAME / "train_split.csv")
    other = next(row for row, one in enumerate(others, start=1) if one["fold"] != first["fold"])
    move(workspace, "train", other, patient=first["patient"])
    assert run(stage3, workspace) == 2
    assert f"patient {first['patient']}: in folds" in capsys.readouterr().err
