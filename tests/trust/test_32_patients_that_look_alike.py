"""Check 32: patients whose names differ only in Unicode form, width, invisible characters or spaces are one patient."""

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml

import train_test_data_preparation as stage1
import training as stage3
from sonoseg.evaluation.intervals import patient_means
from sonoseg.io.names import patient_key, similar_patient_key
from sonoseg.io.png import write_image
from tests.trust.conftest import everything, rows_of
from tests.trust.runs import NAME, run
from tests.trust.test_01_patient_on_both_sides import move

PLAIN = "Müller 12"
ALIKE = {
    "letters and accents apart": unicodedata.normalize("NFD", PLAIN),
    "a soft hyphen": "Mül\u00adler 12",
    "a zero-width space": "Müller\u200b 12",
    "a zero-width joiner": "Mü\u200dller 12",
    "a joiner before an accent": "Mu\u200d\u0308ller 12",
    "a byte-order mark": "\ufeffMüller 12",
    "a no-break space": "Müller\u00a012",
    "an ideographic space": "Müller\u300012",
    "two spaces": "Müller  12",
    "full-width digits": "Müller \uff11\uff12",
    "a variation selector": "Müller 12\ufe0f",
    "a Hangul filler": "Müller\u3164 12",
    "a tag": "Müller 12\U000e0041",
}
OTHERS = ("müller 12", "Muller 12", "Müller-12", "Müller 21", "Müller 1 2")


@pytest.mark.parametrize("what", ALIKE)
def test_look_alikes_have_one_key(what: str) -> None:
    assert ALIKE[what] != PLAIN and patient_key(ALIKE[what]) == patient_key(PLAIN) == PLAIN


def test_others_have_their_own_key_and_near_ones_are_known() -> None:
    assert len({patient_key(name) for name in (PLAIN, *OTHERS)}) == 1 + len(OTHERS)
    near = {name for name in OTHERS if similar_patient_key(name) == similar_patient_key(PLAIN)}
    assert near == {"müller 12", "Muller 12", "Müller 1 2"}
    assert patient_key("\u200b \u00ad") == "", "nothing visible is no patient"


def prepare(root: Path, patients: dict[str, str], by_name: bool) -> int:
    """Run stage 1 on an image per entry, {name: patient}; `by_name` takes the patient from the file name."""
    for number, name in enumerate(patients):
        write_image(
            root / "data" / "images" / f"{name}.png", np.random.default_rng(number).integers(0, 255, (64, 96), np.uint8)
        )
    shape = '[["VTB", "rect", [[10, 10], [50, 30]]]]'
    (root / "data" / "annotations.json").write_text("{" + ", ".join(f'"{name}": {shape}' for name in patients) + "}")
    lines = ["image,patient,row_mm,col_mm", *(f"{name},{patient},0.2,0.2" for name, patient in patients.items())]
    (root / "data" / "metadata.csv").write_text("\n".join(lines), encoding="utf-8")
    task = {"extends": "spine", "name": NAME, "input": {"size": [64, 96]}}
    if by_name:
        task["patients"] = {"pattern": "^[0-9]+_(.+)$"}
    (root / "task.yaml").write_text(yaml.safe_dump(task))
    flags = ["--task", str(root / "task.yaml"), "--workspace", str(root), "--data", str(root / "data")]
    return stage1.main([*flags, "--folds", "3", "--test-size", "0.4"])


@pytest.mark.parametrize("by_name", [False, True], ids=["column", "file name"])
def test_they_are_never_in_two_parts(by_name: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [*ALIKE.values(), *(f"p{number}" for number in range(8)), "P1"]
    patients = {f"{number:02}_{name}" if by_name else f"{number:02}": name for number, name in enumerate(names)}
    assert prepare(tmp_path, patients, by_name) == 0
    split = tmp_path / "Train_Test_Dataset" / NAME
    rows = [(part, row) for part in ("train", "test") for row in rows_of(split / f"{part}_split.csv")]
    alike = [(part, row["fold"], row["patient"]) for part, row in rows if patient_key(row["patient"]) == PLAIN]
    assert len(alike) == len(ALIKE) and len(set(alike)) == 1, "one part, one fold, one spelling"
    assert len({row["patient"] for _, row in rows}) == 10, "upper and lower case stay apart"
    said = " ".join(capsys.readouterr().out.split())
    assert f"{len(ALIKE) - 1} patients with several spellings that look the same, each treated as one" in said
    report = (split / "dataset_report.json").read_text()
    assert "also written 'M\\\\xfcl\\\\xadler 12'" in report and "treated as one patient" in report
    assert "patient p1: differs from P1 in upper and lower case only; treated as two patients" in said


@pytest.mark.parametrize("flags", [[], ["--score"], ["--fold", "all"]], ids=" ".join)
def test_training_refuses_tables_with_one_of_them_in_both_parts(
    workspace: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    patient = rows_of(workspace / "Train_Test_Dataset" / NAME / "train_split.csv")[0]["patient"]
    move(workspace, "test", 0, patient=f"{patient}\u200b")
    before = everything(workspace / "Models")
    assert run(stage3, workspace, *flags) == 2
    assert f"patient {patient}: in the training and in the test table" in capsys.readouterr().err
    assert everything(workspace / "Models") == before


def test_training_refuses_tables_with_one_of_them_in_two_folds(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = rows_of(workspace / "Train_Test_Dataset" / NAME / "train_split.csv")
    other = next(row for row, one in enumerate(others, start=1) if one["fold"] != first["fold"])
    move(workspace, "train", other, patient=f"{first['patient']}\u00ad")
    assert run(stage3, workspace) == 2
    assert f"patient {first['patient']}" in capsys.readouterr().err


def test_scores_count_them_as_one() -> None:
    assert patient_means([1.0, 0.0, 0.25], [PLAIN, ALIKE["a soft hyphen"], "other"]).tolist() == [0.5, 0.25]


def test_a_direction_character_is_refused_with_its_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(tmp_path, {"a": "p1", "b": "p\u202e2", "c": "p3"}, by_name=False) == 2
    assert "metadata.csv, row 3: a bidirectional control character in patient" in capsys.readouterr().err
