"""What to label next, and annotations that may be wrong."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import train_test_data_preparation
from benchmarks.samples import phantoms, pictures
from benchmarks.suggested_labels import mean_dice
from sonoseg.__main__ import main as sonoseg
from sonoseg.errors import UsageError
from sonoseg.geometry.shapes import fit_shapes
from sonoseg.io.files import sha256_of
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import write_label_map
from sonoseg.io.tables import write_csv
from sonoseg.models.embedding import bottleneck
from sonoseg.models.networks import build_network
from sonoseg.models.registry import FOLDER
from sonoseg.prepare.duplicates.near_duplicates import thumbnail_of
from sonoseg.review.learning import label_check
from sonoseg.review.learning.dataset import write_dataset
from sonoseg.review.learning.label_check import Doubt, DoubtfulLabels, limit_of
from sonoseg.review.learning.selection import duplicates, select
from sonoseg.review.session import Review
from sonoseg.review.store import Rater, Store
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.split_tables import Sample, write_split
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from tests.conftest import REPOSITORY, changed
from tests.review.conftest import Page, head_picture
from tests.review.workers import RECORD
from tests.small import NETWORKS

NO_CENTRE = np.empty((0, 2), np.float32)


def test_distant_images_of_low_expected_dice_are_chosen() -> None:
    groups = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], np.float32)
    vectors = np.repeat(groups, 5, axis=0) + np.linspace(0, 0.1, 20, dtype=np.float32)[:, None]
    expected = [0.5 + 0.01 * place for place in range(20)]
    chosen = select(expected, vectors, NO_CENTRE, 4)
    assert (chosen[0] == 0 and {place // 5 for place in chosen} == {0, 1, 2}) or {place // 5 for place in chosen} == {
        0,
        1,
        2,
        3,
    }
    labelled = groups[:1]
    assert select(expected, vectors, labelled, 1)[0] // 5 != 0
    sure = [0.9] * 10 + [0.1] * 10
    assert all(place >= 10 for place in select(sure, vectors, NO_CENTRE, 3))
    assert select([], np.empty((0, 2), np.float32), NO_CENTRE, 3) == []
    assert sorted(select([0.1, 0.2], vectors[:2], NO_CENTRE, 5)) == [0, 1]
    assert sorted(select([0.1] * 3, np.ones((3, 2), np.float32), NO_CENTRE, 3)) == [0, 1, 2]


def test_almost_equal_pictures_are_left_out() -> None:
    rng = np.random.default_rng(1)
    one, two = (rng.integers(0, 255, (64, 64), dtype=np.uint8) for _ in range(2))
    small = [thumbnail_of(each) for each in (one, two, np.clip(one.astype(int) + 9, 0, 255).astype(np.uint8), two)]
    assert duplicates(small, 0) == {2, 3}
    assert duplicates(small, 3) == {3}
    assert duplicates([], 0) == set()


@pytest.mark.parametrize("name", ["unet", "unet2015", "segnet", "segresnet"])
def test_the_bottleneck_is_the_layer_of_fewest_pixels(name: str, spine: Task) -> None:
    extra = {"padding": "same", "norm": "batch"} if name == "unet2015" else {}
    task = changed(spine, network=NETWORKS[name] | extra, input={"size": (64, 64), "fit": "letterbox"})
    values = torch.rand(1, 1, 64, 64)
    network = build_network(task).eval()
    found = bottleneck(network, values)
    assert found.shape[0] == 1 and found.shape[2] * found.shape[3] <= 32 * 32 and found.shape[1] >= 8
    assert torch.equal(found, bottleneck(network, values))
    assert not any(module._forward_hooks for module in network.modules())


def test_suggestions_for_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    sample = REPOSITORY / "Datasets" / "spine_sample" / "images"
    for path in sorted(sample.iterdir())[:4]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "copy.png").write_bytes(sorted(sample.iterdir())[1].read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    arguments = ["suggest", str(folder), "--task", "spine_realtime", "--count", "2", "--workspace", str(tmp_path)]
    assert sonoseg(arguments) == 0
    out = tmp_path / "result" / "spine_realtime" / "suggested"
    with (out / "suggested.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["rank"] for row in rows] == ["1", "2"] and len({row["image"] for row in rows}) == 2
    assert np.asarray(Image.open(out / "suggested.png")).shape[2] == 3
    said = capsys.readouterr().out
    assert (
        "1 left out: cannot be segmented (broken.png)" in said
        and "almost equal pictures" in said
        and "reviewed" not in said
    )
    first = folder / rows[0]["image"]
    review = tmp_path / "result" / "spine_realtime" / "review"
    store = Store(review, Rater("R"))
    store.save("any", 1, 0, {"decision": "rejected", "image_sha256": sha256_of(first), "image": "any", "after": {}})
    assert sonoseg(arguments) == 0
    assert "1 left out: reviewed already" in capsys.readouterr().out
    with (out / "suggested.csv").open() as table:
        assert first.name not in {row["image"] for row in csv.DictReader(table)}
    assert sonoseg(["suggest", str(tmp_path), "--task", "spine_realtime"]) == 2


def test_annotated_images_are_not_suggested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = REPOSITORY / "Datasets" / "spine_sample"
    split = ["--task", "spine_realtime", "--workspace", str(tmp_path)]
    assert train_test_data_preparation.main([*split, "--data", str(data)]) == 0
    assert sonoseg(["suggest", str(data / "images"), *split]) == 2
    count = len(list((data / "images").iterdir()))
    assert f"no image is left to suggest: {count} left out: annotated already" in capsys.readouterr().err


def test_a_model_of_another_task_is_refused_before_anything_is_computed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sonoseg.review.learning.suggest.suggest", lambda *_: pytest.fail("it was computed"))
    arguments = ["suggest", str(tmp_path), "--task", "fetal_head", "--model", "spine_realtime"]
    assert sonoseg([*arguments, "--workspace", str(tmp_path)]) == 2
    assert "spine_realtime was trained for task spine_realtime, not fetal_head" in capsys.readouterr().err


def test_annotations_are_doubted_where_the_dice_is_far_below_the_expected_one() -> None:
    usual = {str(number): Doubt(0.95 - 0.001 * (number % 5), 0.95) for number in range(50)}
    assert limit_of(usual) == 0.05  # a spread of a thousandth is none to doubt
    wide = {str(number): Doubt(0.9 - 0.02 * (number % 7), 0.9) for number in range(50)}
    assert 0.1 < limit_of(wide) < 0.3
    assert limit_of({}) == 0.05


@pytest.fixture
def cross_validated(tmp_path: Path, head: Task, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cross-validation of eight images, of which the annotation of the last is wrong; its networks find a head."""
    folder = tmp_path / "Models" / "fetal_head" / "cross_validation"
    samples, rows = [], []
    for number in range(8):
        name, fold = f"{number:03}_HC", number % 2
        Image.fromarray(head_picture()).save(tmp_path / f"{name}.png")
        labels = (head_picture() > 100).astype(np.uint8)
        mask = write_label_map(tmp_path / f"{name}_labels.png", labels * (number < 7), ["#ffffff"])
        image = ImageRef(tmp_path / f"{name}.png")
        samples.append(
            Sample(name, image, mask, str(number), fold, {"HEAD": number < 7}, 120, 160, (0.2, 0.2), "a" * 64, "b" * 64)
        )
        rows.append({"id": name, "quality": 0.97, "HEAD_dice": 0.96 if number < 7 else 0.0})
    split = tmp_path / "Train_Test_Dataset" / "fetal_head"
    with OutputFolder(split, "stage1", root=tmp_path) as output:
        write_split(output, split / "train_split.csv", tmp_path, samples, ["HEAD"])
    write_csv(folder / "out_of_fold" / "per_case.csv", list(rows[0]), rows)
    for fold in (0, 1):
        (folder / f"fold_{fold}").mkdir()
        (folder / f"fold_{fold}" / "best_model.safetensors").touch()
    monkeypatch.setattr(label_check, "read_header", lambda path: SimpleNamespace(task=head, sha256="f" * 64))
    monkeypatch.setattr(label_check.Predictor, "__call__", lambda self, image, models: {**RECORD, "models": models})
    return folder


def test_doubtful_annotations_are_the_first_of_the_list(cross_validated: Path, tmp_path: Path) -> None:
    source = DoubtfulLabels(cross_validated, tmp_path)
    page = Page(Review(source, cross_validated, Rater("ann")))
    listed: list[Any] = page.get("items")["items"]
    assert listed[0]["name"] == "007_HC" and [one["status"] for one in listed] == ["check", *["ok"] * 7]
    assert "agrees with its annotation by Dice 0.00, and 0.97 was expected" in listed[0]["reasons"][0]
    wrong, right = page.item("007_HC"), page.item("000_HC")
    assert wrong["shapes"] == [] and len(wrong["predicted"]) == 1
    (annotated,) = fit_shapes(head_picture() > 100, "HEAD", "ellipse", (0.2, 0.2))
    assert right["shapes"][0]["points"] == pytest.approx(np.round(annotated.points, 2), abs=0.02)
    assert page.save("000_HC", "accepted")["decision"] == "accepted"  # the annotation is right
    assert page.save("007_HC", "corrected", shapes=wrong["predicted"])["decision"] == "corrected"
    review = Review(DoubtfulLabels(cross_validated, tmp_path), cross_validated, Rater("ann"))
    assert write_dataset(review, tmp_path)[-1].startswith("1 images in")  # the accepted annotation stays as it is


def test_records_of_an_earlier_cross_validation_are_made_anew(
    cross_validated: Path, tmp_path: Path, head: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(Review(DoubtfulLabels(cross_validated, tmp_path), cross_validated, Rater("ann")))
    assert page.item("000_HC")["predicted"]
    monkeypatch.setattr(label_check, "read_header", lambda path: SimpleNamespace(task=head, sha256="e" * 64))
    now = {**RECORD, "model_sha256": "e" * 64, "shapes": []}
    monkeypatch.setattr(label_check.Predictor, "__call__", lambda self, image, models: now)
    page = Page(Review(DoubtfulLabels(cross_validated, tmp_path), cross_validated, Rater("ann")))
    assert page.item("000_HC")["predicted"] == []


def test_the_table_of_patients_is_read_once_a_fold(
    cross_validated: Path, tmp_path: Path, head: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    with_table = changed(head, patients={"column": "patient"})
    monkeypatch.setattr(label_check, "read_header", lambda path: SimpleNamespace(task=with_table, sha256="f" * 64))
    monkeypatch.setattr("sonoseg.review.results.read_metadata", lambda path, *_: read.append(path) or {})
    assert len(DoubtfulLabels(cross_validated, tmp_path).items()) == 8
    assert len(read) == 2


def test_a_folder_without_a_cross_validation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no scores and models of a cross-validation"):
        DoubtfulLabels(tmp_path, tmp_path)


def test_tasks_that_come_along_have_networks_with_a_bottleneck() -> None:
    assert load_task("spine_realtime").network.name in NETWORKS


def test_the_benchmark_scores_areas_and_not_outlines(tmp_path: Path) -> None:
    """Annotations of simulated heads are outlines, as those of HC18 are."""
    images = pictures(phantoms(tmp_path, "head", 2))
    assert mean_dice(FOLDER / "fetal_head.safetensors", images) > 0.9
