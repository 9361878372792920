"""Check 12: nothing outside the data folder is read or written, whatever an annotation, a task or a link says."""

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import image_preprocessing as stage2
import train_test_data_preparation as stage1
from sonoseg.io.png import write_image
from sonoseg.io.readers import read_image
from sonoseg.schema.task_files import load_task
from tests.small import phantoms, small_task
from tests.trust.conftest import everything, put_rows, rows_of
from tests.trust.runs import NAME, OUTPUTS, run


@pytest.fixture
def data(workspace: Path) -> Path:
    """The data folder of a workspace without results, beside a folder that must stay unchanged."""
    for name in OUTPUTS:
        shutil.rmtree(workspace / name)
    outside = workspace / "outside"
    outside.mkdir()
    source = workspace / "spine"
    for image in ("secret.png", "Image_001.png"):
        shutil.copy(next((source / "images").iterdir()), outside / image)
    for table in ("annotations.json", "metadata.csv"):
        shutil.copy(source / table, outside / table)
    return source


LISTENERS: list[list[str]] = []
"""Each gets the path of every file that Python opens, links followed."""


def tell(event: str, arguments: tuple) -> None:
    if event == "open" and LISTENERS and isinstance(arguments[0], str | bytes | os.PathLike):
        for listener in LISTENERS:
            listener.append(os.path.realpath(os.fsdecode(arguments[0])))


sys.addaudithook(tell)


@pytest.fixture(autouse=True)
def opened() -> Iterator[list[str]]:
    LISTENERS.append([])
    yield LISTENERS[-1]
    LISTENERS.pop()


def refused(data: Path, capsys: pytest.CaptureFixture[str], *expected: str) -> str:
    """Return what stage 1 says is wrong; it opens nothing outside of the data folder, and writes nothing anywhere."""
    root = data.parent
    outside = root / "outside"
    before = everything(root)
    opened = LISTENERS[-1]
    opened.clear()
    assert run(stage1, root) == 2
    assert any(path.startswith(str(root)) for path in opened), "nobody listens"
    assert not [path for path in opened if Path(path).is_relative_to(outside)], "opened, outside of the data folder"
    said = capsys.readouterr().err
    for text in expected:
        assert text in said, said
    assert everything(root) == before
    return said


WAYS = [
    "../outside/secret", "../outside/secret.png", "images/../../outside/secret", "/etc/passwd", "..", ".",
    "C:\\Windows\\secret", "..\\outside\\secret", "C:secret/x", "\\\\server\\share\\x", "images/Image_001",
    "Image_001\0.png", "file:///etc/passwd",
]  # fmt: skip


@pytest.mark.parametrize("absolute", [False, True], ids=["as they are", "and an absolute one"])
def test_an_annotation_names_a_path(data: Path, capsys: pytest.CaptureFixture[str], absolute: bool) -> None:
    names = [*WAYS, str(data.parent / "outside" / "secret.png")] if absolute else WAYS
    shapes = json.loads((data / "annotations.json").read_text())
    first = next(iter(shapes.values()))
    (data / "annotations.json").write_text(json.dumps(shapes | dict.fromkeys(names, first)))
    faults = [ascii(repr(name))[1:-1].replace("\\\\", "\\") for name in names]
    said = refused(data, capsys, f"{len(names)} faults found and nothing was written", *faults)
    assert said.count("a path; expected the name") == len(names) - 1 and said.count("a line break, control") == 1


@pytest.mark.parametrize("name", ["images/Image_001.png", "images", "annotations.json", "metadata.csv"])
def test_a_link_leads_out(data: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    link = data / name
    shutil.move(link, data / "moved")
    link.symlink_to(data.parent / "outside" / (link.name if name != "images" else ""))
    refused(data, capsys, name, "out of the data folder")


def test_a_link_inside_stays(data: Path) -> None:
    image = data / "images" / "Image_001.png"
    (data / "originals").mkdir()
    shutil.move(image, data / "originals" / "x.png")
    image.symlink_to("../originals/x.png")
    assert run(stage1, data.parent) == 0


@pytest.mark.parametrize("field", ["images", "file"])
@pytest.mark.parametrize("path", ["../outside", "{root}/outside"])
def test_a_task_leads_out(data: Path, capsys: pytest.CaptureFixture[str], field: str, path: str) -> None:
    task = data.parent / f"{NAME}.yaml"
    fields = yaml.safe_load(task.read_text())
    there = path.format(root=data.parent) + ("/annotations.json" if field == "file" else "")
    fields["annotations"] = {**load_task(task).annotations.model_dump(), field: there}
    task.write_text(yaml.safe_dump(fields))
    refused(data, capsys, "out of the data folder")


def test_a_mask_is_a_link_that_leads_out(tmp_path: Path, capsys: pytest.CaptureFixture[str], opened: list[str]) -> None:
    task, data = small_task("fetal_head", tmp_path), phantoms("fetal_head", tmp_path, 6)
    mask = next(data.rglob("*_Annotation.png"))
    shutil.move(mask, tmp_path / "secret.png")
    mask.symlink_to(tmp_path / "secret.png")
    before = everything(tmp_path)
    opened.clear()
    assert stage1.main(["--task", str(task), "--workspace", str(tmp_path), "--data", str(data)]) == 2
    assert str(tmp_path / "secret.png") not in opened
    assert f"its mask {mask.name} is a link that leads out of the data folder" in capsys.readouterr().err
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["../../../outside/new", "{root}/outside/new", "..\\new", "a/b", "", ".."])
def test_a_table_of_stage_1_names_a_path(workspace: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """The table was edited by hand; from the id in it stage 2 makes the names of its files."""
    (workspace / "outside").mkdir()
    table = workspace / "Train_Test_Dataset" / NAME / "train_split.csv"
    rows = rows_of(table)
    put_rows(table, [rows[0] | {"id": name.format(root=workspace)}, *rows[1:]])
    before = everything(workspace)
    assert run(stage2, workspace) == 2
    said = capsys.readouterr().err
    assert f"{table}, row 2: " in said and "cannot be the name of an image" in said
    assert everything(workspace) == before


def test_the_picture_outside_is_one_that_would_have_been_taken(data: Path) -> None:
    """The same picture inside the data folder is accepted: only its place is refused."""
    target = write_image(
        data / "images" / "Image_001.png", 255 - read_image(data.parent / "outside" / "secret.png").pixels
    )
    assert target.is_file() and run(stage1, data.parent) == 0
