"""Check 29: an output folder or a result vanishes in the middle of a run: no row without its files, no exit code 0."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import image_preprocessing as stage2
import inference as stage4
from sonoseg.__main__ import main as tool
from sonoseg.errors import DataError
from sonoseg.inference import process_image
from sonoseg.inference.results import render
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.types import Pixels
from tests.trust.conftest import Segmented
from tests.trust.runs import NAME, run


@pytest.fixture
def images(tmp_path: Path, scene: Pixels) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    for name in "abcde":
        Image.fromarray(scene).save(folder / f"{name}.png")
    return folder


REMOVE: dict[str, Callable[[Path], object]] = {
    "folder": shutil.rmtree,
    "replaced": lambda out: (out.rename(out.with_name("moved")), out.mkdir()),
    "emptied": lambda out: [path.unlink() for path in out.iterdir()],
    "mask": lambda out: (out / "a_mask.png").unlink(),
    "record": lambda out: (out / "b.json").unlink(),
}


@pytest.mark.parametrize("removed", REMOVE)
@pytest.mark.parametrize("number", [3, 5])
def test_stage_4(
    removed: str,
    number: int,
    images: Path,
    segmented: Segmented,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Something is removed while an image is segmented, the third or the last one."""
    out, calls = tmp_path / "out", []

    def remove_and_render(*arguments: Any) -> dict[str, bytes]:
        calls.append(arguments)
        if len(calls) == number:
            REMOVE[removed](out)
        return render(*arguments)

    monkeypatch.setattr(process_image, "render", remove_and_render)
    flags = ["--task", "fetal_head", "--images", str(images), "--output", str(out), "--jobs", "1"]
    assert stage4.main(flags) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "run the same command again" in said
    assert "this output folder was removed" in said or re.search("(was|were) removed while this run was", said)
    assert not list(tmp_path.rglob("results.csv")) and not list(tmp_path.rglob("stage4.sha256"))
    assert not list(tmp_path.rglob("run.json"))
    if removed in ("folder", "replaced"):
        assert not out.exists(), "nothing is written there any more"
    else:
        assert tool(["verify", str(out)]) == 1
    assert segmented(images, out)[0] == 0 and tool(["verify", str(out)]) == 0


def test_the_table_of_an_earlier_run_does_not_stay_either(
    images: Path, segmented: Segmented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    assert segmented(images, out)[0] == 0

    def remove_and_render(*arguments: Any) -> dict[str, bytes]:
        (out / "a_mask.png").unlink(missing_ok=True)
        return render(*arguments)

    monkeypatch.setattr(process_image, "render", remove_and_render)
    flags = ["--task", "fetal_head", "--images", str(images), "--output", str(out), "--jobs", "1", "--spacing", "0.2"]
    assert stage4.main(flags) == 2
    assert not (out / "results.csv").exists() and (out / "e_mask.png").exists()


def test_a_result_that_vanishes_after_the_table_leaves_no_list(
    images: Path, segmented: Segmented, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, replace = tmp_path / "out", os.replace

    def replace_and_remove(source: str, target: Path) -> None:
        replace(source, target)
        if Path(target).name == "run.json":
            (out / "c_overlay.png").unlink()

    monkeypatch.setattr(os, "replace", replace_and_remove)
    flags = ["--task", "fetal_head", "--images", str(images), "--output", str(out)]
    assert stage4.main(flags) == 2
    assert not (out / "stage4.sha256").exists() and tool(["verify", str(out)]) == 1


def test_stage_2(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "copy"))
    picture = next((root / "Train_Test_Dataset" / NAME / "train" / "images").glob("*.png"))
    replace = os.replace

    def replace_and_remove(source: str, target: Path) -> None:
        replace(source, target)
        if Path(target).name == "index.csv":
            picture.unlink(missing_ok=True)

    monkeypatch.setattr(os, "replace", replace_and_remove)
    assert run(stage2, root, "--seed", "7") == 2
    assert not (root / "Train_Test_Dataset" / NAME / "stage2.sha256").exists()
    monkeypatch.setattr(os, "replace", replace)
    assert run(stage2, root, "--seed", "7") == 0 and tool(["verify", str(root / "Train_Test_Dataset")]) == 0


def test_the_message_states_how_many_and_the_first(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"/a and 1 more were removed while"),
        OutputFolder(tmp_path, "stage4") as output,
    ):
        for name in "abc":
            output.write_text(name, name)
        (tmp_path / "a").unlink()
        (tmp_path / "b").unlink()
    assert not (tmp_path / "stage4.sha256").exists()


def test_a_file_that_the_run_removed_itself_is_not_missing(tmp_path: Path) -> None:
    with OutputFolder(tmp_path, "stage4") as output:
        output.write_text("a", "a")
        output.write_text("b", "b")
        output.remove("a")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["b", "stage4.sha256"]
