"""The images of annotated frames: files whose frames show several ultrasound images side by side give one for each."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from sonoseg.annotations import AnnotatedImage
from sonoseg.errors import DataError
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error
from sonoseg.io.image_ref import ImageHeader
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.names import name_key
from sonoseg.io.readers import read_image_header, states_regions
from sonoseg.sizes import Region
from sonoseg.types import Points


def images_of(
    items: Sequence[AnnotatedImage], data: Path, limits: ReadLimits = DEFAULT_LIMITS
) -> tuple[list[AnnotatedImage], list[Fault]]:
    """Return the annotated images of the frames, in their order, and the faults of those that cannot be used.

    A frame with several regions gives an image for each that has a part of the annotation, `_region1` and so on; where
    the annotation shows no structure, for each. A shape belongs to the region with most of its outline. Whether a mask
    has a part in a region is found when it is decoded, see `labels.read_labels`. Faults: a shape in no region, and
    images with the same id. A header that cannot be read gives one image, whose fault is found when it is decoded.
    """
    headers: dict[Path, ImageHeader | None] = {}
    images: dict[str, AnnotatedImage] = {}
    faults: list[Fault] = []
    for item in items:
        path = item.image.path
        if path not in headers:
            headers[path] = _header(path, limits)
        header = headers[path]
        found = [item]
        if header and len(header.regions) > 1:
            found, more = _in_regions(item, header.regions, data)
            faults += more
        for image in found:
            other = images.setdefault(name_key(image.id), image)
            if other is not image:
                message = f"has the same id as {other.name_in(data)} (or one that differs only in case); rename one"
                faults.append(error(image.name_in(data), message, "names", image.id))
    return list(images.values()), faults


def _header(path: Path, limits: ReadLimits) -> ImageHeader | None:
    try:
        return read_image_header(path, limits) if states_regions(path) else None
    except DataError:
        return None


def _in_regions(
    item: AnnotatedImage, regions: tuple[Region, ...], data: Path
) -> tuple[list[AnnotatedImage], list[Fault]]:
    """Return the images of a frame with several regions, and a fault for each shape that lies in none."""
    shapes_of: dict[int, list[tuple[int, Shape | Bitmap]]] = {}
    faults = []
    for index, shape in item.shapes:
        shares = [_points_inside(_outline(shape), region) for region in regions]
        if not any(shares):
            message = f"lies in none of the {len(regions)} ultrasound regions of the frame; correct its points"
            faults.append(error(f"{item.name_in(data)}, shape {index} ({shape.structure})", message, "shape", item.id))
            continue
        shapes_of.setdefault(int(np.argmax(shares)), []).append((index, shape))
    used = sorted(shapes_of) if item.shapes else range(len(regions))
    return [
        replace(
            item,
            id=f"{item.id}_region{number + 1}",
            image=replace(item.image, region=number),
            shapes=tuple(shapes_of.get(number, ())),
            regions=regions,
        )
        for number in used
    ], faults


def _outline(shape: Shape | Bitmap) -> Points:
    """Return points `(N, 2)` of a shape's outline, or the centres of a bitmap's pixels."""
    if isinstance(shape, Shape):
        return np.concatenate([shape.outline(), shape.points])
    return np.argwhere(shape.mask)[:, ::-1].astype(np.float64) + np.array([shape.left, shape.top])


def _points_inside(points: Points, region: Region) -> int:
    """Return how many points `(N, 2)` (x, y) lie in a region."""
    low = np.array([region.left, region.top]) - 0.5
    return int(((points >= low) & (points < low + region.size[::-1])).all(axis=1).sum())
