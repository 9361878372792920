"""A structure as it was found: its colour, the kind of shape that fits its masks, and what lies on top of it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import cv2
import numpy as np

from sonoseg.annotations.mask_values import fill_outline, is_thin
from sonoseg.geometry.shapes import KindName, fit_dice
from sonoseg.schema.annotations import Structure
from sonoseg.types import Mask

SAMPLED = 24
"""Annotations whose shapes are looked at."""
COLORS = ("#3bceac", "#ffd23f", "#ee4266", "#4d96ff", "#ff924c", "#b388eb", "#80ed99", "#f15bb5")
FITS, LINE_FITS, ELONGATED = 0.985, 0.75, 6.0
"""Median Dice from which a shape is proposed for a structure, and how long a line is compared with its width."""
MOST_OUTLINED, FILLED = 0.8, 2
"""Part of the masks that are thin and enclose as much again as they have, from which masks are outlines."""
LARGE = 0.6
"""Part of the image that few structures cover; masks above it may have background and structure exchanged."""


@dataclass(frozen=True)
class FoundStructure:
    """A structure as it was found. labels: of an annotation tool, that mean it. reason: why it has this shape."""

    name: str
    shape: KindName
    color: str
    reason: str
    thickness_px: float | None = None
    labels: tuple[str, ...] = ()
    covered_by: tuple[str, ...] = ()

    def structure(self) -> Structure:
        return Structure(
            name=self.name,
            shape=self.shape,
            color=self.color,
            thickness_px=self.thickness_px,
            covered_by=list(self.covered_by),
        )


def color_of(number: int) -> str:
    return COLORS[number % len(COLORS)]


def are_outlines(masks: Sequence[Mask]) -> bool:
    """Return whether the masks `(H, W)` bool that are not empty, at least one, are outlines to be filled."""
    shown = [mask for mask in masks if mask.any()]
    thin = [mask for mask in shown if is_thin(mask) and fill_outline(mask).sum() > FILLED * mask.sum()]
    return bool(shown) and len(thin) >= MOST_OUTLINED * len(shown)


def fitted(name: str, color: str, masks: Sequence[Mask]) -> FoundStructure:
    """Return a structure with the kind of shape that fits its masks `(H, W)` bool, and how well each kind does."""
    masks = [mask for mask in masks if mask.any()]
    if not masks:
        return FoundStructure(name, "region", color, "no mask that was looked at shows it")
    depths = [cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5).max() for mask in masks]
    width = float(np.median([2 * depth - 1 for depth in depths]))
    length = float(np.median([np.hypot(*np.ptp(np.argwhere(mask), axis=0)) for mask in masks]))
    kinds: tuple[KindName, ...] = ("line", "rectangle", "ellipse")
    fits = {kind: float(np.median([fit_dice(mask, kind, width) for mask in masks])) for kind in kinds}
    reason = f"Dice of fitted shapes: {', '.join(f'{kind} {value:.2f}' for kind, value in fits.items())}"
    share = float(np.median([mask.mean() for mask in masks]))
    if share > LARGE:
        reason += f"; covers {share:.0%} of an image: are structure and background exchanged?"
    if fits["line"] >= LINE_FITS and length >= ELONGATED * width:
        return FoundStructure(name, "line", color, reason, round(min(max(1.0, width), 1000.0), 1))
    best: KindName = "ellipse" if fits["ellipse"] >= fits["rectangle"] else "rectangle"
    return FoundStructure(name, best if fits[best] >= FITS else "region", color, reason)


def with_covers(
    found: Sequence[FoundStructure], drawn: Sequence[Mapping[str, Mask]], names: Sequence[str]
) -> list[FoundStructure]:
    """Return the structures with `covered_by`: where two cross, the one that is smaller on average is on top.

    drawn: masks of each image by the structure's name in `names`, which has those of `found` in the same order.
    """
    areas = [np.mean([masks[name].sum() for masks in drawn if name in masks] or [0]) for name in names]
    covers = defaultdict(list)
    for (first, name), (second, other) in combinations(enumerate(names), 2):
        if any(name in masks and other in masks and (masks[name] & masks[other]).any() for masks in drawn):
            below, above = (first, second) if areas[first] >= areas[second] else (second, first)
            covers[below].append(found[above].name)
    return [replace(one, covered_by=tuple(covers.get(index, ()))) for index, one in enumerate(found)]
