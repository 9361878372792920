"""Label maps that were resized with interpolation or blurred: between two classes they show a third that is not there.

Halfway from background (0) to class 2 a smoothed edge has the value 1. Such a rim runs all around the structure, and
its pixels lie between a lower and a higher class. So does, here and there, a pixel of a line that crosses an edge, and
every pixel of a line one pixel wide that lies against one side of a structure. What tells them apart is how much of the
higher classes' edge has the rim, and that it faces all directions.

Of 4000 maps drawn without smoothing (lines 1 to 4 pixels wide across, beside and along two sides of rectangles and
ellipses, wavy layers) none is named, nor are walls 2 or more pixels thick around a structure, nor the phantoms of the
spine task at either size. Not found are edges that are blurred so much that the rim is a wall of its own (a Gaussian of
2 pixels, or four times enlarged, unless other classes tell; along upright edges of class 2 one of 1 pixel), straight
edges that the border cuts off, and rectangles whose sides fell on whole pixels. A wall exactly one pixel wide all
around a structure is named, truly there or not.
"""

import cv2
import numpy as np

from sonoseg.schema.task import Task
from sonoseg.types import Pixels

FEWEST = 8
"""Pixels: fewer are a corner or a crossing."""

EDGE, EDGE_ALONE = 0.55, 0.3
"""Share of the higher classes' edge that has the rim; less is enough for a class that is almost nothing but rim. Maps
without smoothing reach 0.53 (a wall of 2 pixels, of whose pixels at most a third are rim)."""

ALMOST_ONLY = 0.9
"""Part of a class's pixels from which it is called almost only a rim."""

ONE_SIDED = 0.5
"""Length of the mean unit vector across the rim: 0 all around a structure, 0.64 for half a disc, 1 along one side."""

NEIGHBOURS = np.ones((3, 3), np.uint8)


def smoothed_edges(labels: Pixels, task: Task) -> str | None:
    """Return what was seen of false classes at the edges of a label map `(H, W)`; None when nothing was."""
    lowest, highest = cv2.erode(labels, NEIGHBOURS), cv2.dilate(labels, NEIGHBOURS)
    between = (lowest < labels) & (labels < highest)
    if np.count_nonzero(between) < FEWEST:
        return None
    across = np.stack([cv2.Sobel(labels, cv2.CV_32F, 1, 0), cv2.Sobel(labels, cv2.CV_32F, 0, 1)])
    across /= np.maximum(np.linalg.norm(across, axis=0), 1)
    seen = []
    for index in range(1, len(task.class_names)):
        here = labels == index
        rim = between & here
        count = int(np.count_nonzero(rim))
        if count < FEWEST or np.linalg.norm(across[:, rim].mean(axis=1)) > ONE_SIDED:
            continue
        edge = (labels > index) & (lowest <= index)
        share = np.count_nonzero(edge & (cv2.dilate(rim.view(np.uint8), NEIGHBOURS) > 0)) / np.count_nonzero(edge)
        only = count / np.count_nonzero(here) >= ALMOST_ONLY
        if share >= (EDGE_ALONE if only else EDGE):
            low, high = (_named(int(np.bincount(values[rim]).argmax()), task) for values in (lowest, highest))
            lies = "is almost only a rim" if only else f"lies as a rim on {share:.0%} of the edge"
            seen.append(f"{_named(index, task)} {lies} between {low} and {high} ({count} pixels in all)")
    if not seen:
        return None
    return f"{'; '.join(seen)}: are these edges smoothed? masks of several classes must be saved without interpolation"


def _named(index: int, task: Task) -> str:
    return f"class {index} {task.class_names[index - 1]}" if index else "background"
