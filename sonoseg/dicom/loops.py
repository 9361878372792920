"""Result files of a loop: label maps as pages of a TIFF, and the overlay as a video."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoseg.errors import DataError
from sonoseg.io.readers.opening import decoding
from sonoseg.types import Pixels


def label_pages(path: Path) -> Iterator[tuple[int, Pixels]]:
    """Yield the pages of a TIFF, class indices `(H, W)` uint8, each with its number, counted from 1: the frame's.

    One page is in memory at a time. Raises DataError for a file that is damaged or cut short.
    """
    with decoding(path), Image.open(path) as pages:
        for index in range(getattr(pages, "n_frames", 1)):
            pages.seek(index)
            yield index + 1, np.array(pages).astype(np.uint8)


def video_frame(path: Path, number: int) -> NDArray[np.uint8]:
    """Return a frame of a video, counted from 1, as `(H, W, 3)` uint8 RGB. Raises DataError without such a frame."""
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        video.set(cv2.CAP_PROP_POS_FRAMES, number - 1)
        read, frame = video.read()
    finally:
        video.release()
    if not read:
        raise DataError(f"no frame {number} in the overlay; run stage 4 again", path)
    return np.ascontiguousarray(frame[..., ::-1])
