"""The objects of a loop: a frame of the segmentation for each of its frames, one report, one capture."""

import csv
import hashlib
import json
from pathlib import Path

import cv2
import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image

from sonoseg.dicom.loops import shown_frame, video_frame
from sonoseg.dicom.output import DicomOutput
from sonoseg.errors import DataError
from sonoseg.inference.sources import Source
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.task import Task
from tests.dicom.objects import dciodvfy, record
from tests.dicom_files import region_item, write_dicom, write_video

RNG = np.random.default_rng(11)
SIZE, FRAMES = (63, 80), 6
LOOP = RNG.integers(0, 255, (FRAMES, *SIZE), dtype=np.uint8)
MASKS = RNG.integers(0, 2, (FRAMES, *SIZE), dtype=np.uint8)
MASKS[3] = 0
HC_MM = [100.0, 110.0, 113.0, None, 118.0, 119.0]
FACTS = {
    "measurements": {"hc_mm": 114.0, "hc_px": 228.0},
    "spread": {"hc_mm": 5.0},
    "intervals": {"hc_mm": [110.0, 119.0]},
    "chosen_frames": [2, 3, 5],
    "frames": FRAMES,
    "confidence": {"HEAD": 0.9},
}


def overlays() -> np.ndarray:
    """Return frames `(N, 64, 80)` that are brighter one after the other: a row more than the loop, as codecs need."""
    return np.stack([np.full((64, 80), 40 * number, np.uint8) for number in range(FRAMES)])


@pytest.fixture
def source(tmp_path: Path, fetal_head: Task) -> Source:
    """The result files of a loop in `out`, and its source."""
    path = write_dicom(tmp_path / "a.dcm", LOOP, [region_item(0, 0, 79, 62, (0.5, 0.5))])
    out = tmp_path / "out"
    out.mkdir()
    first, *others = [Image.fromarray(mask) for mask in MASKS]
    first.save(out / "a_masks.tif", save_all=True, append_images=others)
    write_video(out / "a_overlay.mp4", overlays())
    with (out / "a_frames.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["frame", "hc_mm", "hc_px"])
        table.writerows([number, hc, None if hc is None else 2 * hc] for number, hc in enumerate(HC_MM, start=1))
    facts = record(fetal_head, **FACTS)
    del facts["shapes"], facts["marks"], facts["shape_agreement"]  # a loop has none
    facts["made_from"] = {"image_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (out / "a.json").write_text(json.dumps(facts))
    return Source(ImageRef(path), "a")


def test_a_loop(tmp_path: Path, source: Source, fetal_head: Task) -> None:
    with OutputFolder(tmp_path / "out", "stage4") as output:
        dicom = DicomOutput(output, fetal_head, DEFAULT_LIMITS)
        assert dicom.files([source]) == ["a_seg.dcm", "a_sr.dcm", "a_capture.dcm"]
        assert dicom.write([source], [{"status": "ok"}])[0].startswith("DICOM: written for 1 image;")
    files = {kind: tmp_path / "out" / f"a_{kind}.dcm" for kind in ("seg", "sr", "capture")}
    assert [dciodvfy(path) for path in files.values()] == [[], [], []]
    uid = pydicom.dcmread(source.path).SOPInstanceUID
    found = highdicom.seg.segread(files["seg"]).get_pixels_by_source_frame(
        uid,
        list(range(1, FRAMES + 1)),
        ignore_spatial_locations=True,
        assert_missing_frames_are_empty=True,
        combine_segments=True,
    )
    assert np.array_equal(found, MASKS)
    (_, group) = highdicom.sr.srread(files["sr"]).content.get_image_measurement_groups()
    (hc,) = group.get_measurements(name=pydicom.sr.codedict.codes.LN.HeadCircumference)
    texts = [item.TextValue for item in hc[0].ContentSequence if item.ValueType == "TEXT"]
    assert hc.value == 114.0 and "5 mm" in texts and "110 to 119 mm" in texts
    capture = pydicom.dcmread(files["capture"])
    assert capture.pixel_array.shape == (*SIZE, 3) and abs(float(capture.pixel_array.mean()) - 80) < 4
    assert capture.SourceImageSequence[0].ReferencedFrameNumber == 3 and capture.LossyImageCompression == "01"


def test_the_frame_that_stands_for_a_loop(tmp_path: Path, source: Source) -> None:
    table = tmp_path / "out" / "a_frames.csv"
    assert shown_frame(table, FACTS) == 3
    assert shown_frame(table, FACTS | {"measurements": {"hc_mm": 118.5}}) == 5
    assert shown_frame(table, FACTS | {"measurements": {"hc_mm": None}}) == 2
    assert shown_frame(table, FACTS | {"chosen_frames": []}) == 1
    assert shown_frame(tmp_path / "none.csv", FACTS) == 2


def test_frames_of_overlays(tmp_path: Path, source: Source) -> None:
    first, *others = [Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB)) for frame in overlays()]
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, lossless=True)
    for path in (tmp_path / "a.webp", tmp_path / "out" / "a_overlay.mp4"):
        for number in (1, 4, 6):
            frame = video_frame(path, number, SIZE)
            assert frame.shape == (*SIZE, 3) and abs(float(frame.mean()) - 40 * (number - 1)) < 4
        with pytest.raises(DataError, match="no frame 7"):
            video_frame(path, 7, SIZE)
    with pytest.raises(DataError, match="no frame 1"):
        video_frame(tmp_path / "out" / "a_overlay.mp4", 1, (90, 90))
