"""Shapes and bitmaps for the mask of a structure, as a program writes them where no person has drawn any."""

from collections.abc import Iterable, Mapping

import cv2
import numpy as np

from sonoseg.annotations.base import AnnotationFormat
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.extent import extent
from sonoseg.geometry.region import fit_regions, trace_regions
from sonoseg.geometry.shape_kind import MAX_POINTS
from sonoseg.geometry.shapes import Shape
from sonoseg.sizes import Size
from sonoseg.types import Mask, Points

LEAST_IOU = 0.99
"""Intersection over union with its mask from which a simplified outline is used; it has far fewer corners to move."""

BITMAP = "bitmap"


def kind_of(shape: Shape | Bitmap) -> str:
    """Return the kind of a shape, `bitmap` for pixels; a key of `AnnotationFormat.written_as`."""
    return BITMAP if isinstance(shape, Bitmap) else shape.kind


def union(shapes: Iterable[Shape | Bitmap], size: Size, thickness_px: float | None = None) -> Mask:
    """Return the pixels `(H, W)` bool that any of the shapes covers on an image of `size`; none without a shape."""
    mask = np.zeros(size, dtype=bool)
    for shape in shapes:
        window, drawn = shape.draw(size, thickness_px)
        mask[window] |= drawn
    return mask


def filled(mask: Mask) -> Mask:
    """Return a mask `(H, W)` bool with its holes filled: background that it encloses, corners not being a way out."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    whole = np.zeros(mask.shape, dtype=np.uint8)
    return cv2.drawContours(whole, contours, -1, 1, cv2.FILLED).astype(bool)


def has_hole(mask: Mask) -> bool:
    """Return whether polygons, one per component, cannot have the pixels of a mask `(H, W)` bool."""
    return not np.array_equal(filled(mask), mask)


def outlines(mask: Mask, structure: str, with_bitmaps: bool) -> list[Shape | Bitmap]:
    """Return a polygon per component of a mask `(H, W)` bool, or a bitmap where polygons cannot have its pixels.

    Polygons are simplified where they still agree with the mask, see `LEAST_IOU`. with_bitmaps: whether bitmaps are
    possible; otherwise holes are filled. An empty mask gives nothing.
    """
    if not mask.any():
        return []
    if with_bitmaps and has_hole(mask):
        return [Bitmap.of(structure, mask)]
    rows, columns = extent(mask)
    whole = filled(mask[rows, columns])
    left_top = np.array([columns.start, rows.start], dtype=np.float64)
    simple = fit_regions(whole)
    for polygons in (simple, trace_regions(whole)):
        if _agree(polygons, whole):
            return [Shape(structure, "region", points + left_top) for points in polygons]
    if with_bitmaps:
        return [Bitmap.of(structure, mask)]
    return [Shape(structure, "region", points + left_top) for points in simple]


def _agree(polygons: list[Points], whole: Mask) -> bool:
    """Return whether polygons can be read without a fault, and agree with a mask `(h, w)` bool without holes."""
    region = SHAPE_KINDS["region"]
    if any(len(points) > MAX_POINTS or region.problem(points) for points in polygons):
        return False
    drawn = union([Shape("", "region", points) for points in polygons], whole.shape)
    return int((drawn & whole).sum()) >= LEAST_IOU * int((drawn | whole).sum())


def stand_in_lines(counts: Mapping[str, int], name: str, annotation_format: AnnotationFormat) -> list[str]:
    """Return a sentence for each kind of shape that a format does not have.

    counts: kind, or `bitmap` -> number of such shapes that were written; name: of the format.
    """
    lines = []
    for kind, instead in annotation_format.written_as.items():
        count = counts.get(kind, 0)
        if count:
            number = f"1 {kind} is" if count == 1 else f"{count} {kind}s are each"
            lines.append(f"{number} written as {instead}: {name} has no {kind}")
    return lines
