"""Loops in stage 4: every frame is measured, files are complete and reused, and memory does not grow."""

import csv
import json
import os
import shutil
import signal
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.__main__ import main as sonoseg
from sonoseg.errors import DataError
from sonoseg.inference import batch, sources
from sonoseg.inference.cine import loop as cine_loop
from sonoseg.inference.cine import video
from sonoseg.inference.process_image import InferenceRun
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Loop, Source, from_folder
from sonoseg.inference.terminal import subfolder_remarks
from sonoseg.inference.watch import FolderWatch
from sonoseg.io.image_ref import WHOLE_FRAME, ImageRef
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.dicom_files import JPEG, region_item, write_dicom, write_video
from tests.models.members import always_load, member

SIZE = (128, 160)
COUNT = 13
Run = Callable[..., dict[str, dict[str, str]]]


def bright_is_head(images: torch.Tensor) -> torch.Tensor:
    return torch.stack([images[:, 0] <= 0.5, images[:, 0] > 0.5], dim=1).float() * 8


def moving(count: int = COUNT, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Frames `(N, H, W)` with a bright ellipse that moves to the right and grows."""
    frames = np.full((count, *size), 10, np.uint8)
    for index, picture in enumerate(frames):
        axes = (30 + index % 5, 22)
        cv2.ellipse(picture, (60 + index % 20, size[0] // 2), axes, 0, 0, 360, 200, -1)
    return frames


@pytest.fixture
def small(fetal_head: Task) -> Task:
    return changed(fetal_head, input={"size": (64, 96)})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: Task) -> Run:
    """Return a function that runs stage 4 on the folder `in`, and returns the rows of the table by image."""
    (tmp_path / "in").mkdir()
    always_load(monkeypatch, member(bright_is_head, small, "model", "m" * 64))

    def run(*flags: str, code: int = 0) -> dict[str, dict[str, str]]:
        folders = ["--images", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
        assert inference.main(["--task", "fetal_head", "--jobs", "2", *folders, *flags]) == code
        assert sonoseg(["verify", str(tmp_path / "out")]) == 0
        return {row["name"]: row for row in table(tmp_path / "out" / "results.csv")}

    return run


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def pages(path: Path) -> list[np.ndarray]:
    with Image.open(path) as picture:
        return [np.asarray(picture) for index in range(picture.n_frames) if picture.seek(index) is None]


def single(path: Path, frame: int, task: Task, region: int | None = None) -> np.ndarray:
    """Return the label map of a frame as the segmenter makes it of a single image."""
    pixels = read_image(ImageRef(path, frame, region)).pixels
    return Segmenter([member(bright_is_head, task, "model", "m" * 64)])(pixels).labels


def test_every_frame_is_measured_and_the_loop_has_one_row(run: Run, tmp_path: Path, small: Task) -> None:
    path, out = write_video(tmp_path / "in" / "a.mp4", moving(), rate=20), tmp_path / "out"
    Image.fromarray(moving(1)[0]).save(tmp_path / "in" / "b.png")
    rows = run("--spacing", "0.2")
    frames = table(out / "a_frames.csv")
    assert [row["frame"] for row in frames] == [str(number) for number in range(1, COUNT + 1)]
    assert [float(row["time_s"]) for row in frames[:3]] == pytest.approx([0, 0.05, 0.1])
    assert {row["status"] for row in frames} <= {"ok", "check"} and all(float(row["hc_mm"]) > 0 for row in frames)

    record = json.loads((out / "a.json").read_text())
    chosen = [row for row in frames if row["chosen"] == "1"]
    assert record["chosen_frames"] == [int(row["frame"]) for row in chosen] and len(chosen) == 4  # of 13 a quarter
    assert record["chosen_by"] == "mean confidence" and record["frame_seconds"] == pytest.approx(0.05)
    assert (record["frames"], record["frames_declared"], record["frame"]) == (COUNT, COUNT, None)
    assert sum(record["frames_by_status"].values()) == COUNT
    values = sorted(float(row["hc_mm"]) for row in chosen)
    assert values[0] <= record["measurements"]["hc_mm"] <= values[-1]
    assert record["spread"]["hc_mm"] == pytest.approx(float(np.subtract(*np.percentile(values, (75, 25)))))

    row = rows["a"]
    assert (row["image"], row["frame"], row["frames"], row["width"]) == ("a.mp4", "", str(COUNT), str(SIZE[1]))
    assert float(row["hc_mm"]) == record["measurements"]["hc_mm"] and float(row["hc_mm_spread"]) >= 0
    assert (rows["b"]["frames"], rows["b"]["hc_mm_spread"]) == ("", "") and rows["b"]["hc_mm"]

    masks = pages(out / "a_masks.tif")
    for index, page in enumerate(masks):
        assert np.array_equal(page, read_mask(ImageRef(out / "a_masks.tif", index)))
        assert np.array_equal(page, single(path, index, small)), f"frame {index + 1}"
    assert len(masks) == COUNT and any((page != masks[0]).any() for page in masks)
    capture = cv2.VideoCapture(str(out / "a_overlay.mp4"))
    assert [capture.get(field) for field in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)] == [COUNT, 20]
    assert capture.read()[1].shape == (*SIZE, 3)


def test_a_table_of_stills_has_no_columns_of_loops(run: Run, tmp_path: Path) -> None:
    Image.fromarray(moving(1)[0]).save(tmp_path / "in" / "b.png")
    assert not {"frames", "hc_px_spread"} & set(run()["b"])


def test_a_damaged_frame_fails_alone(run: Run, tmp_path: Path) -> None:
    path, out = write_dicom(tmp_path / "in" / "a.dcm", moving(6), syntax=JPEG), tmp_path / "out"
    data = bytearray(path.read_bytes())
    second = data.index(b"\xff\xd8", data.index(b"\xff\xd9"))
    data[second + 2 : second + 40] = bytes(38)
    path.write_bytes(data)
    row = run()["a"]
    frames, masks = table(out / "a_frames.csv"), pages(out / "a_masks.tif")
    assert [each["status"] == "failed" for each in frames] == [False, True, False, False, False, False]
    assert "damaged" in frames[1]["reason"] and frames[1]["hc_px"] == "" and frames[1]["chosen"] == "0"
    assert [page.any() for page in masks] == [True, False, True, True, True, True]
    assert (
        row["status"] == "check" and "1 of 6 frames failed; such as frame 2: the DICOM file is damaged" in row["reason"]
    )
    assert row["hc_px"]


def test_a_file_that_ends_early_is_said(run: Run, tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "a.dcm", moving(4), NumberOfFrames=9)
    row = run()["a"]
    assert row["status"] == "check" and "the file ends after 4 of 9 frames: the DICOM file is damaged" in row["reason"]
    assert row["frames"] == "4" and len(pages(tmp_path / "out" / "a_masks.tif")) == 4


def test_a_loop_without_a_good_frame_fails(run: Run, tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "a.dcm", np.full((3, *SIZE), 7, np.uint8))
    row = run(code=1)["a"]
    assert row["status"] == "failed"
    assert "none of 3 frames could be processed; the first: every pixel has the grey value 7" in row["reason"]
    assert not {name for name in names(tmp_path / "out") if name.startswith("a")}


def test_a_region_is_placed_back(run: Run, tmp_path: Path, small: Task) -> None:
    frames = np.pad(moving(4, (80, 120)), ((0, 0), (15, 6), (21, 30)), constant_values=255)  # bright around the region
    path = write_dicom(tmp_path / "in" / "a.dcm", frames, [region_item(21, 15, 140, 94, (0.2, 0.3))])
    row, out, part = run()["a"], tmp_path / "out", (slice(15, 95), slice(21, 141))
    assert (row["width"], row["height"], row["row_mm"]) == ("171", "101", "0.2")
    for index, page in enumerate(pages(out / "a_masks.tif")):
        inside = single(path, index, small)
        assert np.array_equal(page[part], inside) and page.sum() == inside.sum() > 0
    picture = cv2.VideoCapture(str(out / "a_overlay.mp4")).read()[1]
    assert picture.shape == (102, 172, 3), "the codec needs even sides"
    assert picture[:10].max() < 40 and picture[60, 50:90].max() > 150, "what surrounds the region is not shown"

    whole, page = run("--keep-frame")["a"], pages(out / "a_masks.tif")[0]
    assert float(whole["hc_px"]) != float(row["hc_px"]), "results of the region are not reused"
    assert page.sum() > page[part].sum()


def test_two_regions_are_two_loops(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    frames = np.concatenate([moving(3), moving(3)[:, :, ::-1]], axis=2)
    items = [region_item(left, 0, left + 159, 127, (0.2, 0.2)) for left in (0, 160)]
    write_dicom(tmp_path / "in" / "a.dcm", frames, items)
    rows = run()
    assert set(rows) == {"a_region1", "a_region2"}
    assert "a.dcm, region 2" in capsys.readouterr().out
    assert {"a_region1_masks.tif", "a_region2_frames.csv"} <= names(tmp_path / "out")
    assert set(run("--keep-frame")) == {"a"}
    assert not {name for name in names(tmp_path / "out") if "region" in name}


def test_results_are_reused_until_something_changes(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    calls = []
    real = Segmenter.__call__
    monkeypatch.setattr(Segmenter, "__call__", lambda *given: calls.append(1) or real(*given))
    write_video(tmp_path / "in" / "a.mp4", moving(5))
    first = run()
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("a*")}
    assert len(calls) == 5 and run() == first and len(calls) == 5
    assert "1 of them reused" in capsys.readouterr().out
    (tmp_path / "out" / "a_masks.tif").write_bytes(b"damaged")
    run()
    assert len(calls) == 10
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("a*")} == before
    write_video(tmp_path / "in" / "a.mp4", moving(5)[::-1])
    run("--jobs", "1")
    assert len(calls) == 15


def test_results_do_not_depend_on_the_number_of_jobs(run: Run, tmp_path: Path) -> None:
    write_video(tmp_path / "in" / "a.avi", moving(9))
    run("--jobs", "1")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").glob("a*")}
    shutil.rmtree(tmp_path / "out")
    run("--jobs", "3")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("a*")} == before


def test_results_of_frames_and_of_a_former_still_are_removed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions made a result of each frame; a loop may also replace a still of its name, or be replaced."""
    write_video(tmp_path / "in" / "a.avi", moving(3))
    read = sources.read_image_header
    with monkeypatch.context() as patch:
        patch.setattr(sources, "read_image_header", lambda *given: replace(read(*given), is_loop=False))
        assert set(run()) == {"a_frame0001", "a_frame0002", "a_frame0003"}
    sources._cached_header.cache_clear()
    assert set(run()) == {"a"}
    loop_files = {"a.json", "a_frames.csv", "a_frames.png", "a_masks.tif", "a_overlay.mp4"}
    of_run = {"results.csv", "run.json", "stage4.sha256", ".lock"}
    assert names(tmp_path / "out") - of_run == loop_files
    write_video(tmp_path / "in" / "a.avi", moving(1))
    run()
    assert names(tmp_path / "out") - of_run == {"a.json", "a_mask.png", "a_overlay.png"}
    write_video(tmp_path / "in" / "a.avi", moving(3))
    run()
    assert names(tmp_path / "out") - of_run == loop_files


def test_files_of_somebody_else_are_kept(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_video(tmp_path / "in" / "a.mp4", moving(3))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a_masks.tif").write_bytes(b"mine")
    folders = ["--images", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert inference.main(["--task", "fetal_head", *folders]) == 2
    assert "a_masks.tif exists and was not written by this stage" in capsys.readouterr().err
    assert names(tmp_path / "out") - {".lock"} == {"a_masks.tif"}


@pytest.fixture
def loop_run(tmp_path: Path, small: Task, monkeypatch: pytest.MonkeyPatch) -> InferenceRun:
    monkeypatch.setattr(cine_loop, "loop_chart", lambda *_: b"the chart has tests of its own")
    segmenter = Segmenter([member(bright_is_head, small, "model", "m" * 64)])
    return InferenceRun(segmenter, OutputFolder(tmp_path / "out", "stage4"))


def source_of(path: Path, frames: np.ndarray) -> Source:
    write_video(path, frames)
    return Source(ImageRef(path), path.stem, loop=Loop(frames.shape[1:], len(frames), 0.04))


def test_an_interruption_leaves_nothing_half_written(
    loop_run: InferenceRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path / "a.avi", moving(8))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "temporary").mkdir()
    write = video.OverlayVideo.write

    def interrupted(self: video.OverlayVideo, picture: np.ndarray) -> None:
        write(self, picture)
        if self._count == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(video.OverlayVideo, "write", interrupted)
        cine_loop.process_loop(source, loop_run, 2)
    assert not (tmp_path / "out").exists() and not names(tmp_path / "temporary")
    assert cine_loop.process_loop(source, loop_run, 2)["frames"]
    assert len(names(tmp_path / "out") - {".stage4.writing"}) == 5 and not names(tmp_path / "temporary")


def test_a_video_that_could_not_be_written_is_the_fault_of_the_disk(
    loop_run: InferenceRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenCV says nothing when the disk is full: the video is then shorter."""
    monkeypatch.setattr(video, "_count_frames", lambda path: 2)
    with pytest.raises(OSError, match="overlay video could not be written"):
        cine_loop.process_loop(source_of(tmp_path / "a.avi", moving(4)), loop_run, 1)


@pytest.mark.parametrize("milliseconds", [8.88, 12.396, 0.7, 1e5, 1e-9, 1e12])
def test_a_video_of_every_rate(tmp_path: Path, milliseconds: float) -> None:
    """OpenCV writes rates with three decimals, and MPEG-4 has 16 bits for them: 112.613 cannot be written."""
    with video.OverlayVideo(tmp_path / "a.mp4", (16, 16), milliseconds / 1000) as overlay:
        for grey in range(3):
            overlay.write(np.full((16, 16, 3), grey, np.uint8))
    assert video.video_rate(0.0333) == pytest.approx(1 / 0.0333) and video.video_rate(None) == 25


def test_a_loop_that_is_too_large_for_a_video_fails_alone(run: Run, tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "a.dcm", moving(3))
    write_dicom(tmp_path / "in" / "b.dcm", np.zeros((2, 16, 8200), np.uint8))
    rows = run(code=1)
    assert rows["a"]["status"] != "failed" and "8200x16 pixels; at most 8190" in rows["b"]["reason"]


def test_a_loop_with_more_frames_than_it_states(run: Run, tmp_path: Path) -> None:
    path = write_video(tmp_path / "in" / "a.avi", moving(5))
    data = bytearray(path.read_bytes())
    for at in (data.index(b"avih") + 24, data.index(b"strh") + 40):
        data[at] = 3
    path.write_bytes(data)
    row = run()["a"]
    assert row["status"] == "check" and row["frames"] == "5" and "has 5 frames and states 3" in row["reason"]


def test_a_file_that_vanishes_meanwhile_fails(
    loop_run: InferenceRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path / "a.avi", moving(4))
    summarise = cine_loop.summarise
    monkeypatch.setattr(cine_loop, "summarise", lambda *given: source.path.unlink() or summarise(*given))
    row = cine_loop.process_loop(source, loop_run, 1)
    assert row["status"] == "failed" and "has changed while it was read" in row["reason"]


def test_a_file_that_changes_meanwhile_fails(
    loop_run: InferenceRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(tmp_path / "a.avi", moving(4))
    summarise = cine_loop.summarise
    monkeypatch.setattr(cine_loop, "summarise", lambda *given: os.utime(source.path) or summarise(*given))
    row = cine_loop.process_loop(source, loop_run, 1)
    assert row["status"] == "failed" and "has changed while it was read" in row["reason"]


def test_memory_does_not_grow_with_the_number_of_frames(loop_run: InferenceRun, tmp_path: Path) -> None:
    """A frame and its overlay have 150 kB: 90 more that were kept would need 14 MB."""
    peaks = []
    for count in (10, 30, 120):
        source = source_of(tmp_path / f"{count}.avi", moving(count, (200, 240)))
        tracemalloc.start()
        assert cine_loop.process_loop(source, loop_run, 2)["frames"]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] - peaks[1] < 3e6, peaks  # the first imports what draws the chart


def test_an_error_of_the_machine_is_tried_once_more_with_one_frame_at_a_time(
    loop_run: InferenceRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def short_of_memory(source: Source, run: InferenceRun, workers: int) -> dict:
        tried.append(workers)
        if workers > 1:
            raise MemoryError
        return cine_loop.process_loop(source, run, workers)

    monkeypatch.setattr(batch, "process_loop", short_of_memory)
    (row,) = batch.process_images([source_of(tmp_path / "a.avi", moving(3))], loop_run, 4)
    assert tried == [4, 1] and row["frames"] == 3 and "processed a second time" in row["remark"]


def test_stills_and_loops_keep_their_order(loop_run: InferenceRun, tmp_path: Path) -> None:
    chosen = []
    for number in range(6):
        if number in (2, 5):
            chosen.append(source_of(tmp_path / f"{number}.avi", moving(3)))
        else:
            Image.fromarray(moving(1)[0]).save(tmp_path / f"{number}.png")
            chosen.append(Source(ImageRef(tmp_path / f"{number}.png"), str(number)))
    rows = list(batch.process_images(chosen, loop_run, 2))
    assert [row["name"] for row in rows] == list("012345") and [row["frames"] for row in rows].count(3) == 2


def test_without_mp4_the_video_is_an_animated_webp(
    loop_run: InferenceRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (video, cine_loop):
        monkeypatch.setattr(module, "video_suffix", lambda: ".webp")
    monkeypatch.setattr(video, "video_code", lambda: None)
    cine_loop.process_loop(source_of(tmp_path / "a.avi", moving(4)), loop_run, 2)
    with Image.open(tmp_path / "out" / "a_overlay.webp") as picture:
        assert (picture.n_frames, picture.size) == (4, SIZE[::-1])
        picture.load()
        assert picture.info["duration"] == 40


def test_annotations_and_full_masks_are_of_stills(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write_video(tmp_path / "in" / "a.mp4", moving(3))
    Image.fromarray(moving(1)[0]).save(tmp_path / "in" / "b.png")
    run("--annotations", "coco", "--full-masks")
    said = " ".join(capsys.readouterr().out.split())
    assert "1 loop is left out: annotations are written of single images" in said
    assert (
        "1 image, 1 loop of 3 frames," in said and "full masks are written of single images, and not of loops" in said
    )
    written = json.loads((tmp_path / "out" / "annotations" / "annotations.json").read_text())
    assert [image["file_name"] for image in written["images"]] == ["b.png"]


def test_a_loop_in_a_watched_folder(run: Run, tmp_path: Path, small: Task) -> None:
    write_video(tmp_path / "in" / "a.mp4", moving(3))
    Image.fromarray(moving(1)[0]).save(tmp_path / "in" / "b.png")

    def interrupt() -> None:
        deadline = time.monotonic() + 60
        while not (tmp_path / "out" / "results.csv").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    rows = run("--watch")
    assert rows["a"]["frames"] == "3" and rows["b"]["frames"] == ""
    before = (tmp_path / "out" / "results.csv").read_bytes()
    run()
    assert (tmp_path / "out" / "results.csv").read_bytes() == before


def test_a_signal_ends_a_watch_after_the_loop_in_progress(tmp_path: Path, small: Task) -> None:
    for name in ("a.png", "b.avi", "c.avi", "d.png"):
        if name.endswith("png"):
            Image.fromarray(moving(1)[0]).save(tmp_path / name)
        else:
            write_video(tmp_path / name, moving(2))
    events = FolderWatch(tmp_path, small).events([])
    ready = [[source.path.name for source in next(events).ready] for _ in range(3)]
    assert ready == [["a.png", "b.avi"], ["c.avi"], ["d.png"]]


def test_dicom_files_without_an_image_are_left_out(tmp_path: Path, small: Task) -> None:
    write_dicom(tmp_path / "a.dcm", moving(2), [region_item(0, 0, 159, 127, (0.2, 0.2))])
    write_dicom(tmp_path / "b.dcm", moving(1)[0])
    write_dicom(tmp_path / "c.dcm", moving(2), SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4")
    with pytest.raises(DataError, match="no image in this folder"):
        (tmp_path / "only").mkdir()
        shutil.copy(tmp_path / "c.dcm", tmp_path / "only")
        from_folder(tmp_path / "only", small)
    found = from_folder(tmp_path, small)
    assert [source.name for source in found.sources] == ["a", "b"]
    assert found.sources[0].loop == Loop(SIZE, 2, pytest.approx(0.0333)) and found.sources[1].loop is None
    assert "1 DICOM file has no image, such as a report, and is left out: c.dcm" in found.remarks
    assert any("1 DICOM file states no ultrasound regions: nothing around" in remark for remark in found.remarks)
    for name in "defg":  # of private classes, such as those of a device's raw data
        write_dicom(tmp_path / f"{name}.dcm", moving(1)[0], SOPClassUID="1.3.46.670589.1", Rows=None)
    assert any("are left out: c.dcm, d.dcm, e.dcm, ..." in remark for remark in from_folder(tmp_path, small).remarks)
    write_dicom(tmp_path / "h.dcm", moving(1)[0], Rows=None)
    (cut,) = (source for source in from_folder(tmp_path, small).sources if source.name == "h")
    assert "damaged or cut short" in cut.problem
    kept = from_folder(tmp_path, small, keep_frame=True)
    assert [source.image.region for source in kept.sources] == [WHOLE_FRAME, None, None]
    assert not any("regions" in remark for remark in kept.remarks)


def test_images_of_sub_folders_are_not_read_and_named(tmp_path: Path, small: Task) -> None:
    medium = tmp_path / "medium"
    for study in ("ST1", "ST2"):
        (medium / "DICOM" / study).mkdir(parents=True)
        write_dicom(medium / "DICOM" / study / "IM1", moving(1)[0])
    (medium / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (medium / ".hidden").mkdir()
    (medium / "texts").mkdir()
    (medium / "texts" / "a.txt").write_text("a")
    with pytest.raises(DataError, match=r"no image in this folder itself, but in .*ST1; sub-folders are not read"):
        from_folder(medium, small)
    assert subfolder_remarks(medium / "DICOM" / "ST1") == []
    assert subfolder_remarks(medium) == [
        "1 sub-folder with images is not read: DICOM/ST1; run once more for each folder, into an output folder of "
        "its own"
    ]
    assert subfolder_remarks(medium / "DICOM")[0].startswith("2 sub-folders with images are not read, such as ST1;")


def test_whole_frames_need_a_folder_of_images(capsys: pytest.CaptureFixture) -> None:
    assert inference.main(["--keep-frame"]) == 2 and "--keep-frame need --images" in capsys.readouterr().err


def test_the_model_that_comes_with_sonoseg_measures_a_moving_phantom(tmp_path: Path) -> None:
    """Chosen by expected Dice; a dark part is rejected and not chosen."""
    from sonoseg.phantom.__main__ import main as make_phantoms

    arguments = ["--kind", "spine", "--out", str(tmp_path / "p"), "--images", "1", "--seed", "5", "--size-scale", "0.5"]
    assert make_phantoms(arguments) == 0
    picture = np.asarray(Image.open(next((tmp_path / "p" / "images").iterdir())).convert("L"))
    frames = np.stack([np.roll(picture, number, axis=1) // (6 if number == 2 else 1) for number in range(5)])
    segmenter = Segmenter.load("spine_realtime", device="cpu", engine="torch", num_threads=1)
    loop_run = InferenceRun(segmenter, OutputFolder(tmp_path / "out", "stage4"))
    source = replace(source_of(tmp_path / "a.avi", frames), spacing=(0.2, 0.2))
    row = cine_loop.process_loop(source, loop_run, 1)
    statuses = [each["status"] for each in table(tmp_path / "out" / "a_frames.csv")]
    record = json.loads((tmp_path / "out" / "a.json").read_text())
    good = [number for number, status in enumerate(statuses, start=1) if status != "reject"]
    assert statuses[2] == "reject" and len(good) >= 3 and set(record["chosen_frames"]) <= set(good)
    assert len(record["chosen_frames"]) == 3 and record["chosen_by"] == "expected Dice"
    assert row["quality"] > 0.5 and row["skin_to_epi_mm"] > 0
    for index, page in enumerate(pages(tmp_path / "out" / "a_masks.tif")):
        alone = segmenter(read_image(ImageRef(source.path, index)).pixels, (0.2, 0.2))
        assert np.array_equal(page, alone.labels)
