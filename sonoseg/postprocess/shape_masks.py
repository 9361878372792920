"""Filled ellipses in place of the network's masks, where a task asks for them (`postprocessing.shape_mask`)."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.shapes import Shape
from sonoseg.schema.annotations import Structure, drawing_order, label_values
from sonoseg.types import Mask, Pixels


def with_ellipses(
    labels: Pixels, masks: NDArray[np.bool_], shapes: Iterable[Shape], structures: Sequence[Structure]
) -> tuple[Pixels, NDArray[np.bool_]]:
    """Return a label map and full masks in which each structure that has an ellipse is that ellipse, filled.

    labels: `(H, W)` uint8; masks: `(K, H, W)` bool in task order, see `gaps.full_masks`; shapes: those fitted to the
    masks. Both arrays are copied. Shapes other than ellipses change nothing.

    An ellipse consists of the pixels whose centre lies in it. The fit places its border half-way between the outermost
    pixels and their neighbours, so a mask made here is fitted by the ellipse it was made from. What lies outside the
    image is cut off. A structure without an ellipse, or with one that contains no pixel, keeps its mask.

    In the label map an ellipse takes pixels of the background and of structures that it covers (`covered_by`); all
    others keep theirs. A pixel that an ellipse leaves belongs to the structure below whose full mask includes it, or to
    the background.
    """
    ellipses = _drawn(shapes, labels.shape)
    values, structures = label_values(structures), drawing_order(structures)
    full = dict(zip(values, masks, strict=True))
    order = [structure.name for structure in structures if structure.name in ellipses]
    below = {name: [other.name for other in structures if name in other.covered_by] for name in order}
    labels = labels.copy()
    for name in reversed(order):  # from the top: the structure that receives a pixel may be an ellipse without it
        left = (labels == values[name]) & ~ellipses[name]
        labels[left] = 0
        for other in below[name]:
            labels[left & full[other]] = values[other]
    for name in order:
        is_free = labels == 0  # comparisons take a fraction of the time of looking every pixel up in a table
        for other in below[name]:
            is_free |= labels == values[other]
        labels[is_free & ellipses[name]] = values[name]
    return labels, np.stack([ellipses.get(name, mask) for name, mask in full.items()])


def _drawn(shapes: Iterable[Shape], size: tuple[int, ...]) -> dict[str, Mask]:
    """Return structure -> mask `(H, W)` bool of its ellipse, for ellipses that contain a pixel of the image."""
    drawn = {}
    for shape in shapes:
        if shape.kind == "ellipse":
            window, part = shape.draw((size[0], size[1]))
            if part.any():
                drawn[shape.structure] = np.zeros(size, bool)
                drawn[shape.structure][window] = part
    return drawn
