"""The label map of an annotated image: shapes drawn, or masks read, in the frame, and cut to the image's region.

Annotations have the coordinates of the whole frame, as people draw on what they see. The image is the ultrasound region
of the frame where its file states one, see `io.image_ref.ImageRecord`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sonoseg.annotations import AnnotatedImage, MaskFile
from sonoseg.annotations.mask_values import class_indices, fill_label_outlines, is_thin
from sonoseg.errors import DataError, LimitError, is_machine_error
from sonoseg.geometry.shapes import Shape, fit_dice
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import read_colored_mask, read_mask
from sonoseg.prepare.rasterize import label_map
from sonoseg.prepare.shape_checks import PIXEL_HALF, check_shapes
from sonoseg.schema.annotations import Structure, drawing_order, label_values
from sonoseg.sizes import Region, Size
from sonoseg.types import Mask, Pixels

JPEG = (".jpg", ".jpeg")
LEAST_FIT = 0.9
"""Dice of a turned rectangle and the parallel one fitted to it, below which stage 1 warns."""


def read_labels(
    item: AnnotatedImage,
    size: Size,
    data: Path,
    structures: Sequence[Structure],
    limits: ReadLimits,
    region: Region | None = None,
) -> tuple[Pixels | None, list[Fault]]:
    """Return the label map `(H, W)` uint8 of an annotation for its image, and its faults; see `verify`.

    size: of the frame; region: the part of it that is the image, None when that is the frame. An annotation of the size
    of the only region, and not of the frame, is in the region's coordinates. None when an error makes the annotation
    unusable and, without a fault, when nobody has annotated the image: a page of masks without a structure
    (`drop_empty`), or a mask with structures in other regions of the frame only.
    """
    where = item.name_in(data)
    own_size = region.size if region and item.image.region is None else size
    if item.size and item.size not in (size, own_size):
        found = f"{item.size[1]}x{item.size[0]} pixels, this one has {size[1]}x{size[0]}"
        message = f"was annotated as an image of {found}; annotate this one, or put that one here"
        return None, [error(where, message, "annotated_size", item.id)]
    if not item.masks:
        if region and item.size == own_size != size:
            moved = tuple((index, shape.moved(region.left, region.top)) for index, shape in item.shapes)
            item = replace(item, shapes=moved)
        return _drawn(item, size, structures, where, region)
    labels, faults = _read(item, (size, region), structures, data, limits)
    if labels is None or (item.drop_empty and not labels.any()):
        return None, faults
    return _cut(item, labels, faults, where, region) if region else (labels, faults)


def _cut(
    item: AnnotatedImage, labels: Pixels, faults: list[Fault], where: str, region: Region
) -> tuple[Pixels | None, list[Fault]]:
    """Return the part of a frame's label map that is the image, with a fault for pixels in no region of the frame."""
    outside = labels > 0
    for one in item.regions or (region,):
        outside[one.window] = False
    count = int(np.count_nonzero(outside))
    cut = np.ascontiguousarray(labels[region.window])
    if count and not item.image.region:  # once, where there are several
        place = "the ultrasound regions" if item.regions else described(region)
        if count == np.count_nonzero(labels):
            message = f"all annotated pixels of its mask lie outside {place}; annotate what is inside"
            return None, [*faults, error(where, message, "shape", item.id)]
        message = f"{count} annotated pixels of its mask lie outside {place}, and are left out"
        faults = [*faults, warning(where, message, "outside", item.id)]
    if item.regions and labels.any() and not cut.any():
        return None, faults
    return cut, faults


def described(region: Region) -> str:
    """Return the place of a region for a message."""
    bottom, right = region.top + region.size[0] - 1, region.left + region.size[1] - 1
    return (
        f"the ultrasound region of the frame (columns {region.left} to {right}, rows {region.top} to {bottom}, from 0)"
    )


def _drawn(
    item: AnnotatedImage, frame: Size, structures: Sequence[Structure], where: str, region: Region | None
) -> tuple[Pixels | None, list[Fault]]:
    faults = check_shapes(item.shapes, frame, where, item.id)
    if any(fault.level == "error" for fault in faults):
        return None, faults
    size, (left, top) = (region.size, (region.left, region.top)) if region else (frame, (0, 0))
    shapes = [(index, shape.moved(-left, -top)) for index, shape in item.shapes]
    by_name = {structure.name: structure for structure in structures}
    for index, shape in shapes:
        named = f"{where}, shape {index} ({shape.structure})"
        drawn = shape.draw(size, by_name[shape.structure].thickness_px)[1]
        if drawn.any() and isinstance(shape, Shape) and _is_turned(shape, by_name[shape.structure], drawn):
            faults.append(warning(named, "is turned; results are parallel to the image's sides", "turned", item.id))
        if not drawn.any():
            of = described(region) if region else "the image"
            faults.append(error(named, f"covers no pixel of {of}; correct its points", "shape", item.id))
        elif region and isinstance(shape, Shape) and _leaves(shape, size):
            message = f"reaches out of {described(region)}; only the part inside is drawn"
            faults.append(warning(named, message, "outside", item.id))
    labels = label_map((shape for _, shape in shapes), size, structures)
    values = label_values(structures)
    for name in {shape.structure for _, shape in shapes}:
        if not (labels == values[name]).any():
            faults.append(warning(f"{where}, {name}", "is completely covered by other classes", "hidden", item.id))
    return (None if any(fault.level == "error" for fault in faults) else labels), faults


def _is_turned(shape: Shape, structure: Structure, drawn: Mask) -> bool:
    """Return whether the rectangle that stage 4 would fit to a drawn shape differs much from it."""
    return structure.shape == "rectangle" and shape.is_turned and fit_dice(drawn, "rectangle") < LEAST_FIT


def _leaves(shape: Shape, size: Size) -> bool:
    """Return whether a point of a shape lies outside an image, with the tolerance of `check_shapes`."""
    height, width = size
    return bool((shape.points < -PIXEL_HALF).any() or (shape.points > np.array([width, height])).any())


def _read(
    item: AnnotatedImage,
    place: tuple[Size, Region | None],
    structures: Sequence[Structure],
    data: Path,
    limits: ReadLimits,
) -> tuple[Pixels | None, list[Fault]]:
    """Return the label map `(H, W)` of a frame's masks, one of all classes or one per class, and their faults.

    place: size of the frame, and the region of the image.
    """
    maps: dict[str | None, Pixels] = {}
    faults = []
    complete = True
    for mask in item.masks:
        shown = [one for one in structures if mask.structure in (None, one.name)]
        labels, more = _read_mask(mask, item, place, shown, data, limits)
        faults += more
        complete &= labels is not None
        if labels is not None:  # several masks of one structure are united
            other = maps.get(mask.structure)
            maps[mask.structure] = labels if other is None else np.maximum(labels, other)
    if not complete:
        return None, faults
    if None in maps:
        return maps[None], faults
    labels = np.zeros(place[0], dtype=np.uint8)
    values = label_values(structures)
    for structure in drawing_order(structures):
        if structure.name in maps:
            labels[maps[structure.name] > 0] = values[structure.name]
    for mask in item.masks:
        name = str(mask.structure)
        if maps[name].any() and not (labels == values[name]).any():
            where = f"{mask.path.relative_to(data).as_posix()}, {name}"
            faults.append(warning(where, "is completely covered by other classes", "hidden", item.id))
    return labels, faults


def _read_mask(
    mask: MaskFile,
    item: AnnotatedImage,
    place: tuple[Size, Region | None],
    structures: Sequence[Structure],
    data: Path,
    limits: ReadLimits,
) -> tuple[Pixels | None, list[Fault]]:
    """Return a mask's indices into the structures that it may show."""
    where = mask.path.relative_to(data).as_posix()
    try:
        values, meaning, others = _stored(mask, limits)
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        return None, [error(where, reason_of(problem), kind_of(problem), item.id)]
    except ValueError as problem:
        return None, [error(where, str(problem), "colors", item.id)]
    size, region = place
    if region and item.image.region is None and values.shape == region.size:
        whole = np.zeros(size, dtype=np.uint8)
        whole[region.window] = values
        values = whole
    if values.shape != size:
        sizes = f"{values.shape[1]}x{values.shape[0]} pixels, its image has {size[1]}x{size[0]}"
        return None, [error(where, f"the mask has {sizes}; they have to be equal", "size", item.id)]
    names = [structure.name for structure in structures]
    try:
        labels, note = class_indices(values, names, meaning)
    except ValueError as problem:
        return None, [error(where, str(problem), "values", item.id)]
    if note is None and len(structures) > 1 and mask.path.suffix.lower() in JPEG:
        note = "a JPEG, which changes the values of single pixels: masks of several classes must be saved as PNG"
    faults = [warning(where, note, "grey", item.id)] if note else []
    if others:
        message = f"{others} pixels of other colours than those in annotations.values: read as the nearest of these"
        faults.append(warning(where, message, "soft_colors", item.id))
    if item.outlined:
        labels = fill_label_outlines(labels, structures)
        if labels.any() and is_thin(labels > 0):
            faults.append(
                warning(where, "its outline is open: nothing is enclosed, so it stays a thin line", "open", item.id)
            )
    return labels, faults


def _stored(mask: MaskFile, limits: ReadLimits) -> tuple[Pixels, list[tuple[int, str | None]], int]:
    """Return a mask's values `(H, W)`, which structure each means, and how many pixels have another than its colours.

    Of a mask in colours the values are the positions of these. Raises as `read_mask` and `read_colored_mask`.
    """
    ref = ImageRef(mask.path, mask.page)
    colors = [stored for stored, _ in mask.values if isinstance(stored, str)]
    if not colors:
        numbers = [(stored, name) for stored, name in mask.values if isinstance(stored, int)]
        return read_mask(ref, limits), numbers, 0
    values, others = read_colored_mask(ref, colors, limits)
    return values, [(position, name) for position, (_, name) in enumerate(mask.values, start=1)], others


def kind_of(problem: DataError | OSError) -> str:
    """Return the kind of the fault of a file that cannot be read."""
    return "too_large" if isinstance(problem, LimitError) else "unreadable"


def reason_of(problem: DataError | OSError) -> str:
    """Return why a file cannot be read, without its path: the fault names the file already."""
    return problem.reason if isinstance(problem, DataError) else f"cannot be read: {problem.strerror or problem}"
