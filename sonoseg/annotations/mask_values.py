"""From mask files to label maps: the meaning of their values, and the filling of outlines."""

from collections.abc import Sequence

import cv2
import numpy as np

from sonoseg.annotations.smoothed_edges import smoothed_edges
from sonoseg.schema.annotations import Structure, drawing_order, label_values
from sonoseg.types import Mask, Pixels

THIN, THIN_PX = 0.02, 6.0
"""An outline is nowhere thicker than this fraction of the image diagonal, or these pixels; thicker masks are filled."""


def class_indices(
    values: Pixels, class_names: Sequence[str], meaning: Sequence[tuple[int, str | None]] = ()
) -> tuple[Pixels, str | None]:
    """Return class indices `(H, W)` uint8 for a mask's stored values `(H, W)` uint8, and a warning or None.

    meaning: (value, class) pairs, where there are any; 0 is background, and so is a value whose class is None.

    One class: 0 and another value (1, 255, ...) are background and class; further grey values (soft or JPEG edges)
    are cut at half of the largest, with a warning. Several classes: the values are the indices themselves, with a
    warning where they look smoothed. Raises ValueError for a value above the number of classes, or without a meaning.
    """
    if meaning:
        labels = _translated(values, meaning, class_names)
        return labels, smoothed_edges(labels, class_names)
    present = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    classes = len(class_names)
    if classes == 1:
        if len(present) <= 2 and (present[0] == 0 or len(present) == 1):
            return (values > 0).astype(np.uint8), None
        half = int(present[-1]) / 2
        note = f"{len(present)} grey values, {present[0]} to {present[-1]}: read as the class above {half:g}"
        return (values > half).astype(np.uint8), note
    if present[-1] > classes:
        expected = ", ".join(f"{index} {name}" for index, name in enumerate(["background", *class_names]))
        unknown = [int(value) for value in present if value > classes]
        raise ValueError(f"mask values {_short(unknown)} are no class; expected {expected}")
    return values, smoothed_edges(values, class_names)


def _translated(values: Pixels, meaning: Sequence[tuple[int, str | None]], class_names: Sequence[str]) -> Pixels:
    """Return class indices `(H, W)` uint8 for stored values `(H, W)` uint8 whose (value, class) pairs are given.

    0 is background, and so is None. Raises ValueError for a value without a meaning.
    """
    table, known = np.zeros(256, np.uint8), np.zeros(256, bool)
    known[0] = True
    for value, name in meaning:
        table[value], known[value] = 0 if name is None else class_names.index(name) + 1, True
    unknown = [int(value) for value in np.flatnonzero(np.bincount(values.ravel(), minlength=256)) if not known[value]]
    if unknown:
        expected = ", ".join(f"{value} {name or 'background'}" for value, name in [(0, None), *meaning])
        raise ValueError(f"mask values {_short(unknown)} are not in annotations.values; expected {expected}")
    return table[values]


def _short(values: list[int]) -> str:
    text = ", ".join(map(str, values[:5]))
    return f"{text}, ..." if len(values) > 5 else text


def fill_label_outlines(labels: Pixels, structures: Sequence[Structure]) -> Pixels:
    """Return a label map `(H, W)` uint8 with the outlines of every class filled, covered classes first."""
    index_of = label_values(structures)
    filled = np.zeros_like(labels)
    for structure in drawing_order(structures):
        index = index_of[structure.name]
        filled[fill_outline(labels == index)] = index
    return filled


def fill_outline(annotation: Mask) -> Mask:
    """Return a mask `(H, W)` with the area that its outlines enclose; an empty or filled mask is returned unchanged.

    Enclosed is a component of the background (4-connected, so that it does not leak through a diagonal step of the
    line) that does not touch the image border. An outline that the border cuts, of a head larger than the image, also
    encloses the components that touch the border when more than half of each lies in the convex hull of the line.
    """
    if not annotation.any():
        return annotation
    background = (~annotation).astype(np.uint8)
    count, components = cv2.connectedComponents(background, connectivity=4)
    at_border = np.zeros(count, dtype=bool)
    for edge in (components[0], components[-1], components[:, 0], components[:, -1]):
        at_border[edge] = True
    enclosed = ~at_border
    if is_thin(annotation):
        area = np.bincount(components.ravel(), minlength=count)
        in_hull = np.bincount(components[_hull(annotation)], minlength=count)
        enclosed |= 2 * in_hull > area
    enclosed[0] = False  # component 0 is the annotation itself
    return annotation | enclosed[components]


def is_thin(annotation: Mask) -> bool:
    """Return whether a mask `(H, W)` bool, not empty, is a line: not thicker than 6 pixels or 2 % of its diagonal."""
    rows, columns = np.flatnonzero(annotation.any(axis=1)), np.flatnonzero(annotation.any(axis=0))
    # With a pixel of background around it where the image has one: beyond the border the line may continue.
    box = annotation[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2]
    depth = cv2.distanceTransform(box.astype(np.uint8), cv2.DIST_L2, 5)
    return 2 * float(depth.max()) <= max(THIN_PX, THIN * float(np.hypot(*annotation.shape)))


def _hull(annotation: Mask) -> Mask:
    rows, columns = np.nonzero(annotation)
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))
    mask = np.zeros(annotation.shape, dtype=np.uint8)
    cv2.fillConvexPoly(mask, hull, 1)
    return mask.astype(bool)
