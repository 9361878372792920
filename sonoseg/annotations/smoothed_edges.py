"""Detection of label maps that were resized with interpolation or blurred: at edges they contain false classes.

Half-way from background (0) to class 2 a smoothed edge has the value 1. Such a rim surrounds the structure, and its
pixels lie between a lower and a higher class. Pixels with this property also occur without smoothing: some pixels of a
line that crosses an edge, and every pixel of a line one pixel wide along one side of a structure. The share of the
higher classes' edge that has the rim, and the rim's directions, distinguish the two cases.

Of 4000 maps drawn without smoothing (lines 1 to 4 pixels wide across, beside and along two sides of rectangles and
ellipses, wavy layers) none is reported, nor are walls of 2 or more pixels around a structure, nor the phantoms of the
spine task at either size. Not detected are edges with so much blur that the rim is as wide as a wall (a Gaussian of 2
pixels, or four-fold enlargement, unless other classes show it; along upright edges of class 2 a Gaussian of 1 pixel),
straight edges that the border cuts off, and rectangles whose sides coincide with pixel borders. A wall of exactly one
pixel all around a structure is reported even when it is anatomy.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from sonoseg.types import Pixels

MIN_RIM_PIXELS = 8
"""Number of pixels of a rim; fewer are a corner or a crossing."""

EDGE, EDGE_ALONE = 0.55, 0.3
"""Share of the higher classes' edge that has the rim; the second is for a class with almost no other pixels. Maps
without smoothing reach 0.53 (a wall of 2 pixels, of which at most a third are rim)."""

ALMOST_ONLY = 0.9
"""Share of a class's pixels that are rim, from which the class is almost only a rim."""

ONE_SIDED = 0.5
"""Length of the mean unit vector across the rim: 0 around a structure, 0.64 for half a disc, 1 on a straight side."""

NEIGHBOURS = np.ones((3, 3), np.uint8)


def smoothed_edges(labels: Pixels, class_names: Sequence[str]) -> str | None:
    """Return a sentence on the false classes at the edges of a label map `(H, W)` uint8; None without any."""
    lowest, highest = cv2.erode(labels, NEIGHBOURS), cv2.dilate(labels, NEIGHBOURS)
    between = (lowest < labels) & (labels < highest)
    if np.count_nonzero(between) < MIN_RIM_PIXELS:
        return None
    across = np.stack([cv2.Sobel(labels, cv2.CV_32F, 1, 0), cv2.Sobel(labels, cv2.CV_32F, 0, 1)])
    across /= np.maximum(np.linalg.norm(across, axis=0), 1)
    descriptions = []
    for index in range(1, len(class_names)):
        mask = labels == index
        rim = between & mask
        count = int(np.count_nonzero(rim))
        if count < MIN_RIM_PIXELS or np.linalg.norm(across[:, rim].mean(axis=1)) > ONE_SIDED:
            continue
        edge = (labels > index) & (lowest <= index)
        share = np.count_nonzero(edge & (cv2.dilate(rim.view(np.uint8), NEIGHBOURS) > 0)) / np.count_nonzero(edge)
        only = count / np.count_nonzero(mask) >= ALMOST_ONLY
        if share >= (EDGE_ALONE if only else EDGE):
            low, high = (_named(int(np.bincount(values[rim]).argmax()), class_names) for values in (lowest, highest))
            description = "is almost only a rim" if only else f"lies as a rim on {share:.0%} of the edge"
            descriptions.append(
                f"{_named(index, class_names)} {description} between {low} and {high} ({count} pixels in all)"
            )
    if not descriptions:
        return None
    rims = "; ".join(descriptions)
    return f"{rims}: are these edges smoothed? masks of several classes must be saved without interpolation"


def _named(index: int, class_names: Sequence[str]) -> str:
    return f"class {index} {class_names[index - 1]}" if index else "background"
