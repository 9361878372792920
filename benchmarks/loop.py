"""A loop of an examination: from its file to measurements, chart, video and label maps, by stage 4."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.compare import Figure, peak_mib
from benchmarks.samples import phantoms, pictures, trained
from sonoseg.inference.batch import process_images
from sonoseg.inference.process_image import InferenceRun
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import SpacingOptions, from_folder
from sonoseg.io.readers import read_image
from sonoseg.runs.output_folder import OutputFolder

REPOSITORY = Path(__file__).resolve().parents[1]
FRAMES, FEW_FRAMES, RATE, SIZE = 300, 60, 30, (480, 640)
CORES = 2
POLL_S = 0.02


def run(root: Path) -> Iterator[Figure]:
    """Yield the time of loops of ten seconds, a video and a DICOM file of JPEG frames, and the memory they need."""
    data = phantoms(root)
    picture = read_image(pictures(data)[0]).pixels
    model = trained(root, "spine_realtime", data)
    for name, suffix in (("MP4", ".mp4"), ("DICOM, JPEG", ".dcm")):
        folders = []
        for count in (FEW_FRAMES, FRAMES):
            folders.append(root / f"loop_{count}{suffix}")
            folders[-1].mkdir(exist_ok=True)
            _WRITERS[suffix](folders[-1] / f"loop{suffix}", _frames(picture, count))
        few, all_frames = (peak_of_run(root, folder, model) for folder in folders)
        memory = f"Peak memory {few:.0f} MiB for {FEW_FRAMES} frames, {all_frames:.0f} MiB for {FRAMES}"
        yield timed(root, name, folders[-1], model, f"{memory}, of a process of its own.")


def timed(root: Path, name: str, folder: Path, model: Path, memory: str) -> Figure:
    """Time a loop of FRAMES frames, the only file in `folder`. memory: a sentence."""
    segmenter = Segmenter.load(model, "cpu", "openvino", CORES)
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
    return Figure(
        name=f"loop of {FRAMES} frames of {SIZE[0]}x{SIZE[1]}, {name}",
        unit="a loop",
        before=recorded,
        after=taken,
        ratio=recorded / taken,
        before_is=f"its own duration at {RATE} frames a second",
        after_is=f"`spine_realtime` on {CORES} cores, with chart, video and label maps",
        target="faster than it was recorded",
        reached=taken < recorded,
        floor="",
        remains=f"{FRAMES / taken:.0f} frames a second; median of 3 runs, the model loaded before. {memory}",
    )


def peak_of_run(root: Path, folder: Path, model: Path) -> float:
    """Return the peak resident memory of stage 4 on a folder, in MiB. Raises RuntimeError when it fails."""
    shutil.rmtree(root / "loop_results", ignore_errors=True)
    command = [sys.executable, str(REPOSITORY / "inference.py"), "--images", str(folder), "--model", str(model)]
    command += ["--output", str(root / "loop_results"), "--spacing", "0.2", "--engine", "openvino"]
    command += ["--jobs", str(CORES)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    # Not ru_maxrss, which of a new process begins with the memory of the one that started it.
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, peak_mib(Path(f"/proc/{process.pid}")))
        time.sleep(POLL_S)
    if process.returncode:
        raise RuntimeError(f"{folder}: exit code {process.returncode}")
    return peak


def _frames(picture: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Yield frames of a phantom that moves by some pixels, as a probe does."""
    height, width = SIZE
    picture = cv2.resize(picture, (width, height))
    for number in range(count):
        shift = np.array([[1, 0, 12 * np.sin(number / 10)], [0, 1, 8 * np.cos(number / 8)]], np.float32)
        yield cv2.warpAffine(picture, shift, (width, height))


def _write_video(path: Path, frames: Iterable[np.ndarray]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE[::-1])
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()


def _write_dicom(path: Path, frames: Iterable[np.ndarray]) -> None:
    """Write an ultrasound loop of JPEG frames, as scanners store them."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit, UltrasoundMultiFrameImageStorage, generate_uid

    coded = [cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes() for frame in frames]
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = UltrasoundMultiFrameImageStorage, JPEGBaseline8Bit
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    dataset: Any = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.PatientID = "US", "1"
    (dataset.Rows, dataset.Columns), dataset.NumberOfFrames = SIZE, len(coded)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.FrameTime, dataset.FrameIncrementPointer = 1000 / RATE, 0x00181063
    dataset.PixelData = encapsulate(coded)
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)


_WRITERS: dict[str, Callable[[Path, Iterable[np.ndarray]], None]] = {".mp4": _write_video, ".dcm": _write_dicom}
