"""Frames, spacing and patient that image files state reach the tables of stages 1 and 2."""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import image_preprocessing
import train_test_data_preparation
from sonoseg.annotations import FORMATS
from sonoseg.io.faults import error
from sonoseg.io.image_ref import ImageHeader, ImageRecord, ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.pseudonyms import PseudonymKey
from sonoseg.io.readers import READERS, read_image
from sonoseg.prepare.patients import collect_metadata
from sonoseg.prepare.verify import check, with_unreadable
from sonoseg.runs.split_tables import Sample, read_index, read_split
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.drafts import StatedIn
from sonoseg.schema.task import Task
from tests.datasets import EPI, LINE, RECT

SIZE = (48, 64)
SPACING = (0.5, 0.25)


class CineReader:
    """Reads files such as `CINE 7 2 P1`: noise of seed 7, 2 frames, patient P1; the patient may be missing."""

    suffixes = (".cine",)

    def accepts(self, start: bytes) -> bool:
        return start.startswith(b"CINE")

    def read_header(self, path: Path, limits: ReadLimits) -> ImageHeader:
        _, _, frames, *patient = path.read_text().split()
        return ImageHeader(SIZE, int(frames), SPACING, "cine header", patient[0] if patient else None)

    def read_image(self, image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> ImageRecord:
        header = self.read_header(image.path, limits)
        noise = np.random.default_rng([int(image.path.read_text().split()[1]), image.frame or 0])
        pixels = noise.integers(0, 256, SIZE, dtype=np.uint8)
        return ImageRecord(image, pixels, header.spacing, header.spacing_from, header.patient)

    def read_frames(
        self, images: Sequence[ImageRef], limits: ReadLimits, data: bytes | None = None
    ) -> Iterator[ImageRecord]:
        return (self.read_image(image, limits) for image in images)


@pytest.fixture
def cine_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that writes 6 annotated files, 2 frames each, and gives the data folder."""
    monkeypatch.setitem(READERS, "cine", CineReader())

    def build(patients: Sequence[str], table: str | None = None) -> Path:
        data = tmp_path / "Datasets" / "spine"
        (data / "images").mkdir(parents=True)
        for number, patient in enumerate(patients):
            (data / "images" / f"i{number}.cine").write_text(f"CINE {number} 2 {patient}")
        frames = [f"i{number}_frame{frame:04}" for number in range(len(patients)) for frame in (1, 2)]
        annotations = {frame: [LINE, RECT, EPI] for frame in frames}
        (data / "annotations.json").write_text(json.dumps(annotations))
        if table is not None:
            (data / "metadata.csv").write_text("image,patient,row_mm,col_mm\n" + table)
        return data

    return build


def prepare(root: Path) -> dict[str, Sample]:
    """Run stage 1 and return the samples of both tables by id."""
    assert train_test_data_preparation.main(["--task", "spine", "--workspace", str(root)]) == 0
    workspace, classes = Workspace(root, "spine"), ["MID", "VTB", "EPI"]
    tables = [read_split(workspace.split_table(part), classes, root) for part in ("train", "test")]
    return {sample.id: sample for table in tables for sample in table}


def unknown(root: Path) -> list[dict[str, Any]]:
    """Return the warnings of stage 1 about missing spacings and patients."""
    report = json.loads((Workspace(root, "spine").split / "dataset_report.json").read_text())
    return [warning for warning in report["warnings"] if warning["kind"] in ("no_spacing", "no_patients")]


def test_frame_spacing_and_patient_reach_the_tables(tmp_path: Path, cine_data: Callable[..., Path]) -> None:
    data = cine_data(["A", "A", "B", "C", "D", "E"], table="i5,Z,0.1,0.2\ni4,,,\n")
    samples = prepare(tmp_path)
    assert sorted(samples) == [f"i{number}_frame{frame:04}" for number in range(6) for frame in (1, 2)]
    key = PseudonymKey(Workspace(tmp_path, "spine").patient_key)
    for number, identity in enumerate("AABCDZ"):
        patient = "Z" if identity == "Z" else key.pseudonym(identity)
        frames = [samples[f"i{number}_frame{frame:04}"] for frame in (1, 2)]
        assert [sample.image for sample in frames] == [
            ImageRef(data / "images" / f"i{number}.cine", frame) for frame in (0, 1)
        ]
        assert {sample.patient for sample in frames} == {patient} and len({sample.fold for sample in frames}) == 1
        assert {sample.spacing for sample in frames} == {(0.1, 0.2) if number == 5 else SPACING}
    assert unknown(tmp_path) == []

    arguments = ["--task", "spine", "--workspace", str(tmp_path), "--copies", "1", "--jobs", "1"]
    assert image_preprocessing.main(arguments) == 0
    workspace = Workspace(tmp_path, "spine")
    for part in ("train", "test"):
        rows = read_index(workspace.index(part), tmp_path)
        assert {row.source_id for row in rows} == {
            sample.id for sample in samples.values() if (sample.fold is None) == (part == "test")
        }
        for row in rows:
            sample = samples[row.source_id]
            assert (row.frame, row.patient, row.fold) == (sample.image.frame, sample.patient, sample.fold)
        with workspace.index(part).open() as stream:
            assert {row["frame"] for row in csv.DictReader(stream)} == {"1", "2"}
    pictures = {path.name: path.read_bytes() for path in workspace.split.glob("t*/images/i0_frame000?.png")}
    assert len(pictures) == 2 and len(set(pictures.values())) == 2


def test_no_table_is_needed_where_the_files_state_everything(tmp_path: Path, cine_data: Callable[..., Path]) -> None:
    cine_data("ABCDEF")
    samples = prepare(tmp_path)
    assert {sample.spacing for sample in samples.values()} == {SPACING} and unknown(tmp_path) == []


def test_frames_of_a_file_without_a_patient_stay_together(tmp_path: Path, cine_data: Callable[..., Path]) -> None:
    cine_data(["", "", "", "", "", ""])
    samples = prepare(tmp_path)
    assert {sample.patient for sample in samples.values()} == {f"i{number}" for number in range(6)}
    assert all(samples[f"i{n}_frame0001"].fold == samples[f"i{n}_frame0002"].fold for n in range(6))
    (warning,) = unknown(tmp_path)
    assert warning["kind"] == "no_patients" and "no patient for 12 images (i0_frame0001" in warning["message"]


def test_where_a_spacing_comes_from(cine_data: Callable[..., Path], spine: Task) -> None:
    data = cine_data(["A", "B", "C"], table="i0,X,0.1,0.2\ni1,,,\n")
    items, _ = FORMATS["shapes_json"].read(data, spine.annotations, spine.structures)
    images = [image for item in items if (image := check(item, data, spine)[0]) is not None]
    unread = [image for image in images if image.item.id != "i2_frame0002"]
    key = PseudonymKey(data / "patient_key")
    known, faults = collect_metadata(items, unread, data, spine, key, StatedIn("spine"))
    assert {name: (entry.spacing, entry.spacing_from, entry.patient) for name, entry in known.items()} == {
        "i0_frame0001": ((0.1, 0.2), "metadata.csv", "X"),
        "i0_frame0002": ((0.1, 0.2), "metadata.csv", "X"),
        "i1_frame0001": (SPACING, "cine header", key.pseudonym("B")),
        "i1_frame0002": (SPACING, "cine header", key.pseudonym("B")),
        "i2_frame0001": (SPACING, "cine header", key.pseudonym("C")),
        "i2_frame0002": (None, "unknown", "i2"),
    }
    assert [entry.patient_known for entry in known.values()] == [True] * 5 + [False]
    assert [str(fault).partition(":")[0] for fault in faults] == [
        "(warning) images/i0.cine, frame 1",
        "(warning) images/i0.cine, frame 2",
        "(warning) metadata.csv",
        "(warning) metadata.csv",
        "(warning) metadata.csv, column 'patient'",
    ]


def test_faults_name_the_frame(cine_data: Callable[..., Path], spine: Task) -> None:
    data = cine_data(["A"])
    items, _ = FORMATS["shapes_json"].read(data, spine.annotations, spine.structures)
    (data / "images" / "i0.cine").write_bytes(b"something else")
    assert [check(item, data, spine)[1][0].where for item in items] == [
        "images/i0.cine, frame 1",
        "images/i0.cine, frame 2",
    ]


def test_raster_pictures_state_neither_spacing_nor_patient(tmp_path: Path, write_picture: Callable[..., Path]) -> None:
    record = read_image(write_picture(tmp_path / "a.png"))
    assert (record.ref.frame, record.spacing, record.spacing_from, record.patient) == (None, None, "unknown", None)


def test_images_without_annotation_that_cannot_be_read_are_said_to_be_damaged(tmp_path: Path) -> None:
    """Whether nobody has annotated an image, or it shows nothing, is asked of images that can be looked at."""
    for name in ("good.png", "cut.jpg", "empty.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    (tmp_path / "empty.png").write_bytes(b"")
    asked = [error(name, "has no mask", "without_mask") for name in ("good.png", "cut.jpg", "empty.png", "gone.png")]
    other = error("empty.png", "several masks", "no_mask")
    found = with_unreadable([*asked, other], tmp_path)
    assert [fault.kind for fault in found] == ["without_mask", "unreadable", "unreadable", "without_mask", "no_mask"]
    assert [fault.where for fault in found] == [fault.where for fault in [*asked, other]]
