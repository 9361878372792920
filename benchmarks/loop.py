"""A loop of an examination: from its file to measurements, chart, video and label maps, by stage 4."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from benchmarks.compare import Figure
from benchmarks.samples import phantoms, pictures, trained
from sonoseg.inference.batch import process_images
from sonoseg.inference.process_image import InferenceRun
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import SpacingOptions, from_folder
from sonoseg.io.readers import read_image
from sonoseg.runs.output_folder import OutputFolder

FRAMES, RATE, SIZE = 300, 30, (480, 640)
CORES = 2


def run(root: Path) -> Iterator[Figure]:
    """Yield the time of a video of ten seconds."""
    folder = root / "loop"
    data = phantoms(root)
    _write_video(folder / "loop.mp4", read_image(pictures(data)[0]).pixels)
    segmenter = Segmenter.load(trained(root, "spine_realtime", data), "cpu", "openvino", CORES)
    sources = from_folder(folder, segmenter.task, SpacingOptions((0.2, 0.2), "benchmark")).sources
    seconds = []
    for _ in range(3):
        shutil.rmtree(root / "loop_results", ignore_errors=True)
        started = time.perf_counter()
        with OutputFolder(root / "loop_results", "stage4") as output:
            (row,) = process_images(sources, InferenceRun(segmenter, output), CORES)
        seconds.append(time.perf_counter() - started)
        if row["frames"] != FRAMES or row["status"] == "failed":
            raise RuntimeError(f"{row['frames']} of {FRAMES} frames, {row['status']}")
    recorded, taken = FRAMES / RATE, float(np.median(seconds))
    yield Figure(
        name=f"loop of {FRAMES} frames of {SIZE[0]}x{SIZE[1]}, MP4",
        unit="a loop",
        before=recorded,
        after=taken,
        ratio=recorded / taken,
        before_is=f"its own duration at {RATE} frames a second",
        after_is=f"`spine_realtime` on {CORES} cores, with chart, video and label maps",
        target="faster than it was recorded",
        reached=taken < recorded,
        floor="",
        remains=f"{FRAMES / taken:.0f} frames a second; median of 3 runs, the model loaded before.",
    )


def _write_video(path: Path, picture: np.ndarray) -> None:
    """Write a phantom that moves by some pixels, as a probe does."""
    path.parent.mkdir(exist_ok=True)
    height, width = SIZE
    picture = cv2.resize(picture, (width, height))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (width, height))
    for number in range(FRAMES):
        shift = np.array([[1, 0, 12 * np.sin(number / 10)], [0, 1, 8 * np.cos(number / 8)]], np.float32)
        writer.write(cv2.cvtColor(cv2.warpAffine(picture, shift, (width, height)), cv2.COLOR_GRAY2BGR))
    writer.release()
