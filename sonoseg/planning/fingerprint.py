"""The facts about an annotated dataset from which a training is planned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from sonoseg.geometry.shapes import fit_dice
from sonoseg.io.masks import decode_label_map
from sonoseg.models.registry import registered_model
from sonoseg.prepare.statistics import evenly
from sonoseg.prepare.verify import VerifiedImage
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size
from sonoseg.types import Pixels

INITIAL = "fetal_head"
"""Model that comes with SonoSeg whose weights small data sets start from."""
MASKS = 60
"""Label maps that are measured, evenly over the dataset: more change no choice, and cost seconds each."""

MANY = 10
"""Images that show a structure, or a pair of them, below which nothing is concluded from their positions."""


@dataclass(frozen=True)
class StructureFacts:
    """A structure over the measured label maps that show it.

    present: fraction of all images that show it. area: median fraction of the image. length: 10th, 50th and 90th
    percentile of the longer side of its bounding box, side_px: 5th percentile of the root of its area; both as a
    fraction of the image's longer side. offsets: `(N, 2)` (x, y) of its centres from the image's centre, as fractions
    of width and height. fit_dice: median Dice of mask and fitted shape, None for regions.
    """

    structure: Structure
    present: float
    area: float
    length: tuple[float, float, float]
    side: float
    offsets: np.ndarray
    fit_dice: float | None

    @property
    def name(self) -> str:
        return self.structure.name


@dataclass(frozen=True)
class Fingerprint:
    """What the images of a training part are like.

    images, patients: how many. size: the median (height, width). aspects: 5th and 95th percentile of width / height.
    pairs: (name, other) -> `(N, 2)` offsets of their centres in images that show both. maps: measured label maps.
    seen: how many of the images the weights were trained on that a small data set starts from. validating: images of
    the fold that validates.
    """

    images: int
    patients: int
    size: Size
    aspects: tuple[float, float]
    structures: Sequence[StructureFacts]
    pairs: Mapping[tuple[str, str], np.ndarray]
    maps: Sequence[Pixels]
    seen: int = 0
    validating: int = 0

    @property
    def longer_side(self) -> int:
        return max(self.size)


def fingerprint_of(
    images: Sequence[VerifiedImage], structures: Sequence[Structure], patients: int, validating: int = 0
) -> Fingerprint:
    """Return the fingerprint of images that can be used, at least one. No image is decoded, at most MASKS masks are.

    patients: how many. validating: how many of the images are of the fold that validates.
    """
    maps = [decode_label_map(image.mask_png) for image in evenly(images, MASKS)]
    heights, widths = np.array([(image.height, image.width) for image in images]).T
    low, high = np.quantile(widths / heights, (0.05, 0.95))
    centres = [_centres(labels, len(structures)) for labels in maps]
    pairs = {
        (first.name, second.name): np.array([c[i] - c[j] for c in centres if i in c and j in c]).reshape(-1, 2)
        for i, first in enumerate(structures)
        for j, second in enumerate(structures)
        if i < j
    }
    facts = [
        _facts(structure, index, images, maps, np.array([c[index] for c in centres if index in c]).reshape(-1, 2))
        for index, structure in enumerate(structures)
    ]
    size = int(np.median(heights)), int(np.median(widths))
    initial = registered_model(INITIAL)
    seen = sum(initial.trained_on_file(image.sha256) for image in images) if initial else 0
    return Fingerprint(len(images), patients, size, (float(low), float(high)), facts, pairs, maps, seen, validating)


def _facts(
    structure: Structure, index: int, images: Sequence[VerifiedImage], maps: Sequence[Pixels], offsets: np.ndarray
) -> StructureFacts:
    lengths, sides, areas, dices = [], [], [], []
    for labels in maps:
        mask = labels == index + 1
        pixels = int(np.count_nonzero(mask))
        if not pixels:
            continue
        longer = max(labels.shape)
        _, _, width, height = cv2.boundingRect(mask.view(np.uint8))
        lengths.append(max(width, height) / longer)
        sides.append(pixels**0.5 / longer)
        areas.append(pixels / labels.size)
        if structure.shape in ("ellipse", "rectangle"):
            dices.append(fit_dice(mask, structure.shape))
    present = sum(image.present[structure.name] for image in images) / len(images)
    if not lengths:
        return StructureFacts(structure, present, 0.0, (0.0, 0.0, 0.0), 0.0, offsets, None)
    low, median, high = (float(value) for value in np.quantile(lengths, (0.1, 0.5, 0.9)))
    side, fit = float(np.quantile(sides, 0.05)), float(np.median(dices)) if dices else None
    return StructureFacts(structure, present, float(np.median(areas)), (low, median, high), side, offsets, fit)


def _centres(labels: Pixels, classes: int) -> dict[int, np.ndarray]:
    """Return {class, from 0: (x, y) of its centre from the image's, as fractions of width and height}."""
    height, width = labels.shape
    centres = {}
    for index in range(classes):
        moments = cv2.moments((labels == index + 1).view(np.uint8), binaryImage=True)
        if moments["m00"]:
            x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
            centres[index] = np.array([(x + 0.5) / width - 0.5, (y + 0.5) / height - 0.5])
    return centres
