"""The overlay video of a loop, written frame by frame."""

import errno
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
from PIL import Image

from sonoseg.errors import DataError
from sonoseg.inference.cine.files import MP4, WEBP
from sonoseg.io.readers.video import silence_video_libraries
from sonoseg.sizes import Size
from sonoseg.types import Picture

DEFAULT_RATE = 25.0
"""Frames a second of a loop whose own rate is unknown."""
_CODES = ("avc1", "mp4v")
"""H.264, which browsers play, where OpenCV's build encodes it; else MPEG-4 Part 2, which players do."""
_WEBP_QUALITY = 80
_RATES = 0.1, 500.0
_MAX_SIDE = 8190
"""Of MPEG-4 Part 2, which has 13 bits for a side."""


@cache
def video_code() -> str | None:
    """Return the first code of `_CODES` that OpenCV's build encodes as MP4; None when there is none.

    It is tried once per process, by a video of two frames.
    """
    with tempfile.TemporaryDirectory(prefix="sonoseg-") as folder:
        for code in _CODES:
            path = Path(folder) / f"{code}{MP4}"
            if _is_written(path, code):
                return code
    return None


def video_rate(frame_seconds: float | None) -> float:
    """Return the frames a second of the overlay video of a loop, 0.1 to 500, with two decimals above 65.

    MPEG-4 Part 2 has 16 bits for the denominator of the time of a frame, and OpenCV takes up to three decimals for it.
    """
    low, high = _RATES
    rate = min(max(1 / frame_seconds if frame_seconds else DEFAULT_RATE, low), high)
    return round(rate, 2) if rate > 65 else rate


def video_suffix() -> str:
    """Return the suffix of overlay videos here."""
    return MP4 if video_code() else WEBP


class OverlayVideo:
    """Writes pictures `(H, W, 3)` RGB uint8 of one size as a video; a context manager.

    A side of an odd number of pixels gets one more, black, because the codecs need even ones. Raises OSError when the
    video could not be written, which OpenCV does not say itself.
    """

    def __init__(self, path: Path, size: Size, frame_seconds: float | None):
        """path: ends in `video_suffix`. size: (height, width). frame_seconds: from one frame to the next.

        Raises DataError for a size that no video can have.
        """
        self._path, self._size, self._count = path, size, 0
        rate = video_rate(frame_seconds)
        code = video_code()
        if code and max(size) > _MAX_SIDE:
            raise DataError(f"frames of {size[1]}x{size[0]} pixels; at most {_MAX_SIDE} each way fit a video; crop it")
        self._writer: Any = _open(path, code, _even(size), rate) if code else _WebpWriter(path, rate)

    def __enter__(self) -> "OverlayVideo":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.release()
        if kind is None and not self._is_complete():
            raise OSError(errno.EIO, "the overlay video could not be written", str(self._path))

    def _is_complete(self) -> bool:
        count = _count_frames(self._path)
        return count > 0 if self._path.suffix == WEBP else count == self._count  # WebP joins equal pictures

    def write(self, picture: Picture) -> None:
        """Append a picture."""
        height, width = self._size
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        if height % 2 or width % 2:
            bgr = cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT)
        self._writer.write(bgr)
        self._count += 1


class _WebpWriter:
    """The interface of OpenCV's writer for an animated WebP; its pictures are kept as PNG until the end."""

    def __init__(self, path: Path, rate: float):
        self._path, self._milliseconds = path, max(1, round(1000 / rate))
        self._pictures: list[Any] = []

    def write(self, bgr: Picture) -> None:
        self._pictures.append(cv2.imencode(".png", bgr)[1])

    def release(self) -> None:
        if self._pictures:
            first, *others = self._pictures
            picture = Image.fromarray(_decoded(first))
            options = {"duration": self._milliseconds, "quality": _WEBP_QUALITY, "loop": 0, "kmin": 0, "kmax": 1}
            picture.save(self._path, "WEBP", save_all=True, append_images=_lazily(others), **options)


def _lazily(pictures: Sequence[Any]) -> Iterator[Image.Image]:
    for picture in pictures:
        yield Image.fromarray(_decoded(picture))


def _decoded(png: Any) -> Picture:
    return cv2.cvtColor(cv2.imdecode(png, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def _open(path: Path, code: str, size: Size, rate: float) -> Any:
    height, width = size
    return cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), rate, (width, height))


def _is_written(path: Path, code: str) -> bool:
    silence_video_libraries()
    writer = _open(path, code, (64, 64), DEFAULT_RATE)
    if not writer.isOpened():
        return False
    for grey in (0, 255):
        writer.write(np.full((64, 64, 3), grey, np.uint8))
    writer.release()
    return _count_frames(path) == 2


def _count_frames(path: Path) -> int:
    """Return the number of frames that a video states; 0 when there is none."""
    if not path.is_file() or not path.stat().st_size:
        return 0
    if path.suffix == WEBP:
        with Image.open(path) as picture:
            return int(getattr(picture, "n_frames", 1))
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return count


def _even(size: Size) -> Size:
    height, width = size
    return height + height % 2, width + width % 2
