"""Accepted and corrected images as a data folder, and what stage 1 makes of it."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import inference
import train_test_data_preparation
from sonoseg.__main__ import main as sonoseg
from sonoseg.annotations import FORMATS
from sonoseg.io.files import sha256_of
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import read_mask, write_label_map
from sonoseg.review.learning.dataset import write_dataset
from sonoseg.review.session import Review
from sonoseg.review.sources import results_in
from sonoseg.review.store import Rater
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.split_tables import Sample, write_split
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.models.members import always_load, member
from tests.review.conftest import Page, head_picture

LINE = {"structure": "MID", "kind": "line", "points": [[40, 5], [40, 40]]}


def nothing(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([torch.ones_like(images[:, 0]), *[torch.zeros_like(images[:, 0])] * 3], dim=1) * 8


def rows(root: Path, part: str) -> dict[str, dict[str, str]]:
    with (root / "Train_Test_Dataset" / "spine" / f"{part}_split.csv").open() as table:
        return {row["id"]: row for row in csv.DictReader(table)}


def stage1(root: Path, *more: str) -> None:
    assert train_test_data_preparation.main(["--task", "spine", "--workspace", str(root), *more]) == 0


def review_of(results: Path, images: Path | None = None) -> Review:
    return Review(results_in(results, images), results, Rater("ann"))


@pytest.fixture
def prepared_spine(
    spine_data: Callable[..., Path], spine: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A workspace in which stage 1 has run, and a network that finds nothing."""
    spine_data(12)
    stage1(tmp_path)
    task = changed(spine, input={"size": (64, 64), "fit": "letterbox"}, enhancement={})
    always_load(monkeypatch, member(nothing, task, "m", "f" * 64))
    return tmp_path


def test_corrected_test_images_stay_test_images(prepared_spine: Path) -> None:
    root, results = prepared_spine, prepared_spine / "result" / "spine"
    assert inference.main(["--task", "spine", "--workspace", str(root), "--model", "m"]) == 0
    test, train = rows(root, "test"), rows(root, "train")
    review = review_of(results)
    page = Page(review)
    first, second, *_ = sorted(test)
    page.save(first, "corrected", shapes=[LINE])
    page.save(second, "rejected")
    assert write_dataset(review, root)[-1].startswith("1 images in ")
    stage1(root, "--add", str(results / "review" / "dataset"))
    after = rows(root, "test")
    assert after.keys() == test.keys() and rows(root, "train").keys() == train.keys()
    assert (after[first]["MID"], after[first]["VTB"], after[first]["EPI"]) == ("1", "0", "0")
    assert after[first]["patient"] == test[first]["patient"] and after[first]["row_mm"] == test[first]["row_mm"]
    labels = read_mask(root / "Train_Test_Dataset" / "spine" / "masks" / f"{first}.png")
    assert labels[20, 40] == 1 and not labels[20, 20]
    assert after[second] == test[second]


def test_new_images_do_not_replace_others_of_the_same_name(prepared_spine: Path, tmp_path: Path) -> None:
    root, folder = prepared_spine, tmp_path / "new"
    folder.mkdir()
    train = rows(root, "train")
    known = sorted(train)[0]
    rng = np.random.default_rng(77)
    for name in (known, "fresh"):  # another picture that has the name of a training image, and a new one
        Image.fromarray(rng.integers(0, 256, (48, 64), dtype=np.uint8)).save(folder / f"{name}.png")
    shutil.copy(root / train[sorted(train)[1]]["image_path"], folder / "renamed.png")  # a training image
    (folder / "metadata.csv").write_text(f"image,patient,row_mm,col_mm\n{known}.png,N1,0.3,0.4\nfresh.png,N2,,\n")
    out = tmp_path / "results"
    assert inference.main(["--images", str(folder), "--model", "m", "--output", str(out)]) == 0
    review = review_of(out)
    page = Page(review)
    page.save(known, "corrected", shapes=[LINE])
    page.save("fresh", "corrected", shapes=[LINE], spacing_mm={"row": 0.1, "col": 0.1})
    page.save("renamed", "corrected", shapes=[LINE])
    assert "spacing measured by a reviewer: fresh" in write_dataset(review, root)
    with (out / "review" / "dataset" / "metadata.csv").open() as table:
        origins = {row["image"]: row["spacing_from"] for row in csv.DictReader(table)}
    names = {path.stem for path in (out / "review" / "dataset" / "images").iterdir()}
    renamed = next(name for name in names if name.startswith(f"{known}_"))
    assert names == {renamed, "fresh", sorted(train)[1]}
    assert origins == {"fresh.png": "reviewer", f"{renamed}.png": "metadata.csv", f"{sorted(train)[1]}.png": ""}
    stage1(root, "--add", str(out / "review" / "dataset"))
    both = rows(root, "train") | rows(root, "test")
    assert both[known]["sha256"] == train[known]["sha256"]
    assert (both[renamed]["patient"], both[renamed]["row_mm"], both[renamed]["col_mm"]) == ("N1", "0.3", "0.4")
    assert both["fresh"]["row_mm"] == "0.1"
    assert both[sorted(train)[1]]["EPI"] == "0" and sorted(train)[1] in rows(root, "train")


def test_masks_where_the_task_has_masks(page: Page, results: Path, head: Task) -> None:
    page.save("000_a", "accepted")
    page.save("004_framed", "accepted")
    page.save("005_loop", "accepted", frame=2)
    assert sonoseg(["review", str(results), "--dataset", "--workspace", str(results.parents[1])]) == 0
    data = results / "review" / "dataset"
    folder = data / head.annotations.images
    assert {path.name for path in folder.iterdir()} == {
        *("000_a.png", "000_a_Annotation.png", "004_framed.png", "004_framed_Annotation.png"),
        *("005_loop_frame0002.png", "005_loop_frame0002_Annotation.png"),
    }
    mask = read_mask(folder / "004_framed_Annotation.png")
    assert mask.shape == (120, 160)  # that of the region, as the picture
    expected = read_mask(results / "004_framed_mask.png")[10:-10, 15:-15] > 0
    both = np.count_nonzero((mask > 0) & expected)
    assert 2 * both / (np.count_nonzero(mask) + np.count_nonzero(expected)) > 0.99
    assert b"Visible" not in b"".join(path.read_bytes() for path in data.rglob("*.*"))
    with (data / head.metadata.file).open() as table:
        spacing = {row["filename"]: row["pixel size(mm)"] for row in csv.DictReader(table)}
    assert spacing["000_a.png"] == "" and float(spacing["004_framed.png"]) == pytest.approx(0.3)
    arguments = ["--task", "fetal_head", "--data", str(data), "--workspace", str(results.parents[1])]
    assert train_test_data_preparation.main([*arguments, "--test-size", "0.3", "--folds", "2"]) == 0


def with_annotations(results: Path, **fields: Any) -> Any:
    """Change the annotations of the results' task, and return the section."""
    run = json.loads((results / "run.json").read_text())
    run["task_settings"]["annotations"] = {"format": "mask_folder", **fields}
    (results / "run.json").write_text(json.dumps(run))
    return annotations_section("mask_folder", **fields)


def in_split(results: Path, head: Task, identity: str, image: Path) -> None:
    """Write a split whose training part has one image."""
    root, folder = results.parents[1], results.parents[1] / "Train_Test_Dataset" / head.name
    mask = write_label_map(root / "labels.png", (head_picture() > 100).astype(np.uint8), ["#ffffff"])
    size, digests = (120, 160), (sha256_of(image), "b" * 64)
    sample = Sample(identity, ImageRef(image), mask, "P1", 0, {"HEAD": True}, *size, (0.2, 0.2), *digests)
    with OutputFolder(folder, "stage1", root=root) as output:
        write_split(output, folder / "train_split.csv", root, [sample], ["HEAD"])


def test_names_have_the_prefix_and_the_suffix_of_the_task_once(results: Path, pictures: Path, head: Task) -> None:
    section = with_annotations(results, image_prefix="us_", image_suffix="_img", mask_suffix="_seg", masks="masks")
    in_split(results, head, "us_old_img", pictures / "000_a.png")
    page = Page(review_of(results))
    page.save("000_a", "accepted")
    page.save("001_b", "accepted")
    write_dataset(review_of(results), results.parents[1])
    data = results / "review" / "dataset"
    assert {path.name for path in (data / "images").iterdir()} == {"us_old_img.png", "us_001_b_img.png"}
    found, faults = FORMATS["mask_folder"].read(data, section, head.structures)
    assert {one.id for one in found} == {"us_old_img", "us_001_b_img"} and not faults
    with (data / head.metadata.file).open() as table:
        assert {row["filename"] for row in csv.DictReader(table)} == {"us_old_img.png", "us_001_b_img.png"}


def test_masks_in_the_colours_of_the_task(results: Path, head: Task) -> None:
    with_annotations(results, mask_suffix="_seg", values={"#101010": None, "#ff0000": "HEAD"})
    Page(review_of(results)).save("000_a", "accepted")
    write_dataset(review_of(results), results.parents[1])
    with Image.open(results / "review" / "dataset" / "masks" / "000_a_seg.png") as mask:
        shown = np.asarray(mask)
    expected = read_mask(results / "000_a_mask.png") > 0
    assert expected.any() and np.array_equal(np.unique(shown.reshape(-1, 3), axis=0), [[0, 0, 0], [255, 0, 0]])
    assert np.count_nonzero((shown[..., 0] > 0) != expected) < 0.02 * np.count_nonzero(expected)


@pytest.mark.parametrize(
    ("fields", "identity"),
    [({"images": "*/images", "masks": "*/masks"}, "train_old"), ({"image_suffix": "_img"}, "old_img_frame0001")],
)
def test_shapes_where_masks_cannot_have_the_names(
    results: Path, pictures: Path, head: Task, fields: dict[str, Any], identity: str
) -> None:
    with_annotations(results, **fields)
    in_split(results, head, identity, pictures / "000_a.png")
    page = Page(review_of(results))
    page.save("000_a", "accepted")
    write_dataset(review_of(results), results.parents[1])
    data = results / "review" / "dataset"
    assert [path.name for path in (data / "images").iterdir()] == [f"{identity}.png"]
    assert json.loads((data / "annotations.json").read_text()).keys() == {identity}


def test_what_cannot_be_used_is_left_out_with_a_reason(page: Page, results: Path, pictures: Path) -> None:
    page.save("000_a", "accepted")
    page.save("001_b", "accepted")
    page.save("002_c", "accepted")
    (pictures / "000_a.png").unlink()
    record = json.loads((results / "001_b.json").read_text())
    Image.fromarray(head_picture(30)).save(pictures / "001_b.png")  # another picture, segmented since
    record["made_from"]["image_sha256"] = sha256_of(pictures / "001_b.png")
    (results / "001_b.json").write_text(json.dumps(record))
    lines = write_dataset(review_of(results), results.parents[1])
    assert any(line.startswith("000_a, frame 1: left out") for line in lines)
    assert "001_b, frame 1: left out: another picture has this name now; review it again" in lines
    assert lines[-1].startswith("1 images in")


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        (None, "--task small --workspace"),
        ("{", "--task small --workspace"),
        ('{"command": ["x.py", "--task"]}', "--task small --workspace"),
        ('{"command": ["x.py", "--task", "my task.yaml"]}', "--task 'my task.yaml' --workspace"),
        (
            '{"command": ["x.py", "--data=in", "--force", "--task", "a.yaml"]}',
            "--task a.yaml --data in --workspace",
        ),
    ],
)
def test_the_next_command_has_task_and_data_as_they_were_typed(
    page: Page, results: Path, head: Task, capsys: pytest.CaptureFixture[str], record: str | None, flags: str
) -> None:
    page.save("000_a", "accepted")
    split = results.parents[1] / "Train_Test_Dataset" / head.name
    split.mkdir(parents=True, exist_ok=True)
    if record:
        (split / "stage1_run.json").write_text(record)
    assert sonoseg(["review", str(results), "--dataset", "--workspace", str(results.parents[1])]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    expected = f"next: python train_test_data_preparation.py {flags}".replace("--task small", f"--task {head.name}")
    assert last.startswith(expected) and last.endswith("--add " + str(results / "review" / "dataset"))


def test_a_review_changes_nothing_that_verify_looks_at(
    page: Page, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page.save("000_a", "corrected", shapes=[])
    assert sonoseg(["review", str(results), "--dataset"]) == 0
    (results / "suggested").mkdir()
    (results / "suggested" / "suggested.csv").touch()
    before = capsys.readouterr()
    assert sonoseg(["verify", str(results / "000_a.json")]) == 0, before
    sonoseg(["verify", str(results)])
    assert "review" not in capsys.readouterr().out.replace(str(results), "")


def test_a_second_data_folder_replaces_the_first(page: Page, results: Path) -> None:
    page.save("000_a", "accepted")
    write_dataset(review_of(results), results.parents[1])
    page.save("000_a", "rejected")
    page.save("001_b", "accepted")
    write_dataset(review_of(results), results.parents[1])
    folder = results / "review" / "dataset" / "training_set"
    assert {path.name for path in folder.iterdir()} == {"001_b.png", "001_b_Annotation.png"}


def test_a_spacing_of_a_log_that_does_not_say_who_measured_it(page: Page, results: Path) -> None:
    page.save("000_a", "corrected", spacing_mm={"row": 0.2, "col": 0.2})
    log = results / "review" / "reviews.jsonl"
    log.write_text(log.read_text().replace(', "spacing_from": "reviewer"', ""))
    assert "spacing_from" not in log.read_text()
    assert "spacing measured by a reviewer: 000_a" in write_dataset(review_of(results), results.parents[1])


def test_what_only_one_column_of_spacings_cannot_say(page: Page, results: Path) -> None:
    page.save("000_a", "corrected", spacing_mm={"row": 0.2, "col": 0.3})
    lines: list[Any] = write_dataset(review_of(results), results.parents[1])
    assert "1 images: spacing left out" in lines[0]
