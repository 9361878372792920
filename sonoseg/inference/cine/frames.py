"""The frames of a loop, decoded in order, segmented by several threads, and returned in order."""

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np

from sonoseg.errors import DataError, is_machine_error
from sonoseg.inference.cine.summary import Frame
from sonoseg.inference.overlay import draw_overlay
from sonoseg.inference.process_image import InferenceRun, segment_record
from sonoseg.inference.sources import Source
from sonoseg.io.image_ref import ImageRecord
from sonoseg.io.readers import read_loop
from sonoseg.postprocess.interpret import Findings
from sonoseg.reporting.image_text import STATUS_COLORS, TINY_PX, TextLayer, text_scale
from sonoseg.sizes import Size
from sonoseg.types import Picture, Pixels

_AHEAD = 2
"""Frames per worker that are in progress or wait to be written."""


@dataclass(frozen=True)
class DrawnFrame:
    """A frame with its label map `(H, W)` uint8 and its overlay `(H, W, 3)` RGB uint8, of the size of the loop."""

    frame: Frame
    labels: Pixels
    overlay: Picture


def segment_frames(source: Source, run: InferenceRun, size: Size, workers: int) -> Generator[DrawnFrame, None, None]:
    """Yield every frame of a loop in order; at most `_AHEAD` per worker are in memory.

    A frame that cannot be processed is yielded as failed, with an empty label map. Raises DataError when the file
    cannot be read, after the frames before that place, and any error of the machine. When the generator is closed,
    frames in progress are completed and no further one is started. size: (height, width) of the frames.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # each frame has one core; threads of OpenCV would compete for the others
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[DrawnFrame]] = deque()
    records = read_loop(source.image, run.limits)
    problem: DataError | None = None
    try:
        number = 0
        while True:
            try:
                record = next(records, None)
            except DataError as error:
                problem = error
                break
            if record is None:
                break
            number += 1
            waiting.append(pool.submit(_segment, number, record, source, run, size))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        if problem:
            raise problem
    finally:
        pool.shutdown(cancel_futures=True)
        cv2.setNumThreads(threads)


def _segment(number: int, record: ImageRecord | DataError, source: Source, run: InferenceRun, size: Size) -> DrawnFrame:
    """Return a frame with all that is written of it."""
    structures = run.segmenter.task.structures
    try:
        if isinstance(record, DataError):
            raise record
        image, findings = segment_record(record, source, run.segmenter, with_probabilities=False)
        if image.shape != size:
            raise DataError(f"the frame is {image.shape[1]}x{image.shape[0]} pixels; expected {size[1]}x{size[0]}")
        return DrawnFrame(frame_facts(number, findings), findings.labels, draw_overlay(image, findings, structures))
    except Exception as error:  # an unexpected error of one frame must not end the loop
        if is_machine_error(error):
            raise
        reason = error.reason if isinstance(error, DataError) else f"unexpected {type(error).__name__}: {error}"
        return DrawnFrame(Frame(number, "failed", [reason]), np.zeros(size, np.uint8), _failed_picture(reason, size))


def frame_facts(number: int, findings: Findings) -> Frame:
    """Return what is kept of a frame; `number` counts from 1."""
    measurements = findings.measurements
    return Frame(
        number,
        findings.status,
        findings.reasons,
        findings.quality,
        findings.quality_note,
        {key: measurement.value for key, measurement in measurements.items()},
        {key: measurement.note for key, measurement in measurements.items() if measurement.note},
        findings.intervals,
        findings.confidence,
    )


def _failed_picture(reason: str, size: Size) -> Picture:
    """Return a black picture that says why there is no frame."""
    picture = np.zeros((*size, 3), np.uint8)
    if min(size) < TINY_PX:
        return picture
    layer = TextLayer(picture, text_scale(picture))
    layer.strip(f"failed: {reason}", STATUS_COLORS["reject"])
    return layer.finish()
