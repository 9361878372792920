"""Check 13: no archive member, no UID and no name of an image puts a result outside its folder.

Archives are not read, and nothing of a DICOM header becomes a path.
"""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

import inference
import train_test_data_preparation as stage1
import training
from sonoseg.inference.results import ResultFiles
from sonoseg.inference.sources import output_names
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.png import write_image
from sonoseg.io.readers import list_images
from sonoseg.io.tables import unescape_cell
from sonoseg.schema.task import Task
from tests.dicom_files import write_dicom
from tests.small import small_task
from tests.trust.conftest import Segmented, everything

NAMES = [
    "...png", "....png", "..\\..\\up.png", "C:\\up.png", "\\\\server\\up.png", "~.png", "~root.png", "$HOME.png",
    "%2e%2e%2fup.png", "a\r..\r.png", "-rf.png", "nul.png", "..;.png", "run.png", "results.png", "stage4.png",
    " .png", ".. .png", "|cat.png", "`id`.png",
]  # fmt: skip


def test_of_an_image(segmented: Segmented, tmp_path: Path, scene: np.ndarray) -> None:
    images, output = tmp_path / "new", tmp_path / "deep" / "results"
    for number, name in enumerate(NAMES):
        write_image(images / name, np.roll(scene, number, axis=1))
    paths = list_images(images)
    assert len(paths) == sum(not name.startswith(".") for name in NAMES), "hidden files are no images"
    before = everything(tmp_path)
    code, rows = segmented(images, output)
    after = everything(tmp_path)
    new = {name for name in after if after[name] != before.get(name)} - {"deep", "deep/results"}
    assert all(name.startswith("deep/results/") and name.count("/") == 2 for name in new), "something is elsewhere"
    assert {name: data for name, data in after.items() if name in before} == before
    assert len(rows) == len(paths) and code == 1
    failed = {name for name, row in rows.items() if row["status"] == "failed"}
    assert failed == {"C:\\up.png", "\\\\server\\up.png", "a\\r..\\r.png"}
    assert all("rename it" in rows[name]["reason"] for name in failed)
    for name, row in rows.items():  # nor does it lie where another file of the run belongs
        if row["status"] != "failed":
            assert json.loads((output / f"{unescape_cell(row['name'])}.json").read_text())["image"] == unescape_cell(
                name
            )
    assert json.loads((output / "run.json").read_text())["counts"]["inputs"] == len(rows)


def archive(path: Path) -> Path:
    """An archive with a member `../up.png`, outside the folder into which it is unpacked."""
    picture = write_image(path.with_name("up.png"), np.full((8, 8), 200, np.uint8))
    with zipfile.ZipFile(path, "w") as stream:
        for name in ("../up.png", "../../up.png", "/up.png"):
            stream.writestr(name, picture.read_bytes())
    picture.unlink()
    return path


def test_archives_and_dicom(
    segmented: Segmented, tmp_path: Path, scene: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    images, output, task = tmp_path / "new", tmp_path / "deep" / "results", small_task("fetal_head", tmp_path)
    write_image(images / "good.png", scene)
    for name in ("a.dcm", "b.png"):
        up = dict.fromkeys(
            ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID", "PatientName"), "../up"
        )
        write_dicom(images / name, scene, **up)
    archive(images / "c.zip"), archive(images / "d.png")
    before = everything(tmp_path)

    for file in (images / "c.zip", images / "a.dcm"):
        for main, flag in ((inference.main, "--images"), (stage1.main, "--data")):
            own = ["--output", str(output)] if flag == "--images" else []
            assert main(["--task", str(task), "--workspace", str(tmp_path / "w"), flag, str(file), *own]) == 2
            assert str(file) in capsys.readouterr().err
    assert everything(tmp_path) == before

    code, rows = segmented(images, output)
    assert code == 1 and {name: row["status"] for name, row in rows.items()} == {
        **{"good.png": "ok", "a.dcm": "ok", "b.png": "ok"},
        "d.png": "failed",
    }
    assert "not a readable picture" in rows["d.png"]["reason"]
    segmented(images, output, "--dicom")
    new = everything(tmp_path).keys() - before.keys() - {"deep", "deep/results"}
    assert all(name.startswith("deep/results/") and name.count("/") == 2 for name in new), "something is elsewhere"


def test_every_result_lies_directly_in_the_folder(fetal_head: Task, tmp_path: Path) -> None:
    """Names of files cannot hold a slash or a zero; all the others are tried, also beside dots."""
    letters = [chr(code) for code in range(1, 256) if chr(code) != "/"]
    paths = [Path(f"{before}{letter}{after}.png") for letter in letters for before, after in (("", ""), ("..", ".."))]
    for name in output_names([ImageRef(path) for path in paths]):
        for file in (tmp_path / file for file in ResultFiles.of(name, fetal_head.class_names).all):
            assert os.path.dirname(os.path.normpath(file)) == str(tmp_path), repr(name)


@pytest.mark.parametrize("name", ["../up", "a/b", "/up", "..", "A b", "", "a\n"])
def test_a_task_cannot_be_called_a_path(fetal_head: Task, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Task.model_validate({**fetal_head.model_dump(), "name": name})
    structure = fetal_head.structures[0].model_dump()
    with pytest.raises(ValueError, match="name"):
        Task.model_validate({**fetal_head.model_dump(), "structures": [{**structure, "name": name}]})


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", ".hidden", "a\nb"])
def test_the_name_of_a_run_cannot_be_a_path(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert training.main([f"--run={name}"]) == 2
    assert "argument --run: found" in capsys.readouterr().err
