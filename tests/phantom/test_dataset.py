"""Writing: the layout of spine, determinism of all kinds, and care with what is already in the folder."""

import csv
import hashlib
import json

import cv2
import numpy as np
import pytest

from sonoseg.errors import DataError, UsageError
from sonoseg.phantom.__main__ import main
from sonoseg.phantom.dataset import KINDS, is_already_there, plan, write_dataset
from sonoseg.phantom.layout import Settings
from sonoseg.runs.command_line import run_guarded
from tests.conftest import REPOSITORY

SMALL = Settings(images=4, seed=5, size_scale=0.3)
FLAGS = ["--images", "4", "--seed", "5", "--size-scale", "0.3"]


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("phantom")
    write_dataset(out, SMALL)
    return out


def test_layout(written):
    annotations = json.loads((written / "annotations.json").read_text())
    names = ["Image_001", "Image_002", "Image_003", "Image_004"]
    assert list(annotations) == names
    points = [point for entries in annotations.values() for _, _, shape in entries for point in shape]
    assert points and all(type(value) is int for point in points for value in point)
    with (written / "metadata.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "patient", "row_mm", "col_mm", "skin_to_epi_mm", "skin_row_px"]
    assert [row["image"] for row in rows] == names and rows[0]["patient"] == "P01"
    for row in rows:
        image = cv2.imread(str(written / "images" / f"{row['image']}.png"), cv2.IMREAD_UNCHANGED)
        assert image.ndim == 2 and image.dtype.name == "uint8"
        labels = {entry[0] for entry in annotations[row["image"]]}
        assert bool(row["skin_to_epi_mm"]) == ({"MID", "EPI"} <= labels)
        assert bool(row["skin_row_px"]) == ("MID" in labels)
        assert float(row["row_mm"]) > 0 and float(row["col_mm"]) > 0


def test_same_seed_same_bytes_whatever_the_threads(written, tmp_path):
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1 if threads > 1 else 4)
        write_dataset(tmp_path, SMALL)
    finally:
        cv2.setNumThreads(threads)
    assert contents(tmp_path) == contents(written)


@pytest.mark.parametrize("kind", ["head", "nerve", "tumour"])
def test_every_kind_repeats_its_bytes_and_heeds_its_seed(kind, tmp_path):
    folders = [tmp_path / name for name in ("first", "again", "other")]
    for folder, seed in zip(folders, (5, 5, 6), strict=True):
        write_dataset(folder, Settings(kind=kind, images=2, seed=seed, size_scale=0.15))
    first, again, other = map(contents, folders)
    assert first == again
    assert len(first) == 2 * 2 + 1 + 1  # pictures, table, marker
    pictures = [path for path in first if "/" in path and "ask" not in path and "Annot" not in path]
    assert len(pictures) == 2 and all(other[path] != first[path] for path in pictures)


@pytest.mark.parametrize("kind", list(KINDS))
def test_more_images_leave_the_earlier_subjects_as_they_are(kind):
    """Each draw has a stream of its own, so a later one cannot shift an earlier one."""
    few, many = (plan(Settings(kind=kind, images=images, size_scale=0.3))[0].simulate() for images in (8, 9))
    if kind in ("head", "tumour"):  # spine and nerve share their views out over all images
        np.testing.assert_array_equal(few.image, many.image)
    again = plan(Settings(kind=kind, images=8, size_scale=0.3))
    again[3].simulate()  # another case in between changes nothing
    np.testing.assert_array_equal(again[0].simulate().image, few.image)


def test_spine_sample_of_the_repository_can_be_made_again():
    sample = REPOSITORY / "Datasets" / "spine_sample"
    settings = Settings(**json.loads((sample / "phantom.json").read_text()))
    assert is_already_there(sample, settings)
    case = plan(settings)[0]
    stored = cv2.imread(str(sample / "images" / f"{case.name}.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(case.simulate().image, stored)


def test_spine_bytes_are_those_of_version_1():
    """A seed names the same images for as long as the version stays: documents and results quote it."""
    image = plan(Settings(images=4, seed=3, size_scale=0.4))[2].simulate().image
    assert (
        hashlib.sha256(image.tobytes()).hexdigest()
        == "7e8f00ec3a0662f1ac1cd79511b3996e25167f825b03b5c795e2126947bd1be2"
    )


def test_other_seed_other_images(written, tmp_path):
    write_dataset(tmp_path, Settings(images=1, seed=6, size_scale=0.3))
    first = "images/Image_001.png"
    assert contents(tmp_path)[first] != contents(written)[first]


def test_command_line(tmp_path, capsys):
    out = tmp_path / "spine"
    assert run_guarded(main, ["--out", str(out), *FLAGS]) == 0
    before = contents(out)
    assert len(before) == 4 + 3
    assert run_guarded(main, ["--out", str(out), *FLAGS]) == 0
    assert "already there" in capsys.readouterr().out
    assert run_guarded(main, ["--out", str(out), *FLAGS[:-2], "--images", "2", "--size-scale", "0.3"]) == 2
    assert "--force" in capsys.readouterr().err and contents(out) == before
    assert run_guarded(main, ["--out", str(out), "--images", "2", "--size-scale", "0.3", "--force"]) == 0
    assert len(contents(out)) == 2 + 3  # images of the earlier phantom are gone
    assert run_guarded(main, ["--out", str(out), "--size-scale", "9"]) == 2
    assert "--size-scale 9.0: give a factor from" in capsys.readouterr().err


FOREIGN = [
    ("spine", "annotations.json"),
    ("spine", "metadata.csv"),
    ("spine", "images/mine.png"),
    ("head", "training_set/001_HC.png"),
    ("head", "training_set_pixel_size_and_HC.csv"),
    ("nerve", "train/1_1.tif"),
    ("nerve", "train_masks.csv"),
    ("tumour", "masks/case_001_mask.png"),
    ("tumour", "metadata.csv"),
]


@pytest.mark.parametrize(("kind", "name"), FOREIGN)
def test_foreign_data_is_refused_untouched(tmp_path, capsys, kind, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert run_guarded(main, ["--out", str(tmp_path), "--kind", kind, *FLAGS]) == 2
    assert "did not make" in capsys.readouterr().err
    assert contents(tmp_path) == {name: b"{}"}


def test_another_kind_in_the_folder_is_refused_and_replaced_only_by_force(tmp_path, capsys):
    tumour = ["--out", str(tmp_path), "--kind", "tumour", "--images", "2", "--size-scale", "0.15"]
    nerve = ["--out", str(tmp_path), "--kind", "nerve", "--images", "1", "--size-scale", "0.15"]
    assert run_guarded(main, tumour) == 0
    (tmp_path / "images" / "mine.png").write_text("mine")
    before = contents(tmp_path)
    assert run_guarded(main, nerve) == 2
    assert "kind tumour" in capsys.readouterr().err and contents(tmp_path) == before
    assert run_guarded(main, [*nerve, "--force"]) == 0
    left = {"images/mine.png", "phantom.json", "train/1_1.tif", "train/1_1_mask.tif", "train_masks.csv"}
    assert set(contents(tmp_path)) == left


def test_a_marker_that_cannot_be_read_removes_nothing(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "Image_001.png").write_text("mine")
    whole = {"kind": "spine", "images": 4, "seed": 1, "size_scale": 1.0, "version": 1}
    wrong = ({**whole, "kind": "liver"}, {**whole, "images": "many"}, {"kind": "spine", "images": 4}, {"colour": 3}, [])
    for text in ("nonsense", *map(json.dumps, wrong)):
        (tmp_path / "phantom.json").write_text(text)
        write_dataset(tmp_path, Settings(kind="nerve", images=1, size_scale=0.15))
        assert (tmp_path / "images" / "Image_001.png").read_text() == "mine"


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_interrupted_run_is_taken_up_again(tmp_path, kind):
    settings = Settings(kind=kind, images=2, seed=5, size_scale=0.3)

    def stop(cases):
        yield cases[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, settings, stop)
    assert not list(tmp_path.glob("*.csv"))
    assert is_already_there(tmp_path, settings) is False
    with pytest.raises(DataError):
        is_already_there(tmp_path, Settings(kind=kind, images=5))
    write_dataset(tmp_path, settings)
    assert is_already_there(tmp_path, settings) is True


@pytest.mark.parametrize(
    "wrong",
    [{"images": 0}, {"seed": -1}, {"size_scale": 9.0}, {"size_scale": 0.2}, {"kind": "liver"}],
    ids=lambda w: next(iter(w)),
)
def test_wrong_settings_are_explained(wrong):
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        plan(Settings(**wrong))
