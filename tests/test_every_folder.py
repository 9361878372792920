"""Given a folder alone: `new-task`, then the four scripts with the task file as it is, for every layout and format."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import image_preprocessing
import inference
import train_test_data_preparation
import training
from sonoseg.__main__ import main as sonoseg
from sonoseg.annotations import FORMATS
from sonoseg.annotations.base import matching_folders
from sonoseg.io.image_ref import stem_of
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import list_images, read_image_header
from sonoseg.phantom.__main__ import main as make_phantoms
from sonoseg.planning import timing
from sonoseg.planning.planned_task import load_planned_task
from tests.io.volumes import nifti
from tests.new_task.conftest import NERVE, VESSEL, palette, picture, save, truth

IMAGES = 8


def phantoms(kind: str, images: int = IMAGES, scale: float = 0.2) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        folder = root / kind
        if not folder.exists():
            flags = ["--kind", kind, "--out", str(folder), "--images", str(images), "--seed", "5"]
            assert make_phantoms([*flags, "--size-scale", str(scale)]) == 0
        return folder

    return make


def heads_as(annotation_format: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        out = root / annotation_format
        assert sonoseg(["convert", str(phantoms("head")(root)), str(out), "--to", annotation_format]) == 0
        return out

    return make


def palette_masks(root: Path) -> Path:
    (root / "palette" / "masks").mkdir(parents=True)
    for number in range(IMAGES):
        name = f"p{number // 2}_{number % 2}.png"
        save(root / "palette" / "images" / name, picture(number))
        palette(truth(number), 255, 0, 0, 0, 16, 255).save(root / "palette" / "masks" / name)
    return root / "palette"


def masks_with_suffixes(root: Path) -> Path:
    for number in range(IMAGES):
        name = f"p{number // 2}_{number % 2}"
        save(root / "suffixes" / f"{name}.png", picture(number))
        for suffix, value in (("nerve", NERVE), ("vessel", VESSEL)):
            save(root / "suffixes" / f"{name}_{suffix}.png", (truth(number) == value).astype(np.uint8) * 255)
    return root / "suffixes"


def nifti_of_patients(root: Path) -> Path:
    for number in range(IMAGES):
        name = root / "nifti" / f"P{number // 2}" / f"{number % 2}.nii.gz"
        nifti(name, picture(number), (0.2, 0.1))
        nifti(name.with_name(f"{number % 2}_gt.nii.gz"), truth(number), (0.2, 0.1))
    return root / "nifti"


FOLDERS = {
    "labelme": (heads_as("labelme"), ["STRUCTURE"], ["ellipse"]),
    "coco": (heads_as("coco"), ["STRUCTURE"], ["ellipse"]),
    "cvat": (heads_as("cvat"), ["STRUCTURE"], ["ellipse"]),
    "label_studio": (heads_as("label_studio"), ["STRUCTURE"], ["ellipse"]),
    "nerves": (phantoms("nerve"), ["STRUCTURE"], ["ellipse"]),
    "tumours": (phantoms("tumour"), ["STRUCTURE"], ["region"]),
    "palette masks": (palette_masks, ["CLASS_1", "CLASS_2"], ["region", "region"]),
    "masks with suffixes": (masks_with_suffixes, ["NERVE", "VESSEL"], ["region", "region"]),
    "NIfTI, a folder per patient": (nifti_of_patients, ["CLASS_1", "CLASS_2"], ["region", "region"]),
    "spines": (phantoms("spine", 12, 0.3), ["EPI", "MID", "VTB"], ["line", "line", "rectangle"]),
}
"""Case -> the folder, the structures that are recognised, and their shapes."""
HEADS = ("coco", "cvat", "label_studio")
"""Once their masks are those of the heads' own format, nothing is left to differ from LabelMe."""
WITHOUT_SPACING = ("nerves", "palette masks", "masks with suffixes")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("folders")


def masks_of(workspace: Path, task: str) -> dict[str, np.ndarray]:
    """Return where the masks of stage 1 are not 0, by file name."""
    return {path.name: read_mask(path) > 0 for path in (workspace / "Train_Test_Dataset" / task / "masks").iterdir()}


@pytest.fixture(scope="module")
def head_masks(root: Path) -> dict[str, np.ndarray]:
    where = ["--task", "fetal_head", "--workspace", str(root / "own"), "--data", str(phantoms("head")(root))]
    assert train_test_data_preparation.main(where) == 0
    return masks_of(root / "own", "fetal_head")


@pytest.mark.parametrize("case", list(FOLDERS))
def test_from_a_folder_to_a_table(
    case: str, root: Path, head_masks: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, names, shapes = FOLDERS[case]
    data, file = make(root), tmp_path / "mine.yaml"
    monkeypatch.setattr(timing, "TIMED", 1)  # the plan is then too short or too long, and not used: --epochs
    assert sonoseg(["new-task", str(data), "--minutes", "1", "--out", str(file), "--name", "mine"]) == 0
    written = file.read_text()
    where = ["--task", str(file), "--workspace", str(tmp_path)]
    assert train_test_data_preparation.main([*where, "--data", str(data)]) == 0
    if case in HEADS:
        masks = masks_of(tmp_path, "mine")
        assert all((mask ^ head_masks[name]).mean() < 0.001 for name, mask in masks.items()) and len(masks) == IMAGES
        return
    assert image_preprocessing.main([*where, "--jobs", "1"]) == 0
    assert training.main([*where, "--epochs", "1", "--device", "cpu"]) == 0
    task = load_planned_task(file, tmp_path)
    section = task.annotations
    images = data / next(iter(matching_folders(data, section.images).values()))
    assert inference.main([*where, "--images", str(images), "--engine", "torch"]) == 0
    assert file.read_text() == written

    assert task.class_names == names and [structure.shape for structure in task.structures] == shapes
    results = tmp_path / "result" / "mine"
    with (results / "results.csv").open(newline="") as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream)}
    shown = {path.name for path in list_images(images) if not FORMATS[section.format].is_annotation(path, section)}
    assert set(rows) == shown and len(rows) == {"spines": 12, "NIfTI, a folder per patient": 2}.get(case, IMAGES)
    for name, row in rows.items():
        assert row["status"] in ("ok", "check", "reject")
        assert bool(row["row_mm"] and row["col_mm"]) == (case not in WITHOUT_SPACING)
        assert {f"confidence_{one}" for one in names} | {one.key for one in task.quantities} <= set(row)
        assert read_mask(results / f"{stem_of(Path(name))}_mask.png").shape == read_image_header(images / name).size
