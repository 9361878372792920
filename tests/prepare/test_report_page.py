"""The page and the data behind it, on datasets with deliberate faults."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonoseg.io.image_ref import ImageRef
from sonoseg.prepare.report_page import spread_evenly
from sonoseg.reporting.drawing import thumbnail
from sonoseg.runs.split_tables import Sample
from sonoseg.runs.workspace import Workspace
from tests.prepare.test_near_duplicates import COPIES, speckle
from train_test_data_preparation import main

TASK = """extends: fetal_head
name: blob
title: Blob
structures: [{name: BLOB, shape: ellipse, color: "#ff0000"}]
annotations: {format: mask_folder, images: images, masks: masks, mask_suffix: _mask, fill_outlines: false}
metadata: null
patients: {pattern: '^([^_]+)_'}
measurements: []
review: null
"""


@pytest.fixture
def dataset(tmp_path):
    """A workspace with 20 valid images of 10 patients; `put` replaces one, `run` prepares them."""

    class Dataset:
        out = Workspace(tmp_path, "blob").split

        def put(self, name, image=None, mask=None):
            image = speckle(sum(map(ord, name)) * 7 + ord(name[-1])) if image is None else image
            if mask is None:
                rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
                mask = 255 * (((rows - 120) / 40) ** 2 + ((columns - 160) / 60) ** 2 <= 1).astype(np.uint8)
            for folder, pixels, suffix in (("images", image, ""), ("masks", mask, "_mask")):
                path = tmp_path / "Datasets" / "blob" / folder / f"{name}{suffix}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)

        def run(self, *flags):
            (tmp_path / "blob.yaml").write_text(TASK)
            return main(["--task", str(tmp_path / "blob.yaml"), "--workspace", str(tmp_path), *flags])

        def report(self):
            return json.loads((self.out / "dataset_report.json").read_text())

        def page(self, name="dataset_report.html"):
            return (self.out / name).read_text()

    made = Dataset()
    for patient in range(10):
        for image in "ab":
            made.put(f"p{patient}_{image}")
    (tmp_path / "Datasets" / "blob" / "metadata.csv").write_text(
        "image,row_mm,col_mm\n" + "".join(f"p{p}_{i},0.1,0.2\n" for p in range(10) for i in "ab")
    )
    return made


def kinds(report):
    return {concern["kind"]: concern["count"] for concern in report["verdict"]["concerns"]}


def test_data_without_faults_are_ready(dataset, capsys):
    assert dataset.run() == 0
    report, page = dataset.report(), dataset.page()
    assert report["verdict"] == {"fit": True, "concerns": []} and report["warnings"] == []
    assert "Ready for training" in page and "No patient is in two parts" in page
    assert page.count("<figure>") == 20
    area = report["areas"]["BLOB"]
    pixels = report["area_px"]["BLOB"]["median"]
    assert area["share"]["median"] == pytest.approx(pixels / (240 * 320))
    assert area["mm2"]["median"] == pytest.approx(pixels * 0.1 * 0.2)
    assert sum(area["share"]["histogram"]) == 20
    assert report["patients"]["images_per_patient"] == [{"images": 2, "patients": 10}]
    assert report["spacing_mm"]["images_not_square"] == 20
    assert "prepared" in capsys.readouterr().out


def test_a_copy_in_another_patient_is_named_and_shown(dataset, capsys):
    dataset.put("p3_b", COPIES["half the size"](speckle(99)), mask=np.eye(120, 160, dtype=np.uint8) * 255)
    dataset.put("p8_a", COPIES["shifted"](speckle(99)))
    assert dataset.run() == 0
    report = dataset.report()
    assert report["near_duplicates"]["pairs"] == 1
    (pair,) = report["near_duplicates"]["most_alike"]
    assert pair["ids"] == ["p3_b", "p8_a"]
    assert "images/p3_b.png: " in (said := capsys.readouterr().out) and "images/p8_a.png" in said
    assert 'class="pair"' in dataset.page()


def test_a_copy_within_a_patient_is_no_concern(dataset):
    dataset.put("p3_a", speckle(99))
    dataset.put("p3_b", COPIES["shifted"](speckle(99)))
    dataset.run()
    assert dataset.report()["near_duplicates"]["pairs"] == 0


def test_a_cine_loop_under_300_names_has_a_small_report(dataset, capsys):
    still = speckle(7).astype(np.int16)
    for frame in range(300):
        noise = np.random.default_rng(frame).integers(-6, 7, still.shape)
        dataset.put(f"f{frame:03}_a", np.clip(still + noise, 0, 255).astype(np.uint8))
    assert dataset.run() == 0
    assert "almost the same picture as another of them" in capsys.readouterr().out
    report = dataset.report()
    (alike,) = [fault for fault in report["warnings"] if fault["kind"] == "alike_across"]
    assert alike["where"] == "images/f000_a.png" and "one of 300 images of 300 patients" in alike["message"]
    found = report["near_duplicates"]
    assert (found["pairs"], found["groups"], found["images_in_largest_group"]) == (300 * 299 // 2, 1, 300)
    assert found["groups_in_training_and_test"] == 1 and found["images_not_compared"] == 0
    assert len(found["most_alike"]) == 200
    assert (dataset.out / "dataset_report.json").stat().st_size < 200_000
    page = dataset.page()
    assert page.count('class="pair"') == 8 and page.count("Training and test.") == 8
    assert "44\u202f842 more pairs are not shown" in page
    assert len(re.sub(r"data:image/[^\"]+", "", page)) < 200_000


def test_outliers_are_named(dataset):
    border, tiny, halves = (np.zeros((240, 320), np.uint8) for _ in range(3))
    border[:60, 100:200] = 255
    tiny[100:104, 100:104] = 255
    halves[60:100, 60:100] = halves[180:220, 200:240] = 255
    dataset.put("p0_a", mask=border)
    dataset.put("p1_a", mask=tiny)
    dataset.put("p2_a", mask=halves)
    dataset.run()
    report = dataset.report()
    assert report["touching_border"]["BLOB"] == {
        "images": 1,
        "sides": {"top": 1, "right": 0, "bottom": 0, "left": 0},
        "ids": ["p0_a"],
    }
    found = {(warning["kind"], warning["where"]) for warning in report["warnings"]}
    assert ("area", "images/p1_a.png") in found and ("not_ellipse", "images/p2_a.png") in found
    assert not any(where.startswith(("images/p5", "images/p6")) for _, where in found)
    page = dataset.page()
    assert "BLOB touches the image&#39;s border" in page.replace("'", "&#39;") and "Images that warnings name" in page


def test_many_empty_and_grey_masks_are_one_line_each(dataset, capsys):
    soft = np.zeros((240, 320), np.uint8)
    soft[80:160, 100:220] = 250
    soft[79, 100:220] = 100
    for patient in range(6):
        dataset.put(f"p{patient}_a", mask=np.zeros((240, 320), np.uint8))
    for patient in range(5):
        dataset.put(f"p{patient}_b", mask=soft)
    dataset.run()
    said = capsys.readouterr().out
    assert "6 empty masks: nothing is annotated (images/p0_a.png, images/p1_a.png, " in said
    assert "5 masks with grey values or smoothed edges (masks/p0_b_mask.png" in said
    assert said.count("(warning)") == len(kinds(dataset.report()))
    report = dataset.report()
    assert report["grey_masks"] == 5 and kinds(report)["empty"] == 6
    assert len([w for w in report["warnings"] if w["kind"] == "empty"]) == 6
    assert "Pixels above half of the mask" in dataset.page()


def test_smoothed_masks_of_two_classes_are_shown(dataset, tmp_path):
    labels = np.zeros((240, 320), np.uint8)
    labels[80:160, 100:220] = 2
    soft = labels.copy()
    soft[79:161, 99:221] = 1
    soft[80:160, 100:220] = 2
    for name in (f"p{patient}_{image}" for patient in range(10) for image in "ab"):
        dataset.put(name, mask=soft if name == "p4_a" else labels)
    two = TASK.replace("fetal_head", "spine").replace("[{name", "[{name: RIM, shape: region, color: '#00ff00'}, {name")
    (tmp_path / "two.yaml").write_text(f"{two}postprocessing: null\n")
    assert main(["--task", str(tmp_path / "two.yaml"), "--workspace", str(tmp_path)]) == 0
    (found,) = [fault for fault in dataset.report()["warnings"] if fault["kind"] == "grey"]
    assert found["where"] == "masks/p4_a_mask.png" and "class 1 RIM is almost only a rim" in found["message"]
    page = dataset.page()
    assert "1 mask has edges that seem smoothed" in page and "Pixels above half" not in page


def test_brightness_inside_and_around(dataset):
    rows, columns = np.mgrid[:240, :320]
    inside = ((rows - 120) / 40) ** 2 + ((columns - 160) / 60) ** 2 <= 1
    for index, name in enumerate(f"p{p}_{i}" for p in range(10) for i in "ab"):
        image = np.full((240, 320), 40, np.uint8)
        image[inside] = 60 + index % 2 * 4
        image[0, index] = 255  # no two pictures are the same
        dataset.put(name, image)
    assert dataset.run() == 0
    grey = dataset.report()["intensity"]["BLOB"]
    assert grey["ring"]["median"] == 40 and grey["difference_mean"] == pytest.approx(22)
    # Differences are 20 and 24, ten each: deviation 2, over N - 1 = 19: sqrt(80 / 19)
    assert grey["cohens_d"] == pytest.approx(22 / np.sqrt(80 / 19)) and grey["brighter"] == 1


def test_faulty_data_leave_a_page_only_when_asked(dataset, capsys):
    for patient in range(8):
        dataset.put(f"p{patient}_a", mask=np.zeros((10, 10), np.uint8))
    assert dataset.run() == 2
    assert "8 masks of another size than their image" in capsys.readouterr().err and not dataset.out.exists()
    assert dataset.run("--report-only") == 2
    assert [path.name for path in dataset.out.iterdir()] == ["dataset_check.html"]
    page = dataset.page("dataset_check.html")
    assert "Not ready for training: 8 errors" in page and page.count("the mask has 10x10 pixels") >= 8


def test_a_check_of_valid_data_writes_no_table(dataset):
    assert dataset.run("--report-only") == 0
    assert [path.name for path in dataset.out.iterdir()] == ["dataset_check.html"]


def test_unknown_patients_are_reported_first(spine_data, tmp_path):
    spine_data(table="image,row_mm,col_mm\n" + "".join(f"i{index:02},1,1\n" for index in range(6)))
    assert main(["--workspace", str(tmp_path)]) == 0
    out = Workspace(tmp_path, "spine").split
    patients = json.loads((out / "dataset_report.json").read_text())["patients"]
    assert patients["disjoint_by"] == "image" and patients["images_without"] == 6
    page = (out / "dataset_report.html").read_text()
    assert "Patients are not known." in page and "images taken as patients" in page


def test_equal_data_make_equal_pages(dataset):
    dataset.run()
    before = dataset.page()
    (dataset.out / "dataset_report.html").unlink()
    dataset.run()
    assert dataset.page() == before


def test_the_contact_sheet_shows_all_parts():
    samples = [
        Sample(
            f"{i:03}",
            ImageRef(Path()),
            Path(),
            f"P{i // 2}",
            None if i // 2 % 5 == 0 else i // 2 % 5,
            {},
            1,
            1,
            None,
            "",
            "",
        )
        for i in range(200)
    ]
    chosen = spread_evenly(samples, 24)
    assert len(chosen) == len({sample.patient for sample in chosen}) == 24
    assert {sample.fold for sample in chosen} == {sample.fold for sample in samples}
    assert chosen == spread_evenly(samples[::-1], 24)
    assert len(spread_evenly(samples[:7], 24)) == 7


def test_outlines_have_the_class_colours(make_task):
    task = make_task([{"name": "A", "shape": "region"}, {"name": "B", "shape": "region"}])  # red and green
    labels = np.zeros((200, 640), np.uint8)
    labels[40:160, 100:220], labels[40:160, 400:520] = 1, 2
    picture = thumbnail(np.full(labels.shape, 90, np.uint8), labels, task.colors)
    assert picture.shape == (100, 320, 3)
    assert tuple(picture[50, 50]) == (255, 0, 0) and tuple(picture[50, 200]) == (0, 255, 0)
    assert tuple(picture[50, 80]) == (90, 90, 90)  # inside: not covered
