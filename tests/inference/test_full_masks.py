"""Stage 4 with a whole mask of each class: gaps that another class leaves in the label map are filled."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.__main__ import main as sonoseg
from sonoseg.io.masks import read_mask
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.geometry import drawn_shapes as drawn
from tests.models.members import always_load, member, note_reused

SIZE = (96, 128)
MID, EPI = drawn.line(SIZE, (64, 12), (64, 84)), drawn.line(SIZE, (30, 46), (98, 46))
NAMES = {f"a_full_mask_{name}.png" for name in ("MID", "VTB", "EPI")}


def levels(images: torch.Tensor) -> torch.Tensor:
    """A network that finds MID in grey pixels and EPI in white ones."""
    grey = images[:, 0]
    mid, epi = (grey > 0.3) & (grey < 0.7), grey >= 0.7
    return torch.stack([~(mid | epi), mid, torch.zeros_like(mid), epi], dim=1).float() * 9


@pytest.fixture
def stage4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spine: Task):
    """Return a function that runs stage 4 on one image, checks its integrity list, and tells whether it was reused."""
    (tmp_path / "in").mkdir()
    Image.fromarray(np.where(EPI, 255, np.where(MID, 128, 0)).astype(np.uint8)).save(tmp_path / "in" / "a.png")
    reused = note_reused(monkeypatch)

    def run(*flags: str, code: int = 0, **changes: object) -> bool:
        task = changed(spine, input={"size": SIZE}, enhancement={}, **changes)
        always_load(monkeypatch, member(levels, task, "model", "m" * 64))
        folders = ["--images", tmp_path / "in", "--output", tmp_path / "out", "--jobs", 1]
        assert inference.main([str(argument) for argument in ("--task", "spine", *folders, *flags)]) == code
        if code == 0:
            assert sonoseg(["verify", str(tmp_path / "out")]) == 0
        return bool(reused) and reused.pop()

    return run


def full_masks(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "out").glob("*_full_mask_*")}


def test_a_covered_line_is_whole_in_its_own_mask(stage4, tmp_path: Path) -> None:
    stage4("--full-masks")
    out = tmp_path / "out"
    assert full_masks(tmp_path) == NAMES
    labels, mid, vtb, epi = (
        read_mask(out / name) for name in ("a_mask.png", *(f"a_full_mask_{name}.png" for name in ("MID", "VTB", "EPI")))
    )
    assert np.array_equal(labels == 1, MID & ~EPI), "the label map has a gap"
    assert np.array_equal(mid, MID * np.uint8(255)) and np.array_equal(epi, EPI * np.uint8(255))
    assert vtb.shape == SIZE and not vtb.any()
    assert Image.open(out / "a_full_mask_MID.png").mode == "L"
    assert set(json.loads((out / "a.json").read_text())["files"]) > NAMES
    assert json.loads((out / "run.json").read_text())["settings"]["full_masks"] is True
    assert all(name in (out / "stage4.sha256").read_text() for name in NAMES)


def test_full_masks_are_reused_made_again_when_damaged_and_removed(stage4, tmp_path: Path) -> None:
    assert not stage4("--full-masks") and stage4("--full-masks")
    file = tmp_path / "out" / "a_full_mask_MID.png"
    good = file.read_bytes()
    file.write_bytes(good[:-9])
    assert not stage4("--full-masks") and file.read_bytes() == good
    assert not stage4() and full_masks(tmp_path) == set()
    assert json.loads((tmp_path / "out" / "run.json").read_text())["settings"]["full_masks"] is False
    assert not stage4("--full-masks") and full_masks(tmp_path) == NAMES


def test_a_failed_image_loses_its_full_masks(stage4, tmp_path: Path) -> None:
    stage4("--full-masks")
    (tmp_path / "in" / "a.png").write_bytes(b"damaged")
    stage4("--full-masks", code=1)
    assert full_masks(tmp_path) == set()


def test_without_fill_gaps_full_masks_are_the_own_pixels(stage4, tmp_path: Path) -> None:
    stage4("--full-masks", postprocessing={"fill_gaps": False})
    assert np.array_equal(read_mask(tmp_path / "out" / "a_full_mask_MID.png") > 0, MID & ~EPI)


def test_two_images_with_a_result_of_the_same_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetal_head: Task, capsys: pytest.CaptureFixture[str]
) -> None:
    named_mask = [structure.model_copy(update={"name": "mask"}) for structure in fetal_head.structures]
    plain = {"measurements": [], "metadata": {}, "review": {}, "postprocessing": {}, "input": {"size": SIZE}}
    always_load(monkeypatch, member(levels, changed(fetal_head, structures=named_mask, **plain), "model", "m" * 64))
    (tmp_path / "in").mkdir()
    for name in ("a", "a_full_mask"):
        Image.fromarray(MID * np.uint8(255)).save(tmp_path / "in" / f"{name}.png")
    folders = ["--images", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert inference.main(["--task", "fetal_head", "--full-masks", *folders]) == 2
    assert "a_full_mask_mask.png would be the name of a result of two images" in capsys.readouterr().err
