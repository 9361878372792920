"""Stage 4 with `--dicom`: what is written beside the usual files, for whom, and what no header can prevent."""

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import highdicom
import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

import inference
from sonoseg.__main__ import main as sonoseg
from sonoseg.dicom import output
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.dicom.objects import dciodvfy, dcmtk
from tests.dicom_files import JPEG, real_dicom, region_item, write_dicom
from tests.models.members import always_load, member, note_reused

SIZE = (128, 160)
KINDS = ("seg", "sr", "capture")
IDENTIFIERS = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"),
)


def bright(batch: torch.Tensor) -> torch.Tensor:
    return torch.stack([batch[:, 0] <= 0.5, batch[:, 0] > 0.5], dim=1).float() * 8


def bands(batch: torch.Tensor) -> torch.Tensor:
    """Return logits of spinal structures: each has a grey value of its own."""
    levels = torch.tensor([0.0, 0.4, 0.7, 1.0]).reshape(1, 4, 1, 1)
    return -80 * (batch - levels).abs()


def head(x: int = 75) -> np.ndarray:
    image = np.zeros(SIZE, np.uint8)
    cv2.ellipse(image, (x, 60), (50, 35), 20, 0, 360, 255, -1)
    return image


def spine_picture() -> np.ndarray:
    image = np.zeros(SIZE, np.uint8)
    image[14:] = np.random.default_rng(3).integers(0, 20, (SIZE[0] - 14, SIZE[1]))
    image[14:20] = 50  # the skin, darker than what `bands` takes to be a structure
    cv2.rectangle(image, (50, 80), (110, 110), 178, -1)
    cv2.line(image, (80, 24), (80, 75), 102, 5)
    cv2.line(image, (60, 50), (100, 52), 255, 5)
    return image


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch, fetal_head: Task) -> Task:
    task = changed(fetal_head, input={"size": SIZE, "fit": "letterbox"})
    always_load(monkeypatch, member(bright, task, "m", "f" * 64))
    return task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def run(folder: Path, *flags: object, out: str = "out", task: str = "fetal_head") -> int:
    arguments = ["--task", task, "--images", folder, "--output", folder.parent / out, "--jobs", "1", *flags]
    return inference.main([str(argument) for argument in arguments])


def written(folder: Path, name: str, out: str = "out") -> dict[str, Path]:
    return {kind: folder.parent / out / f"{name}_{kind}.dcm" for kind in KINDS}


def segmented(path: Path) -> np.ndarray:
    dataset = highdicom.seg.segread(path)
    (series,) = dataset.ReferencedSeriesSequence
    source = series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID
    return np.asarray(dataset.get_pixels_by_source_instance([source], combine_segments=True))[0]


def test_a_still(heads: Task, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    region = region_item(0, 0, 159, 127, (0.5, 0.5))
    source = write_dicom(folder / "a.dcm", head(), [region])
    assert run(folder, "--dicom") == 0
    out = folder.parent / "out"
    assert "DICOM: written for 1 image; research only" in capsys.readouterr().out
    assert json.loads((out / "run.json").read_text())["settings"]["dicom"] is True
    assert sonoseg(["verify", str(out)]) == 0 and "a_seg.dcm" in (out / "stage4.sha256").read_text()
    files, header = written(folder, "a"), pydicom.dcmread(source)
    for kind, path in files.items():
        assert dciodvfy(path) == []
        dataset = pydicom.dcmread(path)
        assert all(dataset.get(keyword) == header.get(keyword) for keyword in IDENTIFIERS)
        assert dataset.SeriesDescription.startswith("SonoSeg") and dataset.SOPInstanceUID.startswith("2.25.")
        assert "SonoSeg" in dcmtk("dcmdump", path) and dataset.SeriesInstanceUID != header.SeriesInstanceUID
        assert (dataset.ContentDate, dataset.ContentTime) == ("20260101", "120000"), kind
    mask = np.asarray(Image.open(out / "a_mask.png"))
    assert mask.any() and np.array_equal(segmented(files["seg"]), mask)
    capture = pydicom.dcmread(files["capture"])
    assert np.array_equal(capture.pixel_array, np.asarray(Image.open(out / "a_overlay.png").convert("RGB")))
    assert capture.BurnedInAnnotation == "YES"
    document, facts = highdicom.sr.srread(files["sr"]), json.loads((out / "a.json").read_text())
    (group,) = document.content.get_planar_roi_measurement_groups()
    (hc,) = group.get_measurements(name=pydicom.sr.codedict.codes.LN.HeadCircumference)
    assert hc.value == facts["measurements"]["hc_mm"] and facts["measurements"]["hc_mm"] > 100
    assert np.array_equal(group.roi.value, np.float32(np.array(facts["shapes"][0][2]) + 0.5))


def test_equal_results_give_equal_bytes(heads: Task, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dicom(folder / "a.dcm", head(), BurnedInAnnotation="NO")
    assert run(folder, "--dicom", out="first") == 0
    reused = note_reused(monkeypatch)
    assert run(folder, out="second") == 0
    assert run(folder, "--dicom", out="second") == 0 and reused == [False, True]
    for kind in KINDS:
        first, second = (written(folder, "a", out)[kind].read_bytes() for out in ("first", "second"))
        assert first == second
    assert pydicom.dcmread(written(folder, "a", "first")["capture"]).BurnedInAnnotation == "NO"


def test_other_results_have_other_identifiers(heads: Task, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_dicom(folder / "a.dcm", head(), SOPInstanceUID="1.2.3")
    assert run(folder, "--dicom", out="first") == 0
    always_load(monkeypatch, member(bright, heads, "m", "e" * 64))
    assert run(folder, "--dicom", out="second") == 0
    first, second = (
        {pydicom.dcmread(path).SOPInstanceUID for path in written(folder, "a", out).values()}
        for out in ("first", "second")
    )
    assert len(first | second) == 6


def test_objects_go_with_the_results_that_they_were_made_of(heads: Task, folder: Path) -> None:
    write_dicom(folder / "a.dcm", head())
    write_dicom(folder / "b.dcm", head(80))
    assert run(folder, "--dicom") == 0
    assert run(folder) == 0  # reused: the objects are still right
    assert all(path.is_file() for name in "ab" for path in written(folder, name).values())
    write_dicom(folder / "a.dcm", head(70))
    write_dicom(folder / "b.dcm", np.full(SIZE, 9, np.uint8))
    assert run(folder) == 1
    assert not any(path.exists() for name in "ab" for path in written(folder, name).values())
    assert sonoseg(["verify", str(folder.parent / "out")]) == 0


def test_a_file_of_somebody_else_is_not_overwritten(
    heads: Task, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dicom(folder / "a.dcm", head())
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "a_sr.dcm").write_text("mine")
    assert run(folder, "--dicom") == 2
    assert "a_sr.dcm" in capsys.readouterr().err
    assert [path.name for path in (folder.parent / "out").glob("*.dcm")] == ["a_sr.dcm"]


def test_two_regions(heads: Task, folder: Path) -> None:
    pixels = np.hstack([head(), head(80)])
    items = [region_item(left, 0, left + 159, 127, (0.5, 0.5)) for left in (0, 160)]
    source = pydicom.dcmread(write_dicom(folder / "a.dcm", pixels, items))
    assert run(folder, "--dicom") == 0
    left, right = (written(folder, f"a_region{number}") for number in (1, 2))
    identifiers, numbers = set(), set()
    for files in (left, right):
        for path in files.values():
            assert dciodvfy(path) == []
            dataset = pydicom.dcmread(path)
            identifiers.add(dataset.SOPInstanceUID)
            numbers.add((dataset.SeriesInstanceUID, dataset.InstanceNumber))
        group = highdicom.sr.srread(files["sr"]).content.get_planar_roi_measurement_groups()[0]
        reference = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
        assert reference.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert len(identifiers) == len(numbers) == 6
    assert not segmented(left["seg"])[:, 160:].any() and not segmented(right["seg"])[:, :160].any()


def test_a_spine(folder: Path, spine: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    task = changed(spine, input={"size": SIZE, "fit": "letterbox"}, enhancement={})
    always_load(monkeypatch, member(bands, task, "m", "f" * 64))
    names = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Ä"}
    write_dicom(folder / "a.dcm", spine_picture(), [region_item(0, 0, 159, 127, (0.5, 0.5))], **names)
    assert run(folder, "--dicom", task="spine") == 0
    files = written(folder, "a")
    assert [dciodvfy(path) for path in files.values()] == [[], [], []]
    mask = np.asarray(Image.open(folder.parent / "out" / "a_mask.png"))
    assert np.array_equal(segmented(files["seg"]), mask) and set(np.unique(mask)) == {0, 1, 2, 3}
    facts = json.loads((folder.parent / "out" / "a.json").read_text())
    assert {"skin_to_epi_mm", "skin_to_epi_px"} <= facts["marks"].keys()
    for path in files.values():
        dataset = pydicom.dcmread(path)
        assert (dataset.SpecificCharacterSet, dataset.PatientName) == ("ISO_IR 192", "Müller^Ä")
    depths = {}
    for group in highdicom.sr.srread(files["sr"]).content.get_image_measurement_groups():
        for depth in group.get_measurements(name=pydicom.sr.codedict.codes.DCM.DistanceFromSkin):
            (line,) = [item for item in depth[0].ContentSequence if item.ValueType == "SCOORD"]
            depths[group.finding_type.meaning] = depth.value, line.value.tolist()
    names = {"skin_to_epi_mm": "Epidural space", "skin_to_vtb_mm": "Vertebra"}
    assert depths == {
        name: (facts["measurements"][key], np.float32(np.array(facts["marks"][key]) + 0.5).tolist())
        for key, name in names.items()
    }


@pytest.mark.parametrize(
    ("name", "images", "frames"),
    [
        ("OBXXXX1A.dcm", 1, ""),
        ("JPGLosslessP14SV1_1s_1f_8b.dcm", 1, ""),
        ("gdcm-US-ALOKA-16.dcm", 2, ""),
        ("color3d_jpeg_baseline.dcm", 1, "120"),
    ],
)
def test_real_files(heads: Task, folder: Path, name: str, images: int, frames: str) -> None:
    (folder / name).symlink_to(real_dicom(name))
    assert run(folder, "--dicom") == 0
    out = folder.parent / "out"
    objects = sorted(out.glob("*.dcm"))
    assert len(objects) == 3 * images and [dciodvfy(path) for path in objects] == [[]] * len(objects)
    with (out / "results.csv").open(encoding="utf-8", newline="") as table:
        assert [row.get("frames", "") for row in csv.DictReader(table)] == [frames] * images
    if frames:
        assert len((out / f"{Path(name).stem}_frames.csv").read_text().splitlines()) == 1 + int(frames)


def test_other_files_are_left_out(heads: Task, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dicom(folder / "a.dcm", head())
    Image.fromarray(head()).save(folder / "b.png")
    assert run(folder, "--dicom") == 0
    assert "DICOM: 1 image of other files left out" in capsys.readouterr().out
    assert {path.name for path in (folder.parent / "out").glob("*.dcm")} == {f"a_{kind}.dcm" for kind in KINDS}


def test_one_sentence_without_dicom(
    heads: Task, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(head()).save(folder / "b.png")
    assert run(folder, "--dicom") == 2
    assert "none of the images is a DICOM file" in capsys.readouterr().err
    assert run(folder, "--dicom", "--watch") == 2
    assert "--dicom is for images that are all there" in capsys.readouterr().err
    monkeypatch.setattr(output, "find_spec", lambda name: None if name == "highdicom" else os)
    assert run(folder, "--dicom") == 2
    assert "pip install sonoseg[dicom]" in capsys.readouterr().err
    assert not (folder.parent / "out" / "b_mask.png").exists()


def with_element(keyword: str, value: object, vr: str = "") -> Callable[[Path], None]:
    def change(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
        try:
            dataset.add_new(
                pydicom.datadict.tag_for_keyword(keyword), vr or pydicom.datadict.dictionary_VR(keyword), value
            )
            dataset.save_as(path, enforce_file_format=True)
        finally:
            pydicom.config.settings.writing_validation_mode = None

    return change


def without(keyword: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        dataset = pydicom.dcmread(path)
        del dataset[keyword]
        dataset.save_as(path, enforce_file_format=True)

    return change


HOSTILE: list[tuple[Callable[[Path], None], str]] = [
    (without("StudyInstanceUID"), "StudyInstanceUID"),
    (without("SeriesInstanceUID"), "SeriesInstanceUID"),
    (with_element("StudyInstanceUID", "SECRET/../1"), "StudyInstanceUID"),
    (with_element("StudyInstanceUID", "1.2." + "3" * 80), "StudyInstanceUID"),
    (with_element("PatientID", "SECRET\x1b[31m"), "PatientID"),
    (with_element("PatientID", "SECRET" * 10_000, "UT"), "PatientID"),
    (with_element("PatientID", b"SECRET", "OB"), "PatientID"),
    (with_element("PatientName", "SECRET\n^B", "LT"), "PatientName"),
    (with_element("PatientName", ["SECRET", "B"]), "PatientName"),
    (with_element("PatientName", "SECRETü^B"), "PatientName"),  # no character set tells what its letters are
    (with_element("StudyDescription", "SECRETü"), ""),
    (with_element("PatientID", "../../SECRET"), ""),
    (with_element("PatientID", ""), ""),
    (with_element("PatientBirthDate", "SECRET", "LO"), ""),
    (with_element("PatientSex", "SECRET", "LO"), ""),
    (with_element("StudyDate", 7, "US"), ""),
    (with_element("StudyTime", "99:99"), ""),
    (with_element("AccessionNumber", "SECRET" * 20_000, "UT"), ""),
    (with_element("ReferringPhysicianName", "S\x00ECRET", "LT"), ""),
    (with_element("InstanceNumber", "SECRET", "LO"), ""),
    (with_element("StudyID", ["SECRET", "2"], "LO"), ""),
    (with_element("SpecificCharacterSet", "SECRET"), ""),
    (with_element("BurnedInAnnotation", "MAYBE"), ""),
    (with_element("StudyDescription", "S" * 65_000, "UT"), ""),
    (without("StudyDate"), ""),
]
"""What is wrong in a header, and the element for which its image has no objects; empty where it is left out."""


def test_hostile_headers(heads: Task, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number, (change, _) in enumerate(HOSTILE):
        change(write_dicom(folder / f"{number}.dcm", head()))
    write_dicom(folder / "good.dcm", head(), SOPInstanceUID="1.2.3")
    assert run(folder, "--dicom") == 1
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said and "SECRET" not in said
    out = folder.parent / "out"
    assert (out / "results.csv").is_file() and all(path.is_file() for path in written(folder, "good").values())
    for number, (_, named) in enumerate(HOSTILE):
        assert (out / f"{number}_mask.png").is_file()
        files = written(folder, str(number))
        assert [path.exists() for path in files.values()] == [not named] * 3, number
        assert (f"none for {number}: " in said) == bool(named)
        if named:
            assert f"DICOM: none for {number}: {named} is missing or not valid in its header" in said
        else:
            assert dciodvfy(files["seg"]) == []


def test_a_file_that_has_changed_meanwhile(
    heads: Task, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whose results they are must not be read from another file than the one that was segmented."""
    write_dicom(folder / "a.dcm", head())
    write = output.DicomOutput.write

    def replaced(self: output.DicomOutput, *arguments: object) -> list[str]:
        write_dicom(folder / "a.dcm", head(), PatientID="P2")
        return write(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(output.DicomOutput, "write", replaced)
    assert run(folder, "--dicom") == 1
    assert "the file has changed since it was segmented" in capsys.readouterr().out
    assert not any(path.exists() for path in written(folder, "a").values())


def test_an_error_of_a_library_costs_the_objects_only(
    heads: Task, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dicom(folder / "a.dcm", head(), syntax=JPEG)

    def fails(*_: object) -> bytes:
        raise AttributeError("SECRET")

    monkeypatch.setattr("sonoseg.dicom.report.report", fails)
    assert run(folder, "--dicom") == 1
    said = capsys.readouterr().out
    assert "DICOM: none for a: its header leads to an unexpected AttributeError" in said and "SECRET" not in said
    assert (folder.parent / "out" / "a_mask.png").is_file()
