"""Result files of a loop: label maps as pages of a TIFF, the overlay as a video, and a table with a row per frame."""

import csv
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoseg.errors import DataError
from sonoseg.io.readers.opening import decoding
from sonoseg.sizes import Size
from sonoseg.types import Pixels


def label_pages(path: Path) -> Iterator[tuple[int, Pixels]]:
    """Yield the pages of a TIFF, class indices `(H, W)` uint8, each with its number, counted from 1: the frame's.

    One page is in memory at a time. Raises DataError for a file that is damaged or cut short.
    """
    with decoding(path), Image.open(path) as pages:
        for index in range(getattr(pages, "n_frames", 1)):
            pages.seek(index)
            yield index + 1, np.array(pages).astype(np.uint8)


def shown_frame(table: Path, facts: Mapping[str, Any]) -> int:
    """Return the number of the frame that stands for a loop: the chosen one whose measurements are nearest to its own.

    table: with a row per frame; facts: the record of the loop. The first chosen frame where the table has no values,
    the first frame where none was chosen. Distances are relative, and those of all measurements are added.
    """
    chosen = facts.get("chosen_frames") or [1]
    values = {key: value for key, value in facts["measurements"].items() if value}
    distances = dict.fromkeys(map(int, chosen), math.inf)
    with suppress(OSError, ValueError, KeyError), table.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            frame = int(row["frame"])
            if frame in distances:
                missing = float(len(values)) if any(row[key] == "" for key in values) else 0.0
                known = [(float(row[key]), value) for key, value in values.items() if row[key]]
                distances[frame] = missing + sum(abs(found - value) / abs(value) for found, value in known)
    return min(distances, key=lambda frame: distances[frame])


def video_frame(path: Path, number: int, size: Size) -> NDArray[np.uint8]:
    """Return a frame of a video or an animated WebP, counted from 1, as `(H, W, 3)` uint8 RGB.

    size: (height, width) of the loop; a video may have a row and a column more. Raises DataError without such a frame.
    """
    frame = _frame_of_webp(path, number) if path.suffix == ".webp" else _frame_of_video(path, number)
    if frame is None or frame.shape[0] < size[0] or frame.shape[1] < size[1]:
        raise DataError(f"no frame {number} in the overlay; run stage 4 again", path)
    return np.ascontiguousarray(frame[: size[0], : size[1]])


def _frame_of_webp(path: Path, number: int) -> NDArray[np.uint8] | None:
    with decoding(path), Image.open(path) as pictures:
        if number > getattr(pictures, "n_frames", 1):
            return None
        pictures.seek(number - 1)
        return np.array(pictures.convert("RGB"))


def _frame_of_video(path: Path, number: int) -> NDArray[np.uint8] | None:
    video = cv2.VideoCapture(str(path.absolute()), cv2.CAP_FFMPEG)
    try:
        skipped = all(
            video.grab() for _ in range(number - 1)
        )  # in order: not every codec finds the right one by number
        frame = video.read()[1] if skipped else None
    finally:
        video.release()
    return None if frame is None else np.asarray(frame)[..., ::-1]
