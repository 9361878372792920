"""Mask pictures to label maps: what their values mean, and the filling of outlines."""

import cv2
import numpy as np

from sonoseg.annotations.smoothed_edges import smoothed_edges
from sonoseg.schema.annotations import drawing_order
from sonoseg.schema.task import Task
from sonoseg.types import Pixels

THIN, THIN_PX = 0.02, 6.0
"""An outline is nowhere thicker than this part of the image's diagonal, or these pixels; anything thicker is filled."""


def class_indices(values: Pixels, task: Task) -> tuple[Pixels, str | None]:
    """Return class indices `(H, W)` uint8 for a mask's stored values, and a warning or None.

    One class: 0 and one other value (1, 255, ...) are background and class; further grey values (soft or JPEG edges)
    are cut at half of the largest, with a warning. Several classes: the values are the indices themselves, with a
    warning where they look smoothed. Raises ValueError for a value above the number of classes.
    """
    found = np.flatnonzero(np.bincount(values.ravel(), minlength=256))
    classes = len(task.class_names)
    if classes == 1:
        if len(found) <= 2 and (found[0] == 0 or len(found) == 1):
            return (values > 0).astype(np.uint8), None
        half = int(found[-1]) / 2
        read = f"{len(found)} grey values, {found[0]} to {found[-1]}: read as the class above {half:g}"
        return (values > half).astype(np.uint8), read
    if found[-1] > classes:
        expected = ", ".join(f"{index} {name}" for index, name in enumerate(["background", *task.class_names]))
        unknown = [int(value) for value in found if value > classes]
        raise ValueError(f"mask values {_short(unknown)} are no class; expected {expected}")
    return values, smoothed_edges(values, task)


def _short(values: list[int]) -> str:
    text = ", ".join(map(str, values[:5]))
    return f"{text}, ..." if len(values) > 5 else text


def fill_label_outlines(labels: Pixels, task: Task) -> Pixels:
    """Fill the outlines of every class of a label map, covered classes first."""
    filled = np.zeros_like(labels)
    for structure in drawing_order(task.structures):
        index = task.index_of(structure.name)
        filled[fill_outline(labels == index)] = index
    return filled


def fill_outline(annotation: np.ndarray) -> np.ndarray:
    """Return a bool mask `(H, W)` with what its outlines enclose added; an empty or filled mask comes back unchanged.

    Enclosed is a piece of background (4-connected, so that it does not leak through a diagonal step of the line) that
    does not touch the image's border. An outline that the border cuts, of a head larger than the picture, also encloses
    the pieces that do touch it when more than half of each lies in the convex hull of the line.
    """
    if not annotation.any():
        return annotation
    background = (~annotation).astype(np.uint8)
    count, pieces = cv2.connectedComponents(background, connectivity=4)
    at_border = np.zeros(count, dtype=bool)
    for edge in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        at_border[edge] = True
    enclosed = ~at_border
    if is_thin(annotation):
        area = np.bincount(pieces.ravel(), minlength=count)
        in_hull = np.bincount(pieces[_hull(annotation)], minlength=count)
        enclosed |= 2 * in_hull > area
    enclosed[0] = False  # piece 0 is the annotation itself
    return annotation | enclosed[pieces]


def is_thin(annotation: np.ndarray) -> bool:
    """Tell whether a bool mask, not empty, is a line: nowhere thicker than 6 pixels or 2 % of the diagonal."""
    rows, columns = np.flatnonzero(annotation.any(axis=1)), np.flatnonzero(annotation.any(axis=0))
    # With one pixel of background around it where the image has one: beyond the border the line may go on.
    box = annotation[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2]
    depth = cv2.distanceTransform(box.astype(np.uint8), cv2.DIST_L2, 5)
    return 2 * float(depth.max()) <= max(THIN_PX, THIN * float(np.hypot(*annotation.shape)))


def _hull(annotation: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(annotation)
    hull = cv2.convexHull(np.stack([columns, rows], axis=1).astype(np.int32))
    mask = np.zeros(annotation.shape, dtype=np.uint8)
    cv2.fillConvexPoly(mask, hull, 1)
    return mask.astype(bool)
