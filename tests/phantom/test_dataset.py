"""Writing: layout, determinism, and care with what is already in the folder."""

import csv
import json

import cv2
import pytest

from sonoseg.core.cli import run_guarded
from sonoseg.core.errors import DataError, UsageError
from sonoseg.phantom.__main__ import main
from sonoseg.phantom.dataset import Settings, is_already_there, plan, write_dataset

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
    with (written / "metadata.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["image", "patient", "row_mm", "col_mm", "skin_to_epi_mm"]
    assert [row["image"] for row in rows] == names and rows[0]["patient"] == "P01"
    for row in rows:
        image = cv2.imread(str(written / "images" / f"{row['image']}.png"), cv2.IMREAD_UNCHANGED)
        assert image.ndim == 2 and image.dtype.name == "uint8"
        labels = {entry[0] for entry in annotations[row["image"]]}
        assert bool(row["skin_to_epi_mm"]) == ({"MID", "EPI"} <= labels)
        assert float(row["row_mm"]) > 0 and float(row["col_mm"]) > 0


def test_same_seed_same_bytes_whatever_the_threads(written, tmp_path):
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1 if threads > 1 else 4)
        write_dataset(tmp_path, SMALL)
    finally:
        cv2.setNumThreads(threads)
    assert contents(tmp_path) == contents(written)


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


@pytest.mark.parametrize("name", ["annotations.json", "metadata.csv", "images/mine.png"])
def test_foreign_data_is_refused_untouched(tmp_path, capsys, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{}")
    assert run_guarded(main, ["--out", str(tmp_path), *FLAGS]) == 2
    assert "did not make" in capsys.readouterr().err
    assert contents(tmp_path) == {name: b"{}"}


def test_an_interrupted_run_is_taken_up_again(tmp_path):
    def stop(cases):
        yield cases[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path, SMALL, stop)
    assert not (tmp_path / "metadata.csv").exists()
    assert is_already_there(tmp_path, SMALL) is False
    with pytest.raises(DataError):
        is_already_there(tmp_path, Settings(images=5))


@pytest.mark.parametrize(
    "wrong", [{"images": 0}, {"seed": -1}, {"size_scale": 9.0}, {"kind": "liver"}], ids=lambda w: next(iter(w))
)
def test_wrong_settings_are_explained(wrong):
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        plan(Settings(**wrong))
