"""Small pictures for the report's page: images with the outlines of their structures."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import decode_label_map, rgb
from sonoseg.io.readers import read_image
from sonoseg.prepare.verify import Checked
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.task import Task
from sonoseg.types import Pixels

WIDTH = 320
"""Pixels: wide enough to judge an outline, and 36 of them stay below a megabyte."""


LINE_PX = 2


def spread_evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return up to `count` samples, evenly over parts, folds and patients; the same samples for the same list.

    The first image of each patient is taken while there are enough patients, else all images.
    """
    first = {sample.patient: sample for sample in sorted(samples, key=lambda s: s.id, reverse=True)}
    pool = list(first.values()) if len(first) >= count else list(samples)
    pool.sort(key=lambda sample: (sample.fold is None, sample.fold or 0, sample.patient, sample.id))
    if len(pool) <= count:
        return pool
    return [pool[int(place)] for place in np.linspace(0, len(pool) - 1, count).round()]


def thumbnail(one: Checked, task: Task, limits: ReadLimits) -> NDArray[np.uint8]:
    """Return an image `(h, WIDTH, 3)` RGB uint8 with the outlines of its structures in the classes' colours.

    Reads the image again. Raises DataError and OSError when it is no longer there.
    """
    return outlined(read_image(one.item.image, limits).pixels, decode_label_map(one.mask_png), task)


def outlined(image: Pixels, labels: Pixels, task: Task, width: int = WIDTH) -> NDArray[np.uint8]:
    """Return an image and its labels, both `(H, W)`, as one RGB picture of `width`, never higher than twice that.

    Outlines run along the outermost pixels of each structure.
    """
    scale = min(width / image.shape[1], 2 * width / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    picture = np.repeat(small[..., None], 3, axis=2)
    places = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    for index, structure in enumerate(task.structures, start=1):
        mask = (places == index).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, rgb(structure.color), LINE_PX, cv2.LINE_AA)
    return picture
