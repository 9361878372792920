"""One structure: what stands for its annotations in the other format, decided over all images."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Literal

import numpy as np

from sonoseg.annotations import AnnotatedImage, AnnotationFormat
from sonoseg.annotations.shapes_of_masks import BITMAP, filled, has_hole, kind_of, outlines, union
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape, fit_shapes
from sonoseg.prepare.shape_checks import check_shapes
from sonoseg.schema.annotations import Structure, drawing_order, label_values
from sonoseg.sizes import Size
from sonoseg.types import Mask, Pixels

MEDIAN_DICE, LEAST_DICE = 0.99, 0.98
"""Dice of masks and fitted shapes from which shapes stand for the masks: the median, and that of a single mask."""

Choice = Literal["fit", "outline", "bitmap", "region"]
"""What stands for pixels: the structure's fitted shape; polygons, or a bitmap where they have a hole; a bitmap; or, in
a format that has neither bitmaps nor other kinds than the structure's, polygons for all annotations of the structure.
"""


@dataclass(frozen=True)
class Part:
    """The annotation of one structure on one image of `size`.

    kept: shapes that the format holds as they are. pixels: of all others; None without one. fitted: the shape of the
    structure's kind that is nearest to these pixels, and `dice` how well it agrees with them; None for regions, and
    where there is no such shape that stage 1 accepts.
    """

    size: Size
    kept: tuple[Shape | Bitmap, ...]
    pixels: Bitmap | None = None
    fitted: Shape | None = None
    dice: float = 0.0


def parts_of(
    item: AnnotatedImage, labels: Pixels, structures: Sequence[Structure], target: AnnotationFormat
) -> dict[str, Part]:
    """Return structure -> its part of an image, for structures that are annotated there.

    labels: the image's label map `(H, W)` uint8; of an image with a mask file, all that is known.
    """
    values, parts = label_values(structures), {}
    order = [structure.name for structure in drawing_order(structures)]
    height, width = labels.shape
    for structure in structures:
        name = structure.name
        above = np.isin(labels, [values[other] for other in order[order.index(name) + 1 :]])
        part = Part((height, width), ())
        if not item.masks:
            shapes = [shape for _, shape in item.shapes if shape.structure == name]
            part, others = _kept(shapes, structure, part, target)
            mask = union(others, part.size, structure.thickness_px)
        else:
            mask = labels == values[name]
            if structure.shape == "region":  # holes in which another structure lies on top are none
                mask |= filled(mask) & above
        if mask.any():
            part = _with_pixels(part, mask, above, structure)
        if part.kept or part.pixels:
            parts[name] = part
    return parts


def _kept(
    shapes: Sequence[Shape | Bitmap], structure: Structure, part: Part, target: AnnotationFormat
) -> tuple[Part, list[Shape | Bitmap]]:
    """Return the part with the shapes that the format holds as they are, and the others."""
    if target.mixed_kinds:
        return replace(part, kept=tuple(shapes)), []
    if structure.shape == "region":
        shapes = [_as_region(shape) for shape in shapes]
    kept = tuple(shape for shape in shapes if kind_of(shape) == structure.shape)
    return replace(part, kept=kept), [shape for shape in shapes if kind_of(shape) != structure.shape]


def _as_region(shape: Shape | Bitmap) -> Shape | Bitmap:
    """Return the polygon of a shape that encloses an area; a line, or a bitmap, as it is."""
    if isinstance(shape, Bitmap) or shape.kind == "line":
        return shape
    return Shape(shape.structure, "region", shape.outline())


def _with_pixels(part: Part, mask: Mask, above: Mask, structure: Structure) -> Part:
    """Return the part with the pixels of a mask `(H, W)` bool; those of `above` belong to other structures anyway."""
    part = replace(part, pixels=Bitmap.of(structure.name, mask))
    if structure.shape == "region":
        return part
    fitted = next(iter(fit_shapes(mask, structure.name, structure.shape)), None)
    if fitted is None or any(fault.level == "error" for fault in check_shapes(((0, fitted),), part.size, "", "")):
        return part
    drawn = union([fitted], part.size, structure.thickness_px) & ~above
    own = mask & ~above
    total = np.count_nonzero(drawn) + np.count_nonzero(own)
    return replace(part, fitted=fitted, dice=float(2 * np.count_nonzero(drawn & own) / total) if total else 0.0)


def choose(structure: Structure, parts: Sequence[Part], target: AnnotationFormat) -> Choice:
    """Return what stands for the pixels of a structure, on all images alike."""
    dices = [part.dice for part in parts if part.pixels]
    with_bitmaps = BITMAP not in target.written_as
    if structure.shape == "region" or not dices:
        return "outline"
    if median(dices) >= MEDIAN_DICE and (with_bitmaps or min(dices) >= LEAST_DICE):
        return "fit"
    return "bitmap" if with_bitmaps else "region"


def shapes_of(
    part: Part, structure: Structure, choice: Choice, with_bitmaps: bool, counts: Counter[str]
) -> list[Shape | Bitmap]:
    """Return what is written for a part. counts: by kind, to which what the format does not hold is added."""
    shapes: list[Shape | Bitmap] = []
    for shape in part.kept:
        if choice == "region" and kind_of(shape) == "line":
            shapes += outlines(union([shape], part.size, structure.thickness_px), structure.name, with_bitmaps=False)
        else:
            shapes.append(_as_region(shape) if choice == "region" else shape)
    if part.pixels and choice == "fit" and part.fitted and part.dice >= LEAST_DICE:
        shapes.append(part.fitted)
    elif part.pixels and choice in ("fit", "bitmap"):
        shapes.append(part.pixels)
    elif part.pixels:
        mask = union([part.pixels], part.size)
        counts[BITMAP] += not with_bitmaps and has_hole(mask)
        shapes += outlines(mask, structure.name, with_bitmaps)
    return shapes


def choice_line(structure: Structure, parts: Sequence[Part], choice: Choice, with_bitmaps: bool) -> str | None:
    """Return what has become of the pixels of a structure, for the terminal; None when nothing has changed."""
    dices = [part.dice for part in parts if part.pixels]
    if not dices:
        return None
    masks = f"{structure.name}: 1 mask" if len(dices) == 1 else f"{structure.name}: {len(dices)} masks"
    if choice == "outline":
        return f"{masks} written as polygons" + (", or as pixels where they have a hole" if with_bitmaps else "")
    agreement = f"median Dice {median(dices):.3f} of the fitted {structure.shape}"
    if choice == "fit":
        poor = sum(dice < LEAST_DICE for dice in dices)
        rest = f"; {poor} with a Dice below {LEAST_DICE:g} stay pixels" if poor else ""
        return f"{masks} written as {structure.shape}s ({agreement}{rest})"
    if choice == "bitmap":
        return f"{masks} stay pixels ({agreement}, below {MEDIAN_DICE:g})"
    return f"{masks} written as polygons ({agreement}): set `shape: region` for it in the task"
