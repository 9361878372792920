"""Stages 1 to 4 on DICOM stills, a loop and a video: the same as on PNG of their regions, and nothing of a header."""

import json
from pathlib import Path

import pytest
import torch
import yaml

import image_preprocessing
import inference
import train_test_data_preparation
import training
from sonoseg.annotations.frames import frame_count
from sonoseg.io.masks import read_mask
from sonoseg.io.pseudonyms import is_pseudonym
from sonoseg.io.tables import read_table
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import Workspace
from tests.dicom_datasets import NEVER_WRITTEN, SPACING, write_both

CLASSES = ["MID", "VTB", "EPI"]
TASK = {
    "extends": "spine",
    "name": "cine",
    "title": "Cine",
    "patients": "unknown",
    "enhancement": {"denoise": None},
    "input": {"size": [32, 48]},
    "augmentation": {"copies": 1},
    "split": {"test_size": 0.25, "folds": 2},
    "network": {"channels": [4, 8], "strides": [2], "residual_units": 1},
    "training": {"epochs": 1, "batch_size": 4},
}


@pytest.fixture(scope="module")
def workspaces(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A workspace in which all stages have run on DICOM and video, and one with two stages on the regions as PNG."""
    root = tmp_path_factory.mktemp("cine")
    dicom, png = write_both(root)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for data, last in ((dicom, 4), (png, 2)):
            (data / "task.yaml").write_text(yaml.safe_dump(TASK))
            stages = (
                (train_test_data_preparation, ["--data", str(data)]),
                (image_preprocessing, ["--jobs", "1"]),
                (training, ["--device", "cpu", "--run", "first"]),
                (inference, ["--images", str(data / "images"), "--device", "cpu", "--engine", "torch", "--jobs", "1"]),
            )
            for script, flags in stages[:last]:
                shared = ["--task", str(data / "task.yaml"), "--workspace", str(data / "workspace")]
                assert script.main([*shared, *flags]) == 0, script.__name__
    finally:
        torch.set_num_threads(threads)
    return dicom / "workspace", png / "workspace"


def samples_of(root: Path) -> dict[str, Sample]:
    workspace = Workspace(root, "cine")
    tables = [read_split(workspace.split_table(part), CLASSES, root) for part in ("train", "test")]
    return {sample.id: sample for table in tables for sample in table}


def test_the_split_is_that_of_the_regions(workspaces: tuple[Path, Path]) -> None:
    ours, theirs = map(samples_of, workspaces)
    assert ours.keys() == theirs.keys() and len(ours) == 17
    patient_of = {theirs[name].patient: sample.patient for name, sample in ours.items()}
    assert len(patient_of) == len(set(patient_of.values())) == 8
    for name, sample in ours.items():
        same = theirs[name]
        assert sample.patient == patient_of[same.patient]
        assert is_pseudonym(sample.patient) == (same.patient != "A film")
        assert (sample.height, sample.width, sample.spacing) == (same.height, same.width, same.spacing)
        assert sample.image.frame == (int(name[-4:]) - 1 if "frame" in name else None)
        assert read_mask(sample.mask).shape == (sample.height, sample.width)
        assert sample.mask.read_bytes() == same.mask.read_bytes()
    assert ours["i00"].spacing == pytest.approx(SPACING) and ours["film_frame0001"].spacing is None


def test_frames_and_patients_stay_together(workspaces: tuple[Path, Path]) -> None:
    folds: dict[str, set[int | None]] = {}
    for sample in samples_of(workspaces[0]).values():
        folds.setdefault(str(sample.image.path), set()).add(sample.fold)
        folds.setdefault(sample.patient, set()).add(sample.fold)
    assert all(len(found) == 1 for found in folds.values())
    assert None in set.union(*folds.values()) and len(set.union(*folds.values())) == 3


def test_prepared_images_are_the_same_byte_for_byte(workspaces: tuple[Path, Path]) -> None:
    ours, theirs = (root / "Train_Test_Dataset" / "cine" for root in workspaces)
    fold_of = {name: sample.fold is None for name, sample in samples_of(workspaces[0]).items()}
    assert fold_of == {name: sample.fold is None for name, sample in samples_of(workspaces[1]).items()}
    pictures = sorted(path.relative_to(ours) for path in ours.rglob("*.png"))
    assert pictures == sorted(path.relative_to(theirs) for path in theirs.rglob("*.png")) and len(pictures) > 60
    for name in pictures:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name


def test_nothing_of_a_header_is_written(workspaces: tuple[Path, Path]) -> None:
    root = workspaces[0]
    files = [path for path in root.rglob("*") if path.is_file()]
    assert {path.relative_to(root).parts[0] for path in files} == {"Train_Test_Dataset", "Models", "logs", "result"}
    for path in files:
        data = path.read_bytes().lower()
        for text in NEVER_WRITTEN:
            assert text.lower().encode() not in data and text.lower() not in path.name.lower(), (path, text)


def test_the_key_is_secret_and_kept(workspaces: tuple[Path, Path]) -> None:
    root = workspaces[0]
    key = root / "Train_Test_Dataset" / "patient_key"
    assert key.stat().st_mode & 0o777 == 0o600 and len(key.read_bytes()) == 32
    assert not (workspaces[1] / "Train_Test_Dataset" / "patient_key").exists(), "no header has a patient"
    for path in root.rglob("*"):
        if path.is_file() and path != key:
            data = path.read_bytes()
            assert key.read_bytes() not in data and key.read_bytes().hex().encode() not in data
            assert b"patient_key" not in data
    before = key.read_bytes()
    shared = ["--task", str(root.parent / "task.yaml"), "--workspace", str(root)]
    assert train_test_data_preparation.main([*shared, "--data", str(root.parent)]) == 0
    assert key.read_bytes() == before


def test_results_are_in_the_frame(workspaces: tuple[Path, Path]) -> None:
    results = workspaces[0] / "result" / "cine"
    record = json.loads((results / "i00.json").read_text())
    height, width = read_mask(results / "i00_mask.png").shape
    sample = samples_of(workspaces[0])["i00"]
    assert (record["height"], record["width"]) == (height, width) == (sample.height + 29, sample.width + 80)
    for name, frames in (("loop", 6), ("film", 4)):  # of a loop all frames are measured, annotated or not
        assert (
            frame_count(results / f"{name}_masks.tif") == len(read_table(results / f"{name}_frames.csv", "")) == frames
        )
