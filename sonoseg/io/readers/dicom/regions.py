"""The ultrasound images within a DICOM frame, with their pixel spacing: the Sequence of Ultrasound Regions (0018,6011).

DICOM PS3.3, section C.8.5.5: a region states its place in the frame, what it shows, and the distance from one pixel to
the next with a unit for each direction.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sonoseg.sizes import Region, Size, Spacing

_IN_PLANE = 1
"""Region Spatial Format: 2D."""
_TISSUE, _COLOUR_FLOW = 1, 2
"""Region Data Type of images; others are curves, text and colour bars."""
_CENTIMETRES = 3
"""Physical Units of a direction."""
_CONTAINED = 0.9
"""A region of which this share lies within a larger one, such as the box of the colour flow, is part of that one."""
_SHARED = 0.1
"""Regions of which a larger share is common to both have one spacing, or none that could be relied on."""
SAME = 0.01
"""Relative difference up to which two statements of a spacing are the same."""
MAX_REGIONS = 100
"""Most regions of a file: devices state about ten."""


class RegionsDoNotFit(ValueError):
    """A region lies outside the frame: the picture was cropped or rescaled after its regions had been stated."""


class NoPicture(ValueError):
    """Regions are stated, and none of them shows tissue or colour flow in a plane."""


class TooManyRegions(ValueError):
    """More regions are stated than are read; the text is their number."""


def image_regions(items: Sequence[Any], frame: Size) -> tuple[Region, ...]:
    """Return the regions of tissue or colour flow in a plane, from left to right; none when the file states none.

    Regions that cover one another have no spacing where they state different ones: what is measured there would have
    two lengths. items: the sequence's data sets. frame: (height, width). Raises RegionsDoNotFit when one of them is
    outside the frame, empty, or cannot be read; the largest column and row are part of a region, but one past them is
    tolerated, because some devices write the size. Raises NoPicture and TooManyRegions.
    """
    if len(items) > MAX_REGIONS:
        raise TooManyRegions(str(len(items)))
    regions = [_region(item, frame) for item in items if _shows_image(item)]
    if items and not regions:
        raise NoPicture
    regions = _without_doubtful_spacing(regions)
    regions.sort(key=lambda region: (-region.size[0] * region.size[1], region.left, region.top))
    kept: list[Region] = []
    for region in regions:
        if all(_overlap(region, larger) < _CONTAINED for larger in kept):
            kept.append(region)
    return tuple(sorted(kept, key=lambda region: (region.left, region.top)))


def is_same(one: Spacing, other: Spacing) -> bool:
    """Return whether two spacings are the same, as far as files state them."""
    return all(math.isclose(mine, yours, rel_tol=SAME) for mine, yours in zip(one, other, strict=True))


def _without_doubtful_spacing(regions: Sequence[Region]) -> list[Region]:
    """Return regions without the spacing of those that share pixels with one of another spacing."""
    return [
        replace(region, spacing=None)
        if any(_contradict(region, other) for other in regions if other is not region)
        else region
        for region in regions
    ]


def _contradict(one: Region, other: Region) -> bool:
    if one.spacing is None or other.spacing is None or is_same(one.spacing, other.spacing):
        return False
    return max(_overlap(one, other), _overlap(other, one)) > _SHARED


def common_spacing(regions: Sequence[Region]) -> Spacing | None:
    """Return the spacing that all regions state, None where one has none or they differ."""
    spacings = {region.spacing for region in regions}
    return spacings.pop() if len(spacings) == 1 else None


def _shows_image(item: Any) -> bool:
    return item.get("RegionSpatialFormat") == _IN_PLANE and item.get("RegionDataType") in (_TISSUE, _COLOUR_FLOW)


def _region(item: Any, frame: Size) -> Region:
    names = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
    values = [item.get(name) for name in names]
    if not all(isinstance(value, int) for value in values):
        raise RegionsDoNotFit("a region without a place in the frame")
    left, top, right, bottom = (int(value) for value in values)
    height, width = frame
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise RegionsDoNotFit(f"a region ends at column {right} and row {bottom} of a picture of {width}x{height}")
    size = min(bottom, height - 1) - top + 1, min(right, width - 1) - left + 1
    return Region(top, left, size, _spacing(item))


def _spacing(item: Any) -> Spacing | None:
    """Return the spacing of a region, None unless both directions are lengths; a delta may be negative."""
    if any(item.get(f"PhysicalUnits{direction}Direction") != _CENTIMETRES for direction in "XY"):
        return None
    try:
        row_mm, col_mm = (abs(float(item.get(f"PhysicalDelta{direction}"))) * 10 for direction in "YX")
    except (TypeError, ValueError):
        return None
    return (row_mm, col_mm) if all(math.isfinite(mm) and mm > 0 for mm in (row_mm, col_mm)) else None


def _overlap(smaller: Region, larger: Region) -> float:
    """Return the share of `smaller` that lies within `larger`."""
    rows = min(smaller.top + smaller.size[0], larger.top + larger.size[0]) - max(smaller.top, larger.top)
    cols = min(smaller.left + smaller.size[1], larger.left + larger.size[1]) - max(smaller.left, larger.left)
    return max(0, rows) * max(0, cols) / (smaller.size[0] * smaller.size[1])
