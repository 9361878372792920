"""Reader of video files: MP4, MOV and AVI, decoded by OpenCV's copy of FFmpeg."""

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2

from sonoseg.errors import DataError, LimitError
from sonoseg.io.file_state import state_now, state_of
from sonoseg.io.image_ref import ImageHeader, ImageRecord, ImageRef, plausible_seconds
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers.base import only_record
from sonoseg.io.readers.opening import check_length, decoding, opened
from sonoseg.types import Pixels

_BRANDS = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
"""Types of the first box of MP4 and MOV."""

_TOLERATED_SECONDS = 0.25
"""Largest error of a frame's time that is passed over: phones record with a rate that varies a little."""


class VideoReader:
    """See `base.ImageReader`. A video states neither spacing nor patient, and all that its frames show is the image.

    The number of frames is the container's statement. Frames are decoded from the beginning, because seeking in a
    compressed video is not exact. Times that are not those of a constant rate are an error of the loop, raised after
    its last frame.
    """

    suffixes = (".mp4", ".m4v", ".mov", ".avi")

    def accepts(self, start: bytes) -> bool:
        return start[4:8] in _BRANDS or (start[:4] == b"RIFF" and start[8:12] == b"AVI ")

    def read_header(self, path: Path, limits: ReadLimits) -> ImageHeader:
        with _open(path, limits) as capture:
            return _header(capture, path, limits)

    def read_image(self, image: ImageRef, limits: ReadLimits, data: bytes | None = None) -> ImageRecord:
        return only_record(self.read_frames([image], limits, data))

    def read_frames(
        self, images: Sequence[ImageRef], limits: ReadLimits, data: bytes | None = None
    ) -> Iterator[ImageRecord | DataError]:
        path = images[0].path
        with opened(path) as stream:
            before = state_of(os.fstat(stream.fileno()))
        with _open(path, limits) as capture:
            header = _header(capture, path, limits)
            shown, pixels = -1, None
            for image in images:
                try:
                    _check_frame(image, header)
                    if (wanted := image.frame or 0) != shown:
                        shown, pixels = wanted, _frame_ahead(capture, image, wanted - shown)
                    if pixels is None:
                        raise DataError("no such frame in the file; it has changed, or has fewer frames", image)
                    if data is not None and (state_now(path) != before or before.size != len(data)):
                        raise DataError("the file has changed while it was read; run the same command again", image)
                except DataError as error:
                    yield error
                else:
                    yield ImageRecord(image, pixels)

    def read_loop(self, image: ImageRef, limits: ReadLimits) -> Iterator[ImageRecord | DataError]:
        with _open(image.path, limits) as capture:
            header = _header(capture, image.path, limits)
            header.region_of(image)
            latest = 0.0
            for index in range(limits.max_frames):
                frame = ImageRef(image.path, index)
                pixels = _next_frame(capture, frame)
                if pixels is None:
                    break
                latest = max(latest, _lateness(capture, index, header.frame_seconds))
                yield ImageRecord(frame, pixels)
            else:
                if capture.grab():
                    raise DataError(f"more than {limits.max_frames} frames; split the file", image.path)
            if latest > _TOLERATED_SECONDS:
                reason = f"its frames are not evenly spaced in time, and times are up to {latest:.1f} s wrong"
                raise DataError(f"{reason}; save it with a constant rate", image.path)


def _lateness(capture: Any, index: int, frame_seconds: float | None) -> float:
    """Return by how many seconds the time of the frame that was read last differs from that of an even rate."""
    if frame_seconds is None:
        return 0.0
    return abs(float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000 - index * frame_seconds)


def _check_frame(image: ImageRef, header: ImageHeader) -> None:
    if image.frame is None and header.frames > 1:
        raise DataError("2 frames or more; expected a single picture: give the number of a frame", image)
    header.region_of(image)


def _frame_ahead(capture: Any, image: ImageRef, steps: int) -> Pixels | None:
    """Return the frame that comes `steps` frames after the last one, at least one; None where the file ends before."""
    for _ in range(steps - 1):
        if not capture.grab():
            return None
    return _next_frame(capture, image)


@cache
def silence_video_libraries() -> None:
    """Keep messages of OpenCV and FFmpeg on damaged frames and missing codecs from the terminal.

    To be called before a video is opened: OpenCV reads FFmpeg's level at the first one.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


@contextmanager
def _open(path: Path, limits: ReadLimits) -> Iterator[Any]:
    """Open a video; its header is read and no frame decoded. Raises DataError."""
    with opened(path) as stream:  # errors of the file itself, which OpenCV does not tell apart
        check_length(stream, path, limits)
    silence_video_libraries()
    with decoding(path, "the video is damaged, or coded in a way that is not read; save it as MP4 (H.264)"):
        # An absolute path: FFmpeg takes a name such as `concat:a.mp4` for something else than a file.
        capture = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise DataError("the video is damaged, or coded in a way that is not read; save it as MP4 (H.264)", path)
        yield capture
    finally:
        capture.release()


def _header(capture: Any, path: Path, limits: ReadLimits) -> ImageHeader:
    width, height, count, rate = (
        capture.get(field)
        for field in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS)
    )
    if not (width >= 1 and height >= 1 and count >= 1):
        raise DataError("no number of frames or no size is stated; save it as MP4 (H.264)", path)
    if width * height > limits.max_pixels:
        reason = f"{width:.0f}x{height:.0f} pixels declared; at most {limits.max_pixels} are decoded"
        raise LimitError(f"{reason}; raise the limit if the video is right", path)
    if count > limits.max_frames:
        raise DataError(f"{count:.0f} frames; at most {limits.max_frames} are read, split the file", path)
    ratio = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    if min(ratio) > 0 and not math.isclose(*ratio, rel_tol=0.001):
        raise DataError(
            f"its pixels are not square ({ratio[0]:.0f}:{ratio[1]:.0f}), and lengths and angles would be wrong; run: "
            "ffmpeg -i IN -vf scale=iw*sar:ih,setsar=1 OUT",
            path,
        )
    seconds = plausible_seconds(1 / rate) if math.isfinite(rate) and rate > 0 else None
    return ImageHeader((int(height), int(width)), int(count), is_loop=count > 1, frame_seconds=seconds)


def _next_frame(capture: Any, image: ImageRef) -> Pixels | None:
    """Return the next frame as grey, None at the end."""
    with decoding(image):
        found, picture = capture.read()
        if not found:
            return None
        return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if picture.ndim == 3 else picture
