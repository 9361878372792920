"""Stage 1 on DICOM data as a user runs it: files with patients and regions, further frames of a loop, and mistakes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import train_test_data_preparation
from sonoseg.io.pseudonyms import is_pseudonym
from tests.dicom_files import region_item, write_dicom, write_video

LEFT, RIGHT = region_item(10, 5, 39, 44, (0.2, 0.2)), region_item(50, 5, 89, 54, (0.4, 0.3))
BOXES = [["A", "rect", [[12, 10], [20, 14]]], ["A", "rect", [[60, 10], [70, 24]]]]
TASK: dict[str, Any] = {
    "extends": "fetal_tumor",
    "name": "boxes",
    "structures": [{"name": "A", "shape": "rectangle", "color": "#ff0000"}],
    "annotations": {"format": "shapes_json"},
    "patients": "unknown",
    "review": None,
    "split": {"test_size": 0.5, "folds": 2},
}


def picture(seed: int, frames: int = 1) -> np.ndarray:
    """Return frames that are like no others of another seed."""
    coarse = np.random.default_rng(seed).integers(0, 255, (frames, 6, 10), dtype=np.uint8)
    return np.kron(coarse, np.ones((1, 10, 10), np.uint8))


def write_data(data: Path, films: int = 3) -> None:
    """Write five stills of two regions, one per patient, and `films` videos of four frames, of which two are annotated.

    The videos have no patient.
    """
    (data / "images").mkdir(parents=True)
    entries = {}
    for number in range(5):
        write_dicom(data / "images" / f"i{number}.dcm", picture(number)[0], [LEFT, RIGHT], PatientID=f"HIDDEN{number}")
        entries[f"i{number}"] = BOXES
    for number in range(films):
        write_video(data / "images" / f"film{number}.avi", picture(50 + number, 4))
        entries |= {f"film{number}_frame0001": BOXES, f"film{number}_frame0002": BOXES}
    (data / "annotations.json").write_text(json.dumps(entries))


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(TASK))
    flags = ["--task", str(tmp_path / "task.yaml"), "--data", str(tmp_path / "data"), "--workspace", str(tmp_path)]

    def stage1(*more: str) -> tuple[int, str]:
        code = train_test_data_preparation.main([*flags, *more])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return stage1


def rows(root: Path) -> dict[str, dict[str, str]]:
    found = {}
    for part in ("train", "test"):
        with (root / "Train_Test_Dataset" / "boxes" / f"{part}_split.csv").open() as stream:
            found |= {row["id"]: {**row, "part": part} for row in csv.DictReader(stream)}
    return found


def test_regions_and_patients_in_the_tables(tmp_path: Path, run: Run) -> None:
    write_data(tmp_path / "data")
    code, said = run("--report-only")
    assert code == 0 and not (tmp_path / "Train_Test_Dataset" / "patient_key").exists()
    code, said = run()
    assert code == 0 and "HIDDEN" not in said
    table = rows(tmp_path)
    assert len(table) == 16 and {table[f"i0_region{n}"]["region"] for n in (1, 2)} == {"1", "2"}
    assert [table[f"i0_region{n}"]["row_mm"] for n in (1, 2)] == ["0.2", "0.4"]
    assert table["film0_frame0002"]["region"] == "" and table["film0_frame0002"]["frame"] == "2"
    for first, second in (("i{}_region1", "i{}_region2"), ("film{}_frame0001", "film{}_frame0002")):
        for number in range(3):
            one, other = table[first.format(number)], table[second.format(number)]
            assert (one["patient"], one["fold"], one["part"]) == (other["patient"], other["fold"], other["part"])
            assert is_pseudonym(one["patient"]) == first.startswith("i")
    before = rows(tmp_path)
    assert run()[0] == 0 and rows(tmp_path) == before
    report = json.loads((tmp_path / "Train_Test_Dataset" / "boxes" / "dataset_report.json").read_text())["patients"]
    assert report["told_apart_by"].startswith("what the image files state, as pseudonyms, else similar pictures")


def test_the_split_does_not_depend_on_the_key(tmp_path: Path, run: Run) -> None:
    write_data(tmp_path / "data")
    parts = []
    for _ in range(3):
        assert run("--force")[0] == 0
        parts.append({name: (row["part"], row["fold"]) for name, row in rows(tmp_path).items()})
        (tmp_path / "Train_Test_Dataset" / "patient_key").unlink()
    assert parts[0] == parts[1] == parts[2]


def test_further_frames_stay_with_their_file(tmp_path: Path, run: Run) -> None:
    """A film is in the added folder once more, with other frames annotated; a patient has a further still."""
    write_data(tmp_path / "data")
    assert run()[0] == 0
    before = rows(tmp_path)
    more = tmp_path / "more"
    (more / "images").mkdir(parents=True)
    entries = {"new": BOXES[:1]}
    for number in range(3):
        film = tmp_path / "data" / "images" / f"film{number}.avi"
        (more / "images" / film.name).write_bytes(film.read_bytes())
        entries[f"film{number}_frame0004"] = BOXES
    tested = next(row for row in before.values() if row["part"] == "test" and is_pseudonym(row["patient"]))
    write_dicom(more / "images" / "new.dcm", picture(90)[0], [LEFT, RIGHT], PatientID=f"hidden{tested['id'][1]}")
    (more / "annotations.json").write_text(json.dumps(entries))
    code, said = run("--add", str(more))
    assert code == 0, said
    after = rows(tmp_path)
    assert after.keys() - before.keys() == {*(f"film{number}_frame0004" for number in range(3)), "new_region1"}
    for number in range(3):
        new, old = after[f"film{number}_frame0004"], before[f"film{number}_frame0001"]
        assert (new["patient"], new["part"], new["fold"]) == (old["patient"], old["part"], old["fold"])
    assert (after["new_region1"]["patient"], after["new_region1"]["part"]) == (tested["patient"], "test")
    assert {name: row["fold"] for name, row in after.items() if name in before} == {
        name: row["fold"] for name, row in before.items()
    }


def test_a_frame_that_the_loop_does_not_have(tmp_path: Path, run: Run) -> None:
    write_data(tmp_path / "data")
    path = tmp_path / "data" / "annotations.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"film0_frame9999": BOXES}))
    code, said = run()
    assert code == 2 and "'film0_frame9999': frame 9999 of film0.avi, which has 4 frames, 1 to 4" in said
    assert "1 fault found" in said and "Traceback" not in said


def test_a_lost_key_is_another_split(tmp_path: Path, run: Run) -> None:
    write_data(tmp_path / "data")
    assert run()[0] == 0
    key = tmp_path / "Train_Test_Dataset" / "patient_key"
    kept = key.read_bytes()
    key.unlink()
    assert run()[0] == 2 and not key.exists()
    key.write_bytes(kept[:7])
    code, said = run()
    assert code == 2 and "7 bytes; expected the 32 of the key" in said
    key.write_bytes(kept)
    assert run()[0] == 0
