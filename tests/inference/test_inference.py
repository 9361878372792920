"""Stage 4 from its command line: names, spacings, bad files, wrong use, and counts that reconcile."""

import csv
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.annotations import FORMATS, MaskFile
from sonoseg.errors import DataError
from sonoseg.inference.sources import SpacingOptions, from_folder, output_names, split_names
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.models.model_file import save_model
from sonoseg.models.networks import build_network
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.split_tables import Sample, write_split
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from tests.dicom_files import write_dicom
from tests.models.members import always_load, member

AXES = (60, 45)  # half-axes in pixels of the head in every picture
ELLIPSE_HC = 331.5  # Ramanujan II by hand: h = (15/105)^2 = 0.0204, pi * 105 * (1 + 0.0612 / 11.995)


def bright_is_head(batch: torch.Tensor) -> torch.Tensor:
    bright = batch[:, 0] > 0.5
    return torch.stack([~bright, bright], dim=1).float() * 8


@pytest.fixture
def task(fetal_head: Task) -> Task:
    return Task.model_validate({**fetal_head.model_dump(), "input": {"size": (160, 256), "fit": "letterbox"}})


@pytest.fixture
def fake_model(monkeypatch, task) -> None:
    always_load(monkeypatch, member(bright_is_head, task, "m", "f" * 64))


def head_picture() -> np.ndarray:
    image = np.zeros((160, 240), np.uint8)
    cv2.ellipse(image, (120, 80), AXES, 0, 0, 360, 255, -1)
    return image


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    for name in ("a.png", "b.jpg", "=c d.png"):
        Image.fromarray(head_picture()).save(folder / name)
    return folder


def run(*arguments: object) -> int:
    return inference.main([str(argument) for argument in arguments])


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "results.csv").open(newline="") as stream:
        return {row["image"]: row for row in csv.DictReader(stream)}


def test_a_folder_of_good_images(fake_model, pictures, tmp_path):
    out = tmp_path / "out"
    assert run("--task", "fetal_head", "--images", pictures, "--spacing", 0.5, "--output", out) == 0
    names = ("a", "b", "=c d")
    expected = {f"{name}{end}" for name in names for end in ("_mask.png", "_overlay.png", ".json")}
    assert {path.name for path in out.iterdir()} == expected | {"results.csv", "run.json", "stage4.sha256"}
    record = json.loads((out / "a.json").read_text())
    assert record["measurements"]["hc_mm"] == pytest.approx(ELLIPSE_HC / 2, abs=1.6)  # cv2 draws its rim as well
    assert record["spacing_mm"] == {"row": 0.5, "col": 0.5} and record["spacing_from"] == "--spacing"
    assert record["shapes"][0][:2] == ["HEAD", "ellipse"] and len(record["shapes"][0][2]) == 4
    mask = Image.open(out / "a_mask.png")
    assert mask.mode == "P" and np.unique(np.asarray(mask)).tolist() == [0, 1]
    assert np.mean((np.asarray(mask) == 1) == (head_picture() == 255)) > 0.995
    assert Image.open(out / "a_overlay.png").size == (240, 160)
    row = table(out)["a.png"]
    assert float(row["hc_mm"]) == record["measurements"]["hc_mm"] and row["status"] == "ok"
    assert "'=c d.png" in table(out)  # a spreadsheet would have run it


def test_bad_files_do_not_stop_the_batch(fake_model, pictures, tmp_path, capsys):
    out = tmp_path / "out"
    (pictures / "broken.png").write_bytes((pictures / "a.png").read_bytes())
    assert run("--task", "fetal_head", "--images", pictures, "--output", out) == 0
    assert (out / "broken_mask.png").is_file()
    (pictures / "broken.png").write_bytes((pictures / "a.png").read_bytes()[:200])
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "text.jpg").write_text("not a picture")
    Image.fromarray(np.zeros((90, 90), np.uint8)).save(pictures / "constant.png")
    Image.fromarray(np.eye(90, dtype=np.uint8)).save(pictures / "nothing.png")
    assert run("--task", "fetal_head", "--images", pictures, "--output", out) == 1
    rows = table(out)
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {
        *("broken.png", "empty.png", "text.jpg"),
        "constant.png",
    }
    assert "every pixel has the grey value 0" in rows["constant.png"]["reason"]
    assert all(row["reason"] for row in rows.values() if row["status"] != "ok")
    assert rows["nothing.png"]["status"] == "check" and rows["nothing.png"]["reason"] == "HEAD not found"
    assert rows["a.png"]["status"] == "ok" and rows["a.png"]["hc_mm"] == "" and float(rows["a.png"]["hc_px"]) > 300
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts == {"inputs": 8, "ok": 3, "check": 1, "reject": 0, "failed": 4}
    assert not list(out.glob("broken*")) and not list(out.glob("*.tmp")) and not list(out.glob(".*"))
    assert "3 ok, 1 check, 0 reject, 4 failed" in capsys.readouterr().out


def frames(path: Path, count: int) -> None:
    first, *others = [Image.fromarray(np.roll(head_picture(), 3 * number, axis=1)) for number in range(count)]
    first.save(path, save_all=True, append_images=others)


@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_each_frame_of_a_file_has_its_own_results(fake_model, pictures, tmp_path, suffix):
    frames(pictures / f"cine.{suffix}", 3)
    Image.fromarray(np.roll(head_picture(), 6, axis=1)).save(pictures / "third.png")
    out = tmp_path / "out"
    assert run("--task", "fetal_head", "--images", pictures, "--spacing", 0.5, "--output", out) == 0
    with (out / "results.csv").open(newline="") as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    assert {name: row["frame"] for name, row in rows.items() if row["image"] == f"cine.{suffix}"} == {
        f"cine_frame000{number}": str(number) for number in (1, 2, 3)
    }
    assert rows["third"]["frame"] == "" and json.loads((out / "third.json").read_text())["frame"] is None
    record = json.loads((out / "cine_frame0003.json").read_text())
    assert record["frame"] == 3 and record["image"] == f"cine.{suffix}"
    for end in ("_mask.png", "_overlay.png"):
        assert (out / f"cine_frame0003{end}").read_bytes() == (out / f"third{end}").read_bytes()
    assert (out / "cine_frame0001_mask.png").read_bytes() != (out / "cine_frame0003_mask.png").read_bytes()
    assert run("--task", "fetal_head", "--images", pictures, "--spacing", 0.5, "--output", out) == 0, (
        "results are reused"
    )


def test_frames_that_a_file_no_longer_has_lose_their_results(fake_model, pictures, tmp_path):
    out = tmp_path / "out"
    arguments = ("--task", "fetal_head", "--images", pictures, "--output", out)
    names = lambda: {path.stem for path in out.glob("cine*.json")}  # noqa: E731
    frames(pictures / "cine.tif", 3)
    Image.fromarray(head_picture()).save(pictures / "other_frame0009.png")
    assert run(*arguments) == 0 and names() == {"cine_frame0001", "cine_frame0002", "cine_frame0003"}
    frames(pictures / "cine.tif", 2)
    assert run(*arguments) == 0 and names() == {"cine_frame0001", "cine_frame0002"}
    frames(pictures / "cine.tif", 1)
    assert run(*arguments) == 0 and names() == {"cine"}
    frames(pictures / "cine.tif", 2)
    assert run(*arguments) == 0 and names() == {"cine_frame0001", "cine_frame0002"}
    (pictures / "cine.tif").write_bytes((pictures / "cine.tif").read_bytes()[:2000])
    assert run(*arguments) == 1 and names() == set() and not list(out.glob("cine*"))
    assert (out / "other_frame0009.json").is_file()


def test_too_many_frames_fail_as_one_image(pictures):
    frames(pictures / "cine.tif", 4)
    inputs = from_folder(pictures, load_task("fetal_head"), limits=ReadLimits(max_frames=3))
    cine = [source for source in inputs.sources if source.path.name == "cine.tif"]
    assert [source.image for source in cine] == [ImageRef(pictures / "cine.tif")]
    assert "cine.tif: more than 3 frames" in cine[0].problem


def test_invalid_file_names_fail_alone(fake_model, pictures, tmp_path):
    good = (pictures / "a.png").read_bytes()
    for name in (b"M\xfcller.png", b"two\nlines.png", b"n" * 246 + b".png"):
        Path(os.fsdecode(os.fsencode(pictures) + b"/" + name)).write_bytes(good)
    assert run("--task", "fetal_head", "--images", pictures, "--output", tmp_path / "out") == 1
    rows = list(table(tmp_path / "out").values())
    failed = [row["reason"] for row in rows if row["status"] == "failed"]
    assert len(rows) == 6 and len(failed) == 3
    assert (
        sum("rename it" in reason for reason in failed) == 2
        and sum("shorten the image's file name" in reason for reason in failed) == 1
    )
    assert not list((tmp_path / "out").glob("n*")) and not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("message", ["no such kernel", "out of memory"])
def test_an_unexpected_error_fails_only_its_image(monkeypatch, task, pictures, tmp_path, capsys, message):
    """But a shortage of memory is no fault of the image: it is processed again."""
    calls = []

    def fails_once(batch: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError(message)
        return bright_is_head(batch)

    always_load(monkeypatch, member(fails_once, task))
    code = run("--task", "fetal_head", "--images", pictures, "--output", tmp_path / "out", "--jobs", 1)
    statuses = [row["status"] for row in table(tmp_path / "out").values()]
    if message == "out of memory":
        assert code == 0 and statuses == ["ok", "ok", "ok"]
        assert "processed a second time, alone" in capsys.readouterr().out
        return
    assert code == 1 and statuses == ["ok", "failed", "ok"]
    assert message in table(tmp_path / "out")["a.png"]["reason"]


def test_a_full_disk_ends_the_run_without_a_run_record(fake_model, pictures, tmp_path, monkeypatch, capsys):
    import sonoseg.io.files

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "x")

    out = tmp_path / "out"
    assert run("--task", "fetal_head", "--images", pictures, "--output", out) == 0
    for path in out.iterdir():
        if path.name not in ("run.json", "stage4.sha256"):
            path.unlink()
    monkeypatch.setattr(sonoseg.io.files.os, "replace", full)
    assert run("--task", "fetal_head", "--images", pictures, "--output", out) == 2
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [".stage4.writing"], "what may be overwritten by the same command"
    assert run("--task", "fetal_head", "--images", pictures, "--output", tmp_path / "new_folder") == 2
    assert not (tmp_path / "new_folder").exists()


def test_results_of_another_folder_are_not_replaced_by_images_of_the_same_names(fake_model, pictures, tmp_path, capsys):
    out, other = tmp_path / "out", tmp_path / "other"
    assert run("--task", "fetal_head", "--images", pictures, "--output", out) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    other.mkdir()
    Image.fromarray(head_picture()[::-1, ::2]).save(other / "a.png")
    capsys.readouterr()
    assert run("--task", "fetal_head", "--images", other, "--output", out) == 2
    said = capsys.readouterr().err
    assert f"{out}: has results of 1 other image of the same name from {pictures} (a), which would be replaced" in said
    assert run("--task", "fetal_head", "--images", other, "--output", out, "--watch") == 2, "more images may arrive"
    said = capsys.readouterr().err
    assert f"{out}: has results of images from {pictures}; images of the same names may arrive" in said
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    (other / "a.png").rename(other / "d.png")
    for images in (other, pictures):  # also with the same pictures again
        assert run("--task", "fetal_head", "--images", images, "--output", out) == 0
    settings = json.loads((out / "run.json").read_text())["settings"]
    assert settings["images"] == str(pictures) and settings["earlier_runs"][0]["images"] == str(other)
    assert len(settings["earlier_runs"]) == 1
    Image.fromarray(head_picture()[::-1]).save(pictures / "a.png")  # changed in its own folder: segmented anew
    assert run("--task", "fetal_head", "--images", pictures, "--output", out) == 0


def test_without_images_the_test_split_is_used(fake_model, pictures, tmp_path, capsys):
    workspace = Workspace(tmp_path, "fetal_head")
    image = ImageRef(tmp_path / "new" / "a.png")
    sample = Sample("a", image, tmp_path / "a.png", "p", None, {"HEAD": True}, 160, 240, (0.3, 0.3), "", "")
    write_split(OutputFolder(workspace.split, "stage1"), workspace.split_table("test"), tmp_path, [sample], ["HEAD"])
    assert run("--task", "fetal_head", "--workspace", tmp_path) == 0
    assert "test split" in capsys.readouterr().out
    assert table(workspace.results)["a.png"]["row_mm"] == "0.3"


def test_wrong_use_is_one_sentence_and_exit_code_2(fake_model, pictures, tmp_path, capsys):
    wrong = {
        ("--images", tmp_path / "missing"): "no such folder",
        ("--images", tmp_path / "new" / "a.png"): "a.png: is a file; --images names the folder",
        ("--images", pictures, "--task", "spine"): "trained for task fetal_head",
        ("--images", pictures, "--task", "nothing"): "no such task",
        ("--images", pictures, "--spacing", 0): "above 0",
        ("--images", pictures, "--spacing", 1, 2, 3): "one or two",
        ("--images", pictures, "--spacing", 1, "--metadata", "t.csv"): "one of them",
        ("--spacing", 1): "--images",
        ("--images", pictures, "--task", "fetal_head", "--metadata", tmp_path / "t.csv"): "no such table",
        ("--images", pictures, "--task", "fetal_head", "--output", pictures): "among the images",
        ("--task", "fetal_head", "--workspace", tmp_path / "elsewhere"): "stage 1",
    }
    for arguments, message in wrong.items():
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and "Traceback" not in error, arguments
    assert not list(pictures.glob("*.csv"))


def test_the_message_of_a_missing_model_names_the_training_script(pictures, tmp_path, capsys):
    assert run("--images", pictures, "--workspace", tmp_path) == 2
    assert "training.py" in capsys.readouterr().err


def test_the_task_is_read_from_the_model(fetal_head, pictures, tmp_path):
    network = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 0}
    small = Task.model_validate({**fetal_head.model_dump(), "network": network, "input": {"size": (32, 32)}})
    save_model(tmp_path / "m.safetensors", build_network(small).state_dict(), small, {})
    out = tmp_path / "out"
    assert run("--images", pictures, "--model", tmp_path / "m.safetensors", "--output", out, "--device", "cpu") == 0
    assert json.loads((out / "run.json").read_text())["task"] == "fetal_head"


def test_result_names_are_unique():
    images = [ImageRef(Path(name)) for name in ("a.png", "a.jpg", "A.png", "b.png", "a_png.bmp", "run.png")]
    images += [ImageRef(Path("b.tif"), 0), ImageRef(Path("b.tif"), 1), ImageRef(Path("b_frame0002.png"))]
    names = output_names(images)
    assert names[:6] == ["a_png_2", "a_jpg", "A_png_3", "b", "a_png", "run_png"]
    assert names[6:] == ["b_frame0001", "b_frame0002_tif", "b_frame0002_png"]
    assert len({name.casefold() for name in names}) == len(images)


def test_images_of_one_name_in_folders_of_patients_are_named_by_their_ids():
    def samples(*ids_and_files):
        return [
            Sample(one, ImageRef(Path(file)), Path(), "p", None, {}, 9, 9, None, "", "") for one, file in ids_and_files
        ]

    assert split_names(samples(("a", "x/a.png"), ("b", "x/b.png"))) == ["a", "b"]
    shared = samples(("P1_scan", "P1/scan.tif"), ("P2_scan", "P2/scan.tif"), ("P2_other", "P2/other.tif"))
    assert split_names(shared) == ["P1_scan", "P2_scan", "P2_other"]
    assert split_names(samples(("run", "P1/scan.tif"), ("b", "P2/scan.tif"))) == ["scan_tif", "scan_tif_2"]


def test_a_spacing_that_overrides_those_of_the_files_is_said(task, tmp_path):
    write_dicom(tmp_path / "a.dcm", head_picture(), PixelSpacing=[0.25, 0.25])
    write_dicom(tmp_path / "b.dcm", head_picture())
    said = "1 of 2 images state another pixel spacing than given, such as 0.25 x 0.25 mm"
    for spacing, expected in (((0.012, 0.012), True), ((0.2501, 0.2501), False)):
        assert (said in from_folder(tmp_path, task, SpacingOptions(spacing, "flag")).remarks) is expected
    assert said not in from_folder(tmp_path, task).remarks


def test_spacing_comes_from_the_table_in_or_beside_the_folder(task, tmp_path):
    folder = tmp_path / "training_set"
    folder.mkdir()
    for name in ("1_HC.png", "1_HC_Annotation.png", "2_HC.png"):
        Image.fromarray(head_picture()).save(folder / name)
    (tmp_path / task.metadata.file).write_text("filename,pixel size(mm)\n1_HC.png,0.25\n")
    foreign = from_folder(folder, task)
    assert all(source.spacing is None for source in foreign.sources), (
        "a table beside the folder belongs to other images"
    )
    (tmp_path / task.metadata.file).write_text("filename,pixel size(mm)\n1_HC.png,0.25\n2_HC.png,\n")
    inputs = from_folder(folder, task)
    assert [(source.name, source.spacing) for source in inputs.sources] == [("1_HC", (0.25, 0.25)), ("2_HC", None)]
    assert any("1 masks" in remark for remark in inputs.remarks) and any(
        "1 of 2" in remark for remark in inputs.remarks
    )
    assert inputs.sources[0].spacing_from == task.metadata.file and inputs.sources[1].spacing_from == "unknown"
    assert from_folder(folder, task, SpacingOptions((1.0, 2.0), "flag")).sources[1].spacing == (1.0, 2.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no image"):
        from_folder(tmp_path / "empty", task)


def test_the_names_of_masks_are_those_of_stage_1(tmp_path, make_task):
    """An image that trains is not left out of the segmentation, and a mask is not segmented."""
    one = [{"name": "HEAD", "shape": "region"}]
    shared = make_task(one, images="d", masks="d", image_suffix="_img_mask", mask_suffix="_mask")
    apart = make_task(one)
    for names, task in (("d/a_img_mask.png d/a_mask.png", shared), ("images/a_mask.png masks/a_mask_mask.png", apart)):
        image, mask = (tmp_path / name for name in names.split())
        for path in (image, mask):
            path.parent.mkdir(exist_ok=True)
            Image.new("L", (8, 8)).save(path)
        items, faults = FORMATS["mask_folder"].read(tmp_path, task.annotations, task.structures)
        assert [(item.image, item.masks) for item in items] == [(ImageRef(image), (MaskFile(mask),))] and not faults
        assert [source.path for source in from_folder(image.parent, task).sources] == [image]
