"""Quality features: what a result shows about its own accuracy, without a reference."""

import math
from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.extent import extent
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotations import Structure
from sonoseg.types import Maps, Mask, Pixels, Points

FEATURES = ("uncertainty", "band", "disagreement", "residual", "pieces", "border", "smallness")
"""Names of a structure's features, in the order in which a quality model weights them; see `quality_features`."""

_BAND = (0.25, 0.75)
_LEAST_PIECE = 0.01
"""Components smaller than this fraction of the mask are not counted."""
_OUTLINE_POINTS = 90
"""About how many points of an outline are compared with that of the shape."""


def quality_features(
    masks: NDArray[np.bool_],
    shapes: Iterable[Shape],
    agreement: Mapping[str, float],
    confidence: Mapping[str, float],
    probabilities: Maps,
    structures: Sequence[Structure],
) -> dict[str, dict[str, float]]:
    """Return structure -> feature (`FEATURES`) -> value, for the structures that have a confidence.

    masks: the network's, `(K, H, W)` bool in task order; agreement: of ellipses and rectangles with their masks, see
    `Findings.shape_agreement`; probabilities: `(1 + K, H, W)` float32, background first.
    Each value is finite, and larger where less can be expected. All are pure numbers, so that they hold for any pixel
    size; the diameter is that of a disc with the mask's area.

    uncertainty: 1 minus the confidence. band: mean width of the band of probabilities from 0.25 to 0.75 along the
    outline / diameter. disagreement: 1 minus the intersection over union of the mask and its shape (a line at its
    thickness); residual: root mean square distance of the mask's outline from the shape's / diameter (0 for a line);
    both 0 for a region, whose shape is its outline. pieces: natural logarithm of the number of connected components of
    likely pixels. border: share of the outline on the image's border. smallness: minus the natural logarithm of the
    mask's share of the image.
    """
    first: dict[str, Shape] = {}
    for shape in shapes:
        first.setdefault(shape.structure, shape)
    features = {}
    for index, (structure, mask) in enumerate(zip(structures, masks, strict=True), start=1):
        if structure.name in confidence:
            values = _of_mask(mask, first.get(structure.name), structure.thickness_px)
            if structure.name in agreement:
                values["disagreement"] = 1 - agreement[structure.name]
            values |= _of_probabilities(probabilities[index], mask, len(probabilities) == 2)
            features[structure.name] = {"uncertainty": 1 - confidence[structure.name]} | values
    return features


def _of_mask(mask: Mask, shape: Shape | None, thickness_px: float | None) -> dict[str, float]:
    """Return the features of a mask `(H, W)` bool with a pixel; `disagreement` is that of a line, and else 0."""
    rows, columns = extent(mask)
    contours, _ = cv2.findContours(mask[rows, columns].view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outline = np.concatenate(contours)[:, 0] + np.array([columns.start, rows.start])
    area = int(np.count_nonzero(mask[rows, columns]))
    last = np.array(mask.shape[::-1]) - 1
    values = {
        "disagreement": 0.0,
        "residual": 0.0,
        "border": float(((outline == 0) | (outline == last)).any(axis=1).mean()),
        "smallness": math.log(mask.size / area),
    }
    if shape is not None and SHAPE_KINDS[shape.kind].is_closed and shape.kind != "region":
        values["residual"] = _distance(outline, shape.outline(_OUTLINE_POINTS)) / _diameter(area)
    elif shape is not None and shape.kind == "line":
        window, drawn = shape.draw((mask.shape[0], mask.shape[1]), thickness_px)
        both = int(np.count_nonzero(drawn & mask[window]))
        values["disagreement"] = 1 - both / (area + int(np.count_nonzero(drawn)) - both)
    return values


def _of_probabilities(probabilities: Maps, mask: Mask, is_single: bool) -> dict[str, float]:
    """Return the features of a class's probabilities `(H, W)` float32; `is_single`: the task has one class."""
    area = int(np.count_nonzero(mask))
    part = probabilities[extent((probabilities >= _BAND[0]).view(np.uint8))]
    if not part.size:  # of several classes the most probable one may have less
        return {"band": 0.0, "pieces": 0.0}
    # Not by OpenCV, which takes small arrays for scalars.
    band = (part >= _BAND[0]) & (part <= _BAND[1])
    likely = (part >= (0.5 if is_single else _BAND[1])).view(np.uint8)
    pieces = _count_pieces(likely, _LEAST_PIECE * area)
    # A band of width w along a disc's outline has the area pi * diameter * w.
    return {
        "band": int(np.count_nonzero(band)) / (math.pi * _diameter(area) ** 2),
        "pieces": math.log(max(pieces, 1)),
    }


def _count_pieces(mask: Pixels, least: float) -> int:
    """Return how many 8-connected pieces of a mask `(H, W)` of 0 and 1 have at least `least` pixels."""
    # A piece has one outer border. To follow the borders takes a tenth of the time of labelling all pixels.
    borders, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(borders) == 1:
        return int(np.count_nonzero(mask) >= least)
    _, _, sizes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return int(np.count_nonzero(sizes[1:, cv2.CC_STAT_AREA] >= least))


def _diameter(area: int) -> float:
    return 2 * math.sqrt(area / math.pi)


def _distance(outline: NDArray[np.int64], polygon: Points) -> float:
    """Return the root mean square distance of an outline `(N, 2)` from a closed polygon `(M, 2)`."""
    points = outline[:: max(1, len(outline) // _OUTLINE_POINTS), None].astype(np.float64)
    along = np.roll(polygon, -1, axis=0) - polygon
    squared = np.maximum((along**2).sum(axis=1), np.finfo(float).tiny)
    position = np.clip(((points - polygon) * along).sum(axis=2) / squared, 0, 1)
    nearest = ((points - polygon - position[..., None] * along) ** 2).sum(axis=2).min(axis=1)
    return math.sqrt(float(nearest.mean()))
