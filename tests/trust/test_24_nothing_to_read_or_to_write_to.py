"""Check 24: an output that cannot be written or an input that is missing ends a stage before its work; counts add up.

Ten thousand images are too many for a test: `make loadtest` segments them, and measures its memory.
"""

import errno
import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import image_preprocessing as stage2
import inference as stage4
import sonoseg.annotations
import sonoseg.inference.batch
import sonoseg.preprocess.plan
import sonoseg.training.setup
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.__main__ import main as tool
from tests.trust.conftest import Segmented, everything
from tests.trust.runs import NAME, STAGES, run

WORK = {
    stage1: (sonoseg.annotations, "FORMATS"),
    stage2: (sonoseg.preprocess.plan, "run_jobs"),
    stage3: (sonoseg.training.setup, "build_training"),
    stage4: (sonoseg.inference.batch, "process_images"),
}
"""Stage -> the function that must not be called when the output cannot be written."""
WRITES_TO = {stage1: "Train_Test_Dataset", stage2: "Train_Test_Dataset", stage3: "Models", stage4: "result"}


class Worked(Exception):
    """The stage began its work."""


class Work:
    """Replaces a function, or a dictionary of functions, that must not be used."""

    def __call__(self, *_: object, **__: object) -> Any:
        raise Worked

    def __getitem__(self, _: str) -> Any:
        raise Worked


@pytest.fixture(params=STAGES, ids=lambda stage: stage.__name__)
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stage that may not begin its work."""
    monkeypatch.setattr(*WORK[request.param], Work())
    return request.param  # type: ignore[no-any-return]


def without_results(root: Path, stage: ModuleType) -> Path:
    """Return what the stage writes to, which is no longer there, or has no tables of it."""
    folder = root / WRITES_TO[stage]
    if stage is stage2:
        for part in ("train", "test"):
            shutil.rmtree(folder / NAME / part)
    else:
        shutil.rmtree(folder)
    return folder


def test_the_replaced_functions_are_those_that_do_the_work(
    stage: ModuleType, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if stage is stage2:
        without_results(workspace, stage)
    run(stage, workspace, *(["--force"] if stage is stage1 else []))
    said = capsys.readouterr()
    assert "Worked" in said.err + said.out, "a stage that can write would begin its work"


@pytest.mark.parametrize("stage", [stage1, stage3, stage4], indirect=True)  # where stage 2 writes lies its input too
def test_a_file_where_the_output_should_be(
    stage: ModuleType, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = without_results(workspace, stage)
    if stage is stage4:
        model = workspace / "model.safetensors"
        shutil.copy(workspace / "Models" / NAME / "best_model.safetensors", model)
    folder.write_text("in the way")
    before = everything(workspace)
    assert run(stage, workspace) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(folder) in said and "Worked" not in said
    assert everything(workspace) == before


def test_a_folder_that_cannot_be_written(
    stage: ModuleType, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    if stage is stage2:
        without_results(workspace, stage)
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    before = everything(workspace)
    assert run(stage, workspace) == 2
    said = capsys.readouterr().err
    assert "cannot be written (Read-only file system); choose another folder" in said and "Worked" not in said
    assert everything(workspace) == before


MISSING = {
    stage1: ("spine", "no such folder; put images and annotations there, or name their folder with --data"),
    stage2: ("Train_Test_Dataset", "no such table; stage 1 writes it, run that first"),
    stage3: (f"Train_Test_Dataset/{NAME}/train/index.csv", "no such table; stage 2 writes it, run that first"),
    stage4: (f"Models/{NAME}/best_model.safetensors", "no such model file; run stage 3 (training.py) first"),
}


def test_a_missing_input(stage: ModuleType, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, message = MISSING[stage]
    path = workspace / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = everything(workspace)
    assert run(stage, workspace) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and str(path) in said and message in said
    assert everything(workspace) == before


@pytest.mark.parametrize("name", ["annotations.json", "images"])
def test_half_an_input(name: str, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = workspace / "spine" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    before = everything(workspace)
    assert run(stage1, workspace) == 2
    assert f"{path}: no such" in capsys.readouterr().err
    assert everything(workspace) == before


def test_an_image_that_is_gone_ends_stage_2_before_it_changes_any(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = sorted((workspace / "spine" / "images").iterdir())[-1]
    image.unlink()
    before = everything(workspace)
    assert run(stage2, workspace, "--seed", "7") == 2
    assert f"{image}: no such file, although stage 1 listed it" in capsys.readouterr().err
    assert everything(workspace) == before


def test_counts_add_up_over_good_and_bad_images(
    segmented: Segmented, tmp_path: Path, scene: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "new", tmp_path / "out"
    folder.mkdir()
    rng = np.random.default_rng(24)
    kinds = {}
    for number in range(60):
        kind = kinds[f"{number:03}.png"] = str(rng.choice(["good", "good", "dark", "cut", "empty", "text"]))
        path = folder / f"{number:03}.png"
        Image.fromarray(scene if kind != "dark" else scene // 8).save(path)
        if kind in ("cut", "empty", "text"):
            path.write_bytes({"cut": path.read_bytes()[:4000], "empty": b"", "text": b"no picture"}[kind])
    (folder / "notes.txt").write_text("not an image")
    (folder / "folder.png").mkdir()

    code, rows = segmented(folder, out)
    assert code == 1 and sorted(rows) == sorted(kinds)
    ends = {"good": "ok", "dark": "check", "cut": "failed", "empty": "failed", "text": "failed"}
    assert {name: row["status"] for name, row in rows.items()} == {name: ends[kind] for name, kind in kinds.items()}
    assert all(bool(row["reason"]) == (row["status"] != "ok") for row in rows.values())
    expected = Counter(row["status"] for row in rows.values())
    assert min(expected.values()) >= 5
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts == {"inputs": 60, "reject": 0, **expected}
    assert (
        f"{expected['ok']} ok, {expected['check']} check, 0 reject, {expected['failed']} failed"
        in capsys.readouterr().out
    )
    written = {name.name for name in out.iterdir()} - {"results.csv", "run.json", "stage4.sha256"}
    done = [row["name"] for row in rows.values() if row["status"] != "failed"]
    assert written == {f"{name}{end}" for name in done for end in ("_mask.png", "_overlay.png", ".json")}
    assert tool(["verify", str(out)]) == 0


def test_nothing_to_segment(segmented: Segmented, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new").mkdir()
    flags = ["--images", str(tmp_path / "new"), "--output", str(tmp_path / "out")]
    assert stage4.main(["--task", "fetal_head", *flags]) == 2
    assert "no image in this folder" in capsys.readouterr().err and not (tmp_path / "out").exists()
