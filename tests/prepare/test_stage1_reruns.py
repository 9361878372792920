"""Stage 1 on an existing split: repeated, with other settings, after a failed write."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sonoseg.io.files
from tests.datasets import RECT
from tests.prepare.conftest import rows, snapshot


def test_same_seed_same_bytes(run, out, spine_data):
    spine_data(count=12)
    run()
    before = snapshot(out)
    shutil.rmtree(out)
    run()
    assert snapshot(out) == before


def test_one_changed_byte_or_setting_changes_the_report(run, out, spine_data):
    data = spine_data(count=12)

    def report():
        return json.loads((out / "dataset_report.json").read_text())

    run()
    before = report()
    pixels = np.array(Image.open(data / "images" / "i00.png"))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(data / "images" / "i00.png")
    run()
    changed = report()
    assert changed["data_sha256"] != before["data_sha256"] and changed["settings"] == before["settings"]
    run("--force", "--seed", "43")
    assert report()["settings"]["seed"] == 43 and report()["data_sha256"] == changed["data_sha256"]


def test_a_second_run_changes_nothing(run, out, spine_data):
    spine_data(count=12)
    run()
    before = snapshot(out)
    code, said, _ = run()
    assert code == 0 and "already prepared" in said
    assert snapshot(out) == before


def test_another_split_needs_force(run, out, spine_data):
    spine_data(count=30)
    run()
    before = snapshot(out)
    code, _, err = run("--test-size", "0.5")
    assert code == 2 and "--force" in err and "old test part into training" in err.replace("\n", " ")
    assert snapshot(out) == before
    assert run("--test-size", "0.5", "--force")[0] == 0
    assert len(rows(out)["test"]) == 14 or len(rows(out)["test"]) == 16


def test_a_corrected_annotation_needs_no_force(run, out, spine_data):
    data = spine_data(count=12)
    run()
    before = snapshot(out)
    annotations = json.loads((data / "annotations.json").read_text())
    annotations["i03"][0] = ["MID", "line", [[40, 5], [40, 40]]]
    (data / "annotations.json").write_text(json.dumps(annotations))
    assert run()[0] == 0
    after = snapshot(out)
    assert {str(name) for name in after if after[name] != before[name]} == {
        "masks/i03.png",
        "dataset_report.json",
        "stage1.sha256",
        "dataset_report.html",
        "train_split.csv",
        "stage1_run.json",
    }


def test_force_removes_masks_of_images_that_are_gone(run, out, spine_data):
    data = spine_data(count=12)
    run()
    (data / "images" / "i05.png").unlink()
    annotations = json.loads((data / "annotations.json").read_text())
    del annotations["i05"]
    (data / "annotations.json").write_text(json.dumps(annotations))
    assert run()[0] == 2
    assert run("--force")[0] == 0
    assert not (out / "masks" / "i05.png").exists() and len(list((out / "masks").iterdir())) == 11


JOURNAL = ".stage1.writing"


def without_list(files: dict) -> dict:
    """Return files without the list, and without the names of an unfinished run, which is there in its place."""
    return {path: content for path, content in files.items() if path.name not in ("stage1.sha256", JOURNAL)}


@pytest.mark.parametrize("failing", range(1, 14))
def test_a_full_disk_leaves_the_old_dataset(run, out, spine_data, monkeypatch, failing):
    """8 masks change, then the report, its page and two tables are written, then the tables are moved."""
    data = spine_data(count=8)
    run()
    before = without_list(snapshot(out))
    (data / "annotations.json").write_text(json.dumps({f"i{index:02}": [RECT] for index in range(8)}))
    real, calls = os.replace, []

    def replace(source, target):
        calls.append(target)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        return real(source, target)

    monkeypatch.setattr(sonoseg.io.files.os, "replace", replace)
    code, _, err = run()
    assert code == 2 and "No space left on device" in err
    after = without_list(snapshot(out))  # the list says "finished", and is gone
    assert set(after) == set(before), "temporary files were left"
    assert (out / JOURNAL).exists() != (out / "stage1.sha256").exists()
    tables = [Path("train_split.csv"), Path("test_split.csv")]
    assert all(after[table] == before[table] for table in tables)
    monkeypatch.setattr(sonoseg.io.files.os, "replace", real)
    assert run()[0] == 0 and not (out / JOURNAL).exists()
    assert not any(sample.present["MID"] for table in rows(out).values() for sample in table)


def test_an_old_test_table_never_stands_beside_a_new_training_table(run, out, spine_data, monkeypatch):
    spine_data(count=30)
    run()
    before = snapshot(out)
    real = os.replace

    def replace(source, target):
        if Path(target).name == "test_split.csv":
            raise OSError(5, "Input/output error")
        return real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    assert run("--test-size", "0.5", "--force")[0] == 2
    after = snapshot(out)
    assert after[Path("train_split.csv")] != before[Path("train_split.csv")]
    assert Path("test_split.csv") not in after
