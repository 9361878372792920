"""Whether an engine gives what torch gives, and how long each takes."""

import time

import cv2
import numpy as np

from sonoseg.models.engines.base import Run
from sonoseg.preprocess.intensity import normalise
from sonoseg.schema.task import Task
from sonoseg.types import Maps

ENOUGH = 0.999
"""Part of the pixels on which an engine has to agree with torch."""
_TIE = 1e-4
"""Classes whose probabilities differ by less are as probable as each other: rounding decides between them."""
_IMAGES, _SEED = 3, 0
_SECONDS = 0.4
"""Each engine is timed for at least so long: a single run of a few milliseconds says little."""


def sample_images(task: Task) -> Maps:
    """Return images `(3, 1, h, w)` float32 as the task's network sees them, always the same ones.

    Bright rings and layers under speckle on dark ground, the last within black margins: something for every network to
    find and to doubt.
    """
    random = np.random.default_rng(_SEED)
    pictures = [_picture(task.input.size, number, random) for number in range(_IMAGES)]
    return np.stack([normalise(picture, task.input.intensity)[None] for picture in pictures])


def agreement(ours: Maps, reference: Maps, task: Task, tolerance: float = 0.01) -> float:
    """Return the part, 0 to 1, of the pixels of `(B, 1 + K, h, w)` probabilities that agree.

    A pixel agrees when it is of the same class, or of one that is as probable, and no probability differs by more than
    `tolerance`. Another shape, or a value that is no number, is no agreement at all.
    """
    if ours.shape != reference.shape or not np.isfinite(ours).all():
        return 0.0
    if task.is_binary:
        threshold = task.postprocessing.threshold
        same = (ours[:, 1] > threshold) == (reference[:, 1] > threshold)
        same |= np.abs(reference[:, 1] - threshold) < _TIE
    else:
        taken = np.take_along_axis(reference, ours.argmax(axis=1)[:, None], axis=1)[:, 0]
        same = taken > reference.max(axis=1) - _TIE
    near = np.abs(ours - reference).max(axis=1) <= tolerance
    return float((same & near).mean())


def timed(run: Run, images: Maps) -> tuple[Maps, float]:
    """Return the probabilities of images `(B, 1, h, w)`, one at a time, and the least milliseconds of an image."""
    maps: list[Maps] = []
    taken: list[float] = []
    while len(maps) < len(images) or sum(taken) < _SECONDS:
        started = time.perf_counter()
        maps.append(run(images[len(maps) % len(images)][None]))
        taken.append(time.perf_counter() - started)
    # The first run is slower, for memory is taken and kernels are chosen; so the least counts.
    return np.concatenate(maps[: len(images)]), 1000 * min(taken)


def _picture(size: tuple[int, int], number: int, random: np.random.Generator) -> np.ndarray:
    height, width = size
    tissue = cv2.GaussianBlur(random.random(size, dtype=np.float32), (0, 0), max(size) / 16)
    tissue = cv2.normalize(tissue, None, 20, 120, cv2.NORM_MINMAX)
    centre = (round(width * random.uniform(0.4, 0.6)), round(height * random.uniform(0.4, 0.6)))
    axes = (round(width * random.uniform(0.2, 0.35)), round(height * random.uniform(0.2, 0.35)))
    turn = random.uniform(-20, 20)
    if number:
        cv2.ellipse(tissue, centre, axes, turn, 0, 360, 40, cv2.FILLED)
    cv2.ellipse(tissue, centre, axes, turn, 0, 360 if number else 180, 230, max(2, min(size) // 40))
    cv2.line(tissue, (centre[0], 0), (centre[0], height), 160, max(2, min(size) // 60))
    speckle = cv2.GaussianBlur(random.rayleigh(0.8, size).astype(np.float32), (0, 0), 1)
    picture = np.clip(tissue * speckle, 0, 255).astype(np.uint8)
    if number == _IMAGES - 1:
        margin = width // 8
        picture[:, :margin] = picture[:, width - margin :] = 0
    return picture
