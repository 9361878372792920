"""Cleaning of a label map, and completion of masks that another class covers.

A label map holds one class per pixel. Where one class is drawn over another (EPI over MID, MID over VTB) the lower
class has a gap there, so its components are filtered together, and its mask is completed before it is measured.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.extent import extent
from sonoseg.schema.annotations import Structure, drawing_order, label_values
from sonoseg.schema.results import Postprocessing
from sonoseg.types import Mask, Pixels

_WIDEST_CROSSING = 2.0
"""Longest gap that is bridged, in widths of the covering class: it crosses at 30 degrees or more."""

_STRAIGHT_CROSSING = 1.2
"""Longest gap across which pieces of a line are one whatever their direction: pieces as short as the gap have none."""


def clean(labels: Pixels, structures: Sequence[Structure], postprocessing: Postprocessing) -> Pixels:
    """Return `labels` `(H, W)` uint8 without small or surplus components; their pixels become background.

    Components that only a covering class separates count as one. A component is removed when it is smaller than
    `postprocessing.min_area_fraction` of the image, or, for `keep: largest`, when another one is larger.
    """
    whole = labels.copy()
    part = extent(labels)
    labels, cleaned = labels[part], whole[part]
    if not labels.size:
        return whole
    values = label_values(structures)
    full: dict[str, Mask] = {}
    dropped: dict[str, Mask] = {}
    smallest = postprocessing.min_area_fraction * whole.size
    for structure in reversed(drawing_order(structures)):
        value = values[structure.name]
        own = cleaned == value
        if postprocessing.fill_gaps:
            # Pixels removed from a covering class belong to the class below where that surrounds them.
            own = _completed(own, _union(dropped, structure, labels.shape), structure)
            cleaned[own] = value
        cover = _union(full, structure, labels.shape)
        kept = _kept(own, cover, smallest, only_largest=structure.keep == "largest")
        cleaned[own & ~kept] = 0
        full[structure.name] = _completed(kept, cover, structure)
        dropped[structure.name] = (labels == value) & ~kept
    return whole


def full_masks(labels: Pixels, structures: Sequence[Structure], postprocessing: Postprocessing) -> NDArray[np.bool_]:
    """Return one mask per class, `(K, H, W)` bool in task order, from a label map `(H, W)` uint8.

    With `postprocessing.fill_gaps` a class also gets the pixels of the classes that cover it which lie inside the
    convex hull of its own pixels; without it, only its own. A class without a pixel stays empty. Pieces of a line that
    lie beside it stay in the mask, but the hull leaves them out.
    """
    if not postprocessing.fill_gaps:
        return np.stack([labels == index for index in range(1, len(structures) + 1)])
    masks = np.zeros((len(structures), *labels.shape), bool)
    rows, columns = extent(labels)
    labels = labels[rows, columns]
    if not labels.size:
        return masks
    values = label_values(structures)
    full: dict[str, Mask] = {}
    # From the top: where EPI lies over MID over VTB, MID is completed first, and then VTB.
    for structure in reversed(drawing_order(structures)):
        own = labels == values[structure.name]
        full[structure.name] = _completed(own, _union(full, structure, labels.shape), structure)
    for mask, name in zip(masks, values, strict=True):
        mask[rows, columns] = full[name]
    return masks


def inside_hull(own: Mask, candidates: Mask) -> Mask:
    """Return the candidates whose centre lies in the convex hull of the pixel centres of `own`, the boundary included.

    Tested edge by edge: a filled polygon would include boundary pixels whose centre is outside. Empty masks give an
    empty mask.
    """
    inside = np.zeros_like(candidates)
    if not candidates.any() or not own.any():
        return inside
    outlines, _ = cv2.findContours(own.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    corners = cv2.convexHull(np.concatenate(outlines), clockwise=False).reshape(-1, 2)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    rows, columns = np.nonzero(candidates[top : bottom + 1, left : right + 1])
    rows, columns = rows + top, columns + left
    kept = np.ones(rows.size, bool)
    for (x, y), (next_x, next_y) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
        # OpenCV defines the orientation for y upwards: in image coordinates this hull runs clockwise.
        kept &= (next_x - x) * (rows - y) >= (next_y - y) * (columns - x)
    inside[rows[kept], columns[kept]] = True
    return inside


def _union(full: dict[str, Mask], structure: Structure, shape: tuple[int, ...]) -> Mask:
    covers = [full[name] for name in structure.covered_by]
    return np.logical_or.reduce(covers) if covers else np.zeros(shape, bool)


def _completed(own: Mask, cover: Mask, structure: Structure) -> Mask:
    """Return `own` and the pixels of `cover` in its convex hull, which stray pieces of a line would widen."""
    if not cover.any():
        return own
    kind = SHAPE_KINDS[structure.shape]
    main = kind.without_stray_pieces(own)
    if not np.array_equal(main, own):  # or they are separated by `cover`
        main = kind.without_stray_pieces(own, _bridges(own, cover, _STRAIGHT_CROSSING))
    return own | inside_hull(main, cover)


def _kept(own: Mask, cover: Mask, smallest: float, only_largest: bool) -> Mask:
    """Return the pixels of `own` whose component is large enough; components joined by `cover` are one component."""
    count, components = cv2.connectedComponents(own.view(np.uint8), connectivity=8)
    if count > 2:  # several besides the background
        _, components = cv2.connectedComponents((own | _bridges(own, cover)).view(np.uint8), connectivity=8)
    areas = np.bincount(components[own])  # own pixels only: a bridge adds no area
    kept = areas >= max(smallest, 1)
    if only_largest and kept.any():
        kept &= np.arange(areas.size) == areas.argmax()
    if kept[1:].all():
        return own
    return own & np.append(kept, False)[np.minimum(components, kept.size)]


def _bridges(own: Mask, cover: Mask, widest: float = _WIDEST_CROSSING) -> Mask:
    """Return the pixels of `cover` that may join two components of `own`.

    They lie no further from `own` than half of the longest gap, which is `widest` widths of the cover. Without that
    limit a small component anywhere along a midline would be joined through it to the vertebral body at its end.
    """
    bridges = np.zeros_like(own)
    rows, columns = extent(cover)
    # No pixel of `cover` is further from its border than half its smaller side: what lies beyond has no influence.
    side = min(rows.stop - rows.start, columns.stop - columns.start)
    part = extent(cover, margin=math.ceil(widest * (side + 1) / 2))
    own, cover = own[part], cover[part]
    if not cover.any() or not own.any():
        return bridges
    half_width = cv2.distanceTransform(np.pad(cover, 1).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).max()
    distance = cv2.distanceTransform((~own).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Both sides reach half of the longest gap.
    bridges[part] = cover & (distance <= widest * half_width)
    return bridges
