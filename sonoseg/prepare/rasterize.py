"""Shapes to label maps."""

from collections.abc import Iterable, Sequence

import numpy as np

from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotations import Structure, drawing_order, label_values
from sonoseg.sizes import Size
from sonoseg.types import Pixels


def label_map(shapes: Iterable[Shape | Bitmap], size: Size, structures: Sequence[Structure]) -> Pixels:
    """Return the label map `(H, W)` uint8 of shapes and bitmaps, empty without any; `size` is (height, width).

    Where structures overlap, the one that is named in `covered_by` is on top. What lies outside the image is cut off.
    """
    labels = np.zeros(size, dtype=np.uint8)
    values = label_values(structures)
    shapes = list(shapes)
    for structure in drawing_order(structures):
        for shape in shapes:
            if shape.structure == structure.name:
                window, mask = shape.draw(size, structure.thickness_px)
                labels[window][mask] = values[structure.name]
    return labels
