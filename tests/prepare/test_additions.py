"""Images that are added to a split, duplicates that are dropped, and groups of similar images as patients."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import train_test_data_preparation
from sonoseg.annotations import FORMATS, Annotation
from sonoseg.annotations.masks.format import MaskFolderFormat
from sonoseg.geometry.shapes import Shape
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import read_mask, write_label_map
from sonoseg.io.png import write_image
from sonoseg.prepare.additions import extend_split, keep_patients
from sonoseg.prepare.dataset import VerifiedImages
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.annotation_formats import LabelMe
from sonoseg.schema.task_files import load_task

SIZE = (48, 64)
BY_NAME = {"pattern": r"^(p\d+)_"}


def picture(seed: int) -> np.ndarray:
    """Return a picture that is like no other of another seed: smooth noise."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8), dtype=np.uint8)
    return np.kron(coarse, np.ones((8, 8), np.uint8))


def square(left: int, side: int = 10) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[10 : 10 + side, left : left + side] = 1
    return mask


def add(folder: Path, name: str, image: np.ndarray, mask: np.ndarray) -> None:
    write_image(folder / "images" / f"{name}.png", image)
    write_label_map(folder / "masks" / f"{name}.png", mask, ["#ff0000"])


class Stage1:
    """Stage 1 of a task with one class on a data folder `base`, in a workspace of its own."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]):
        self.root, self.base, self._capsys = root, root / "base", capsys

    def run(self, *more: str, patients: Any = BY_NAME) -> str:
        """Return what stage 1 prints; it must succeed unless it is told to add nothing."""
        fields = {
            "extends": "fetal_tumor",
            "name": "squares",
            "structures": [{"name": "SQUARE", "shape": "region", "color": "#ff0000"}],
            "annotations": {"format": "mask_folder", "mask_suffix": ""},
            "review": None,
        }
        task = self.root / "squares.yaml"
        task.write_text(yaml.safe_dump(fields | {"patients": patients}))
        flags = ["--task", str(task), "--data", str(self.base), "--workspace", str(self.root), *more]
        self.code = train_test_data_preparation.main(flags)
        captured = self._capsys.readouterr()
        return captured.out + captured.err

    @property
    def rows(self) -> dict[str, dict[str, str]]:
        folder = self.root / "Train_Test_Dataset" / "squares"
        rows: dict[str, dict[str, str]] = {}
        for part in ("train", "test"):
            with (folder / f"{part}_split.csv").open() as stream:
                rows |= {row["id"]: {**row, "part": part} for row in csv.DictReader(stream)}
        return rows

    @property
    def report(self) -> dict[str, Any]:
        text = (self.root / "Train_Test_Dataset" / "squares" / "dataset_report.json").read_text()
        found: dict[str, Any] = json.loads(text)
        return found

    def mask(self, name: str) -> np.ndarray:
        return read_mask(self.root / "Train_Test_Dataset" / "squares" / "masks" / f"{name}.png")


@pytest.fixture
def stage1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Stage1:
    """Ten patients with two images each."""
    stage = Stage1(tmp_path, capsys)
    for number in range(20):
        add(stage.base, f"p{number // 2}_{number % 2}", picture(number), square(5 + number))
    return stage


def test_test_patients_stay_and_corrections_replace(stage1: Stage1, tmp_path: Path) -> None:
    stage1.run()
    before = stage1.rows
    tested = next(name for name, row in before.items() if row["part"] == "test")
    trained = next(name for name, row in before.items() if row["part"] == "train")
    more = tmp_path / "more"
    for name in (tested, trained):  # corrected
        add(more, name, picture(int(name[1]) * 2 + int(name[3])), square(30, side=14))
    add(more, f"{tested[:2]}_2", picture(100), square(12))  # a third image of a test patient
    for number in range(20, 30):
        add(more, f"p{number}_0", picture(number), square(5))
    stage1.run("--add", str(more))
    after = stage1.rows
    assert len(after) == 20 + 11
    assert all(
        after[name]["fold"] == row["fold"] and after[name]["part"] == row["part"] for name, row in before.items()
    )
    assert after[f"{tested[:2]}_2"]["part"] == "test"
    assert {after[f"p{number}_0"]["part"] for number in range(20, 30)} == {"train", "test"}
    assert (stage1.mask(tested) == square(30, side=14)).all() and (stage1.mask(trained) == square(30, side=14)).all()
    assert stage1.report["added"] == {
        "images": 11,
        "corrected": sorted([tested, trained]),
        "corrected_in_test": 1,
        "patients": 10,
        "patients_in_test": 2,
    }
    # The folder is remembered: the same command without it changes nothing.
    stage1.run()
    assert stage1.code == 0 and stage1.rows == after


def test_corrections_may_come_in_the_format_of_a_tool(stage1: Stage1, tmp_path: Path) -> None:
    stage1.run()
    more = tmp_path / "labelme"
    write_image(more / "images" / "p0_0.png", picture(0))
    points = np.array([[20, 20], [39, 20], [39, 39], [20, 39]], float)
    annotation = Annotation("p0_0.png", (Shape("SQUARE", "region", points),), size=SIZE)
    FORMATS["labelme"].write(more, LabelMe(format="labelme"), [annotation])
    stage1.run("--add", str(more))
    assert stage1.code == 0 and stage1.mask("p0_0")[20:40, 20:40].all() and stage1.mask("p0_0").sum() == 400


def test_an_annotation_that_could_not_be_used_can_be_corrected(stage1: Stage1, tmp_path: Path) -> None:
    stage1.run()
    write_label_map(stage1.base / "masks" / "p1_0.png", np.ones((5, 5), np.uint8), ["#ff0000"])
    assert "pixels, its image has" in stage1.run()
    add(tmp_path / "more", "p1_0", picture(2), square(7))
    stage1.run("--add", str(tmp_path / "more"))
    assert stage1.code == 0


def test_an_image_that_nobody_had_annotated_is_annotated_in_an_added_folder(stage1: Stage1, tmp_path: Path) -> None:
    stage1.run()
    (stage1.root / "base" / "masks" / "p1_0.png").rename(tmp_path / "p1_0.png")
    assert "base: 1 fault found" in stage1.run() and "images/p1_0.png: has no mask" in stage1.run()
    add(tmp_path / "more", "p1_0", picture(2), square(7))
    assert "has no mask" not in stage1.run("--add", str(tmp_path / "more")) and stage1.code == 0


def test_annotations_of_an_added_folder_are_read_once(
    stage1: Stage1, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage1.run()
    more, read, folders = tmp_path / "more", MaskFolderFormat.read, []

    def counted(self: MaskFolderFormat, data: Path, *others: Any) -> Any:
        folders.append(data)
        return read(self, data, *others)

    add(more, "p30_0", picture(50), square(8))
    monkeypatch.setattr(MaskFolderFormat, "read", counted)
    stage1.run("--add", str(more))
    assert stage1.code == 0 and folders == [stage1.base, more]


def test_an_added_folder_whose_images_all_have_faults_says_which(stage1: Stage1, tmp_path: Path) -> None:
    stage1.run()
    add(tmp_path / "more", "p30_0", picture(50), square(8))
    (tmp_path / "more" / "masks" / "p30_0.bmp").write_bytes((tmp_path / "more" / "masks" / "p30_0.png").read_bytes())
    assert "images/p30_0.png: has several masks: p30_0.bmp, p30_0.png" in stage1.run("--add", str(tmp_path / "more"))


@pytest.mark.parametrize("case", ["nothing prepared", "no such folder", "nothing in it", "image gone", "other patient"])
def test_what_cannot_be_added_is_named(stage1: Stage1, tmp_path: Path, case: str) -> None:
    more = tmp_path / "more"
    add(more, "p30_0", picture(50), square(8))
    if case == "nothing prepared":
        assert "no split to add images to" in stage1.run("--add", str(more))
    stage1.run()
    if case == "no such folder":
        assert "no such folder" in stage1.run("--add", str(tmp_path / "elsewhere"))
    if case == "nothing in it":
        (tmp_path / "empty").mkdir()
        assert "no annotated images recognised" in stage1.run("--add", str(tmp_path / "empty"))
    if case == "image gone":
        for kind in ("images", "masks"):
            (stage1.base / kind / "p2_0.png").unlink()
        assert "1 images of the split are missing (p2_0)" in stage1.run("--add", str(more))
    if case == "other patient":
        other = {"pattern": r"^p(\d+)_"}
        assert "of patient p0 in the split, and of 0 now" in stage1.run("--add", str(more), patients=other)


def test_an_image_between_a_training_and_a_test_image_tests(tmp_path: Path) -> None:
    """It is like both, which makes one group of all three: where it trains, the test image has a copy in training."""

    def sample(name: str, fold: int | None) -> Sample:
        image = ImageRef(tmp_path / f"{name}.png")
        return Sample(name, image, tmp_path / "mask.png", name, fold, {}, 9, 9, None, sha256=name, mask_sha256="")

    meta = {name: ImageMetadata(patient="a", patient_known=False) for name in "abc"}
    verified = VerifiedImages(tmp_path, [], meta, [], 3)
    for tested, trained in ("ab", "ba"):
        kept = keep_patients(verified, {tested: sample(tested, None), trained: sample(trained, 0)})
        assert {name: entry.patient for name, entry in kept.meta.items()} == {"a": "a", "b": "b", "c": tested}


def test_a_single_new_patient_joins_the_smallest_fold() -> None:
    earlier = {"a": 0, "b": 0, "c": 1, "t": None}
    images = [(name, [True]) for name in ("a", "b", "c", "t", "new", "new")]
    split = extend_split(images, ["X"], earlier, {"test_size": 0.2, "seed": 0})
    assert split.fold_of == earlier | {"new": 1}


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_repeated_additions_keep_the_folds_and_the_test_part_in_proportion(count: int) -> None:
    split: dict[str, int | None] = {f"p{number}": number % 5 if number < 10 else None for number in range(12)}
    for addition in range(10):
        names = [*split, *(f"new{addition}_{number}" for number in range(count))]
        found = extend_split([(name, [True]) for name in names], ["X"], split, {"test_size": 0.2, "seed": 0})
        assert split.items() <= found.fold_of.items() and not found.warnings
        split = found.fold_of
    sizes = [sum(fold == number for fold in split.values()) for number in range(5)]
    tested = sum(fold is None for fold in split.values())
    assert max(sizes) - min(sizes) <= 1 and abs(tested - 0.2 * len(split)) <= 1


def test_of_equal_pictures_the_first_is_kept(stage1: Stage1) -> None:
    add(stage1.base, "p90_0", picture(3), square(8))
    assert "but of patients" in stage1.run() and stage1.code == 2
    stage1.run("--drop-duplicates")
    assert stage1.code == 0 and len(stage1.rows) == 20 and "p90_0" not in stage1.rows
    assert [one["where"] for one in stage1.report["warnings"] if one["kind"] == "dropped"] == ["images/p90_0.png"]


def test_almost_equal_pictures_of_one_patient_show_the_observer(stage1: Stage1) -> None:
    noisy = np.clip(picture(0).astype(int) + np.random.default_rng(1).integers(-3, 4, SIZE), 0, 255).astype(np.uint8)
    add(stage1.base, "p0_8", noisy, square(6))
    stage1.run()
    (message,) = [one["message"] for one in stage1.report["warnings"] if one["kind"] == "annotated_twice"]
    assert "SQUARE 0.900" in message  # ten columns each, nine of them shared


@pytest.mark.parametrize("patients", ["unknown", None])
def test_runs_of_similar_images_stay_together_where_patients_are_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], patients: Any
) -> None:
    stage = Stage1(tmp_path, capsys)
    random = np.random.default_rng(0)
    for sweep in range(8):
        for frame in range(4):  # each frame differs more from the first one
            noise = random.normal(0, 4 + 6 * frame, SIZE)
            image = np.clip(picture(sweep) + noise, 0, 255).astype(np.uint8)
            add(stage.base, f"img{sweep * 4 + frame + 1}", image, square(5 + frame))
    shown = stage.run(patients=patients)
    assert stage.code == 0 and "8 groups" in shown
    folds = {sweep: {stage.rows[f"img{sweep * 4 + frame + 1}"]["fold"] for frame in range(4)} for sweep in range(8)}
    assert all(len(found) == 1 for found in folds.values())
    assert stage.report["patients"]["grouped"]
    page = (tmp_path / "Train_Test_Dataset" / "squares" / "dataset_report.html").read_text()
    assert "groups taken as patients" in page
    assert load_task(tmp_path / "squares.yaml").patients.unknown
