"""Comparison of an engine with torch: agreement of the probabilities, and time per image."""

import time

import cv2
import numpy as np

from sonoseg.models.engines.base import NetworkFunction
from sonoseg.postprocess.class_map import class_map
from sonoseg.preprocess.intensity import normalise
from sonoseg.schema.images import Input
from sonoseg.types import Maps, Pixels

MIN_AGREEMENT = 0.999
"""Fraction of the pixels on which an engine has to agree with torch."""
_TIE = 1e-4
"""Probabilities that differ by less count as equal, because rounding decides which is the larger."""
_IMAGES, _SEED = 3, 0
_SECONDS = 0.4
"""Least duration of the timing of an engine, because single runs of a few milliseconds vary."""


def sample_images(settings: Input) -> Maps:
    """Return simulated images `(3, 1, h, w)` float32 at a network's input size, normalised; always the same.

    Bright rings and a line with speckle on a dark background, the last image within black margins.
    """
    random = np.random.default_rng(_SEED)
    images = [simulated_image(settings.size, number, random) for number in range(_IMAGES)]
    return np.stack([normalise(image, settings.intensity)[None] for image in images])


def pixel_agreement(maps: Maps, reference: Maps, threshold: float, tolerance: float = 0.01) -> float:
    """Return the fraction, 0 to 1, of the pixels of `(B, 1 + K, h, w)` probabilities that agree.

    A pixel agrees when it is of the same class, or of one that is as probable, and no probability differs by more than
    `tolerance`. With one class (K = 1) `threshold` decides the class. The fraction is 0 when the shapes differ or a
    value is not finite.
    """
    if maps.shape != reference.shape or not np.isfinite(maps).all():
        return 0.0
    classes = np.stack([class_map(image, threshold) for image in maps])
    if reference.shape[1] == 2:
        same = classes == np.stack([class_map(image, threshold) for image in reference])
        same |= np.abs(reference[:, 1] - threshold) < _TIE
    else:
        assigned = np.take_along_axis(reference, classes[:, None], axis=1)[:, 0]
        same = assigned > reference.max(axis=1) - _TIE
    near = np.abs(maps - reference).max(axis=1) <= tolerance
    return float((same & near).mean())


def timed_run(run: NetworkFunction, images: Maps) -> tuple[Maps, float]:
    """Return the probabilities of images `(B, 1, h, w)`, run one at a time, and the shortest time in milliseconds."""
    maps: list[Maps] = []
    seconds: list[float] = []
    while len(maps) < len(images) or sum(seconds) < _SECONDS:
        started = time.perf_counter()
        maps.append(run(images[len(maps) % len(images)][None]))
        seconds.append(time.perf_counter() - started)
    # The shortest, because the first run also allocates memory and chooses kernels.
    return np.concatenate(maps[: len(images)]), 1000 * min(seconds)


def simulated_image(size: tuple[int, int], number: int, random: np.random.Generator) -> Pixels:
    """Return an image `(H, W)` uint8 of `sample_images`, before the normalisation; `number` decides its kind."""
    height, width = size
    tissue = cv2.GaussianBlur(random.random(size, dtype=np.float32), (0, 0), max(size) / 16)
    tissue = cv2.normalize(tissue, None, 20, 120, cv2.NORM_MINMAX)
    centre = (round(width * random.uniform(0.4, 0.6)), round(height * random.uniform(0.4, 0.6)))
    axes = (round(width * random.uniform(0.2, 0.35)), round(height * random.uniform(0.2, 0.35)))
    angle = random.uniform(-20, 20)
    if number:
        cv2.ellipse(tissue, centre, axes, angle, 0, 360, 40, cv2.FILLED)
    cv2.ellipse(tissue, centre, axes, angle, 0, 360 if number else 180, 230, max(2, min(size) // 40))
    cv2.line(tissue, (centre[0], 0), (centre[0], height), 160, max(2, min(size) // 60))
    speckle = cv2.GaussianBlur(random.rayleigh(0.8, size).astype(np.float32), (0, 0), 1)
    image = np.clip(tissue * speckle, 0, 255).astype(np.uint8)
    if number == _IMAGES - 1:
        margin = width // 8
        image[:, :margin] = image[:, width - margin :] = 0
    return image
