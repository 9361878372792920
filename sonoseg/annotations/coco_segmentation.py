"""Segmentations of COCO files: polygons and run lengths, read and written.

Coordinates of a file count from the corner of the first pixel, ours from its centre: `HALF` lies between them. Run
lengths are decoded here: where they are too short for the image, pycocotools returns memory that nobody has set.
"""

from typing import Any

import numpy as np

from sonoseg.annotations import drawn
from sonoseg.annotations.json_fields import coordinate_pairs, is_coordinate, shown
from sonoseg.annotations.shapes_json import KIND_OF
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.limits import MAX_PIXELS
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size
from sonoseg.types import Mask, Points

HALF = 0.5

OWN_KEY = "sonoseg"
"""Key of an annotation for the shape from which its polygon was made: `{"shape": [structure, kind, points]}`."""

CURVE_POINTS = 360
"""Corners of an ellipse: of one as large as an image, 1000 pixels, the polygon is at most 0.02 pixels away."""

OUTWARD = 0.01
"""Pixels by which polygons are written larger. pycocotools counts a pixel whose centre lies on the left or upper edge
as outside; without it a square of 10 x 10 pixels would have 81 there."""

SAME = 0.02
"""Largest difference of the coordinates of a polygon that was not edited: programs round them."""


def read_segmentation(structure: Structure, entry: dict[str, Any], size: Size | None) -> list[Shape | Bitmap]:
    """Return what an annotation draws on an image of `size`: its segmentation, else its box.

    Raises ValueError with the reason when it has neither, or one that cannot be read.
    """
    segmentation = entry.get("segmentation")
    if isinstance(segmentation, dict) and segmentation:
        return [Bitmap.of(structure.name, _decode(segmentation, size))]
    if isinstance(segmentation, list) and segmentation:
        polygons: list[Shape | Bitmap] = [_polygon(structure, piece) for piece in segmentation]
        own = _own_shape(structure, entry)
        return [own] if own and _is_same(write_polygon(own), segmentation) else polygons
    if segmentation not in (None, [], {}):
        raise ValueError(f"found {shown(segmentation)} as segmentation; expected polygons or run lengths")
    if entry.get("keypoints"):
        raise ValueError("keypoints have no area; annotate a polygon, or map the category to null to ignore it")
    return [_box(structure, entry.get("bbox"))]


def write_polygon(shape: Shape) -> list[list[float]]:
    """Return the segmentation of a shape: one polygon `[x, y, x, y, ...]`, that of a line one pixel wide."""
    outline = _bar(shape.points) if shape.kind == "line" else _grown(shape.outline(CURVE_POINTS))
    return [(outline + HALF).round(2).ravel().tolist()]


def encode(mask: Mask) -> dict[str, Any]:
    """Return the compressed run lengths of a mask `(H, W)` bool."""
    from pycocotools import mask as coco_mask  # below, because few runs need it

    run_lengths = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(mask.shape), "counts": run_lengths["counts"].decode("ascii")}


def _polygon(structure: Structure, piece: Any) -> Shape:
    if not isinstance(piece, list) or not all(map(is_coordinate, piece)):
        raise ValueError("a polygon has to be a list of numbers [x, y, x, y, ...], in pixels of the image")
    if len(piece) % 2:
        raise ValueError(f"{len(piece)} numbers in a polygon; expected x and y of every corner")
    return drawn.polygon(structure, [[x - HALF, y - HALF] for x, y in zip(piece[::2], piece[1::2], strict=True)])


def _box(structure: Structure, box: Any) -> Shape:
    if not isinstance(box, list) or not box:
        raise ValueError("has neither a segmentation nor a bbox; annotate a polygon")
    if len(box) != 4 or not all(map(is_coordinate, box)) or min(box[2:]) <= 0:
        raise ValueError("its bbox has to be [x, y, width, height] in pixels, the last two above 0")
    x, y, width, height = box
    return drawn.box(structure, (x - HALF, y - HALF), (x + width - HALF, y + height - HALF))


def _own_shape(structure: Structure, entry: dict[str, Any]) -> Shape | None:
    """Return the shape of `OWN_KEY`; None without one, or with one that does not fit the structure."""
    own = entry.get(OWN_KEY)
    fields = own.get("shape") if isinstance(own, dict) else None
    if not isinstance(fields, list) or len(fields) != 3 or not isinstance(fields[1], str) or fields[1] not in KIND_OF:
        return None
    kind = KIND_OF[fields[1]]
    if kind == "line" and structure.shape != "line":  # the category was changed, and an open line has no area
        return None
    try:
        return Shape(structure.name, kind, SHAPE_KINDS[kind].read_points(coordinate_pairs(fields[2])))
    except ValueError:
        return None


def _is_same(written: list[list[float]], segmentation: list[list[float]]) -> bool:
    """Return whether polygons, already checked, are those that were written."""
    if [len(piece) for piece in written] != [len(piece) for piece in segmentation]:
        return False
    pairs = zip(written, segmentation, strict=True)
    return all(np.allclose(one, other, rtol=0, atol=SAME) for one, other in pairs)


def _decode(run_lengths: dict[str, Any], size: Size | None) -> Mask:
    """Return the mask `(H, W)` bool of run lengths. Raises ValueError unless they are those of an image of `size`."""
    if size is None:
        raise ValueError("run lengths, and the image has no height and width; add them to its entry in images")
    height, width = size
    stated = run_lengths.get("size")
    if not isinstance(stated, list) or stated != [height, width]:
        found = "x".join(map(shown, stated[:2][::-1])) if isinstance(stated, list) else shown(stated)
        raise ValueError(f"run lengths of {found} pixels; expected {width}x{height}, those of the image's entry")
    if height * width > MAX_PIXELS:
        raise ValueError(f"run lengths of {width}x{height} pixels; at most {MAX_PIXELS} are decoded")
    counts = run_lengths.get("counts")
    if isinstance(counts, str):
        counts = _counts(counts, height * width)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("counts of run lengths have to be a text, or a list of whole numbers from 0")
    if sum(counts) != height * width:
        raise ValueError(f"its run lengths do not add up to the {height * width} pixels of the image; export it again")
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(width, height).T


def _counts(text: str, pixels: int) -> list[int]:
    """Return the run lengths of a compressed string for so many pixels.

    A character from `0` on is six bits: five of a number, lowest first, and whether more follow; the fifth bit of the
    last is the sign. From the fourth number on they are differences from the one before the last. Raises ValueError.
    """
    damaged = "its run lengths are damaged; export them again"
    counts: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40 or len(counts) > pixels + 1:
            raise ValueError(damaged)
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        value -= (code & 16) and 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError(damaged)
    return counts


def _bar(ends: Points) -> Points:
    """Return the rectangle `(4, 2)`, one pixel wide, along a line and half a pixel beyond its ends."""
    along = ends[1] - ends[0]
    length = float(np.linalg.norm(along))
    along = along / length * HALF if length else np.array([HALF, 0.0])
    across = np.array([-along[1], along[0]])
    start, end = ends[0] - along, ends[1] + along
    return np.array([start - across, end - across, end + across, start + across])


def _grown(outline: Points) -> Points:
    """Return a polygon `(N, 2)` whose edges lie `OUTWARD` further outside; corners that repeat are left out."""
    outline = outline[(outline != np.roll(outline, -1, axis=0)).any(axis=1)]
    if len(outline) < 3:
        return outline
    edges = np.roll(outline, -1, axis=0) - outline
    x, y = (outline - outline.mean(axis=0)).T
    turn = np.sign(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    after = turn * np.stack([edges[:, 1], -edges[:, 0]], axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
    before = np.roll(after, 1, axis=0)
    # A corner moves so that both its edges do; at an acute one, where it would move far, less.
    share = np.maximum(1 + (before * after).sum(axis=1, keepdims=True), 0.25)
    grown: Points = outline + OUTWARD * (before + after) / share
    return grown
