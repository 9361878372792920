"""Shapes as the page sends and receives them, checked like annotations."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sonoseg.annotations.shapes_of_masks import has_hole, outlines
from sonoseg.errors import DataError, choices
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.shapes import KindName, Shape
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.prepare.shape_checks import check_shapes
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size
from sonoseg.types import Mask

PAGE_KINDS: dict[KindName, str] = {"line": "line", "rectangle": "rect", "ellipse": "ellipse", "region": "region"}
"""Kind of a shape -> its name on the page."""
MAX_SHAPES = 200
"""Most shapes of an image that are taken: far above what a person draws."""
MAX_MASK_BYTES = 4 << 20
"""Of the PNG of a painted mask."""
PAINTED = 128
"""Grey value from which a pixel of a painted mask belongs to the structure."""


def to_page(shape: Shape) -> dict[str, Any]:
    """Return a shape as JSON values: structure, kind, and points in hundredths of a pixel."""
    points = SHAPE_KINDS[shape.kind].write_points(shape.points)
    return {"structure": shape.structure, "kind": PAGE_KINDS[shape.kind], "points": points}


def stored(values: Sequence[Mapping[str, Any]]) -> list[Shape]:
    """Return shapes that `to_page` has written, and that were checked before."""
    kinds = {word: kind for kind, word in PAGE_KINDS.items()}
    return [
        Shape(value["structure"], kinds[value["kind"]], np.array(value["points"], dtype=np.float64)) for value in values
    ]


def rounded(shapes: Sequence[Shape]) -> list[dict[str, Any]]:
    """Return shapes as JSON values in an order that does not depend on that in which they were drawn."""
    return sorted((to_page(shape) for shape in shapes), key=lambda one: (one["structure"], one["points"]))


class ShapeReader:
    """Reads and checks the shapes of one image; `remarks` are sentences on what was changed in them."""

    def __init__(self, structures: Sequence[Structure], size: Size):
        """size: (height, width) of the image."""
        self._structures = {structure.name: structure for structure in structures}
        self._size = size
        self.remarks: list[str] = []

    def read(self, values: Any) -> list[Shape]:
        """Return the shapes of a JSON value.

        A painted mask becomes an outline for each of its pieces; holes are filled, with a remark. Raises DataError for
        an unknown structure, another kind than that of the structure, wrong points, and a shape that is degenerate, far
        outside the image, or covers none of its pixels.
        """
        if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
            raise DataError("shapes: expected a list of shapes, each with structure, kind and points")
        if len(values) > MAX_SHAPES:
            raise DataError(f"shapes: {len(values)}; at most {MAX_SHAPES} are taken")
        shapes = [shape for value in values for shape in self._shapes(value)]
        faults = check_shapes(tuple(enumerate(shapes)), self._size, "image", "")
        for fault in faults:
            if fault.level == "error":
                raise DataError(fault.message.rstrip("."))
        for shape in shapes:
            if not shape.draw(self._size, self._structures[shape.structure].thickness_px)[1].any():
                raise DataError(f"{shape.structure}: covers no pixel of the image; correct its points")
        return shapes

    def _shapes(self, value: Mapping[str, Any]) -> list[Shape]:
        name, kind = value.get("structure"), value.get("kind")
        structure = self._structures.get(name) if isinstance(name, str) else None
        if structure is None:
            raise DataError(f"unknown structure {name!a:.60}; expected {choices(list(self._structures))}")
        if kind != PAGE_KINDS[structure.shape]:
            raise DataError(f"{name}: kind {kind!a:.60}; expected {PAGE_KINDS[structure.shape]}")
        if structure.shape == "region" and "mask" in value:
            return self._painted(structure.name, value["mask"])
        try:
            points = SHAPE_KINDS[structure.shape].read_points(value.get("points"))
            return [Shape(structure.name, structure.shape, points)]
        except ValueError as problem:
            raise DataError(f"{name}: {problem}") from None

    def _painted(self, name: str, text: Any) -> list[Shape]:
        mask = _decoded(name, text, self._size)
        if not mask.any():
            return []
        if has_hole(mask):
            self.remarks.append(f"{name}: holes are filled, as a region is stored as its outline")
        return [shape for shape in outlines(mask, name, with_bitmaps=False) if isinstance(shape, Shape)]


def _decoded(name: str, text: Any, size: Size) -> Mask:
    """Return a painted mask `(H, W)` bool from base64 text of a PNG. Raises DataError."""
    if not isinstance(text, str) or len(text) > MAX_MASK_BYTES * 4 // 3 + 4:
        raise DataError(f"{name}: expected the mask as base64 text of a PNG of at most {MAX_MASK_BYTES >> 20} MiB")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise DataError(f"{name}: the mask is no base64 text; expected that of a PNG") from None
    limits = ReadLimits(max_pixels=size[0] * size[1], max_frames=1, max_bytes=MAX_MASK_BYTES)
    try:
        mask = read_mask(ImageRef(Path("mask.png")), limits, data)
    except DataError as problem:
        raise DataError(f"{name}: the mask: {problem.reason}") from None
    if mask.shape != size:
        found = f"{mask.shape[1]}x{mask.shape[0]}"
        raise DataError(f"{name}: the mask has {found} pixels; expected {size[1]}x{size[0]}, as the image")
    return mask >= PAINTED
