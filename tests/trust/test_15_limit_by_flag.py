"""Check 15, where a picture is large and right: `--max-pixels` moves the limit, for all stages and their processes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import image_preprocessing as stage2
import inference as stage4
import train_test_data_preparation as stage1
import training as stage3
from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image, read_image_header
from tests.trust.conftest import SIZE, Segmented, rows_of
from tests.trust.runs import NAME, run

PIXELS = SIZE[0] * SIZE[1]


def test_the_limit_is_the_last_size_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros(SIZE, np.uint8)).save(path)
    for read in (read_image_header, read_image, read_mask):
        read(path, ReadLimits(PIXELS))
        reason = (
            rf"{SIZE[1]}x{SIZE[0]} pixels .* at most {PIXELS - 1} are decoded; raise the limit if the image is right"
        )
        with pytest.raises(ValueError, match=rf"a\.png: {reason}$"):
            read(path, ReadLimits(PIXELS - 1))


def test_stage_4_takes_or_fails_the_image_by_the_flag(segmented: Segmented, tmp_path: Path, scene: np.ndarray) -> None:
    (tmp_path / "new").mkdir()
    Image.fromarray(scene).save(tmp_path / "new" / "a.png")
    code, rows = segmented(tmp_path / "new", tmp_path / "out", "--max-pixels", str(PIXELS - 1))
    assert code == 1 and f"at most {PIXELS - 1} are decoded" in rows["a.png"]["reason"]
    code, rows = segmented(tmp_path / "new", tmp_path / "out", "--max-pixels", str(PIXELS))
    assert code == 0 and rows["a.png"]["status"] == "ok"
    assert segmented(tmp_path / "new", tmp_path / "out")[0] == 0, "of this run alone"


def test_a_picture_above_the_usual_limit(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((7_100, 7_100), np.uint8)).save(tmp_path / "large.png")
    with pytest.raises(ValueError, match="at most 50000000 are decoded"):
        read_image(tmp_path / "large.png")
    assert read_image(tmp_path / "large.png", ReadLimits(51_000_000)).pixels.shape == (7_100, 7_100)


@pytest.mark.parametrize("stage", [stage1, stage2, stage3, stage4], ids=lambda stage: stage.__name__)
def test_every_stage_reads_with_the_same_limit(stage, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = {stage1: ["--report-only"], stage2: ["--seed", "7", "--jobs", "2"], stage3: ["--score"], stage4: []}[stage]
    shutil.rmtree(workspace / "result")
    code = run(stage, workspace, *more, "--max-pixels", "3000")
    assert code == (1 if stage is stage4 else 2)
    said = "".join(capsys.readouterr())
    if stage is stage1:  # names a few of many in the terminal, and all on the page
        said = (workspace / "Train_Test_Dataset" / NAME / "dataset_check.html").read_text()
    assert "pixels declared; at most 3000 are decoded" in said
    if stage is stage4:
        rows = rows_of(workspace / "result" / NAME / "results.csv")
        assert {row["status"] for row in rows} == {"failed"}
        assert json.loads((workspace / "result" / NAME / "run.json").read_text())["counts"]["failed"] == len(rows)


@pytest.mark.parametrize("value", ["0", "-5", "many", "1e9"])
def test_what_is_no_number_of_pixels_is_refused(value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert stage1.main(["--workspace", str(tmp_path), "--max-pixels", value]) == 2
    assert f"found {value}; expected a number from 1 to 1000000000000" in capsys.readouterr().err
