"""Measurements of a result, in millimetres when the pixel spacing is known and in pixels always.

A measurement that cannot be made has no value, and a note with the reason.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sonoseg.geometry.crossing import crossing
from sonoseg.geometry.extent import farthest_corners
from sonoseg.geometry.points import Ellipse, angle_from_vertical_deg, length, scale_of
from sonoseg.geometry.shapes import Shape
from sonoseg.postprocess.gestational_age import spread_note, two_sd_weeks
from sonoseg.postprocess.skin import Skin, find_skin
from sonoseg.schema.annotations import Structure
from sonoseg.schema.quantity import Quantity, prefer_mm
from sonoseg.schema.results import DepthAlong, HeadBiometry, MeasurementSection, Midline, StructureSize
from sonoseg.sizes import Spacing
from sonoseg.types import Pixels, Points

NO_SPACING = "pixel spacing unknown"
SQUARE_PIXELS = "pixel spacing unknown: square pixels assumed"
GESTATION_WEEKS = (14.0, 42.0)
"""Range in which Hadlock's formula is valid."""


@dataclass(frozen=True)
class Measurement:
    """One quantity of one image.

    value: in the quantity's unit; None when it could not be measured.
    note: why there is no value, what was assumed, or how far a formula is from the truth; empty otherwise.
    is_undefined: whether the missing value is no fault of the result: there is no such structure, the spacing is
    unknown, or a formula does not hold.
    marks: the two points `(2, 2)`, in pixels, between which a length was taken; None for other quantities.
    doubt: why the value may be wrong, so that a person should look; empty otherwise.
    two_sd: two standard deviations, in the quantity's unit, of the true value about that of a published formula,
    however exact what goes into it; None for what is measured in the image.
    """

    quantity: Quantity
    value: float | None
    note: str = ""
    marks: Points | None = field(default=None, compare=False)
    is_undefined: bool = False
    doubt: str = ""
    two_sd: float | None = None


@dataclass(frozen=True)
class MeasurementInput:
    """What is measured: an image `(H, W)` uint8 and its spacing, and by name the structures and their shapes.

    A structure with several shapes is measured on its first, but for its area; one without a shape is not in `shapes`.
    skin_row: where the midline meets the skin, if that is known; else it is searched in the image. further: by name the
    shapes after the first. `skins` keeps what `skin_on` has found.
    """

    image: Pixels
    spacing: Spacing | None
    structures: Mapping[str, Structure]
    shapes: Mapping[str, Shape]
    skin_row: float | None = None
    further: Mapping[str, Sequence[Shape]] = field(default_factory=dict)
    skins: dict[str, Skin] = field(default_factory=dict)

    def skin_on(self, line: str) -> Skin:
        """Return the skin on a structure that is a line and has a shape; searched once for all measurements."""
        if self.skin_row is not None:
            return Skin(self.skin_row)
        if line not in self.skins:
            self.skins[line] = find_skin(self.image, self.shapes[line].points)
        return self.skins[line]


def measure(
    shapes: Iterable[Shape],
    image: Pixels,
    spacing: Spacing | None,
    structures: Sequence[Structure],
    sections: Sequence[MeasurementSection],
    skin_row: float | None = None,
) -> dict[str, Measurement]:
    """Return key -> Measurement for every quantity of the task's `measurements`, in their order.

    `shapes` and `image` `(H, W)` uint8 are in the original geometry. skin_row: see `MeasurementInput`.
    """
    of_name: dict[str, list[Shape]] = {}
    for shape in shapes:
        of_name.setdefault(shape.structure, []).append(shape)
    first = {name: found[0] for name, found in of_name.items()}
    further = {name: found[1:] for name, found in of_name.items()}
    by_name = {structure.name: structure for structure in structures}
    inputs = MeasurementInput(image, spacing, by_name, first, skin_row, further)
    return {
        measurement.quantity.key: measurement
        for section in sections
        for measurement in MEASUREMENTS[section.kind](section, inputs)
    }


def reported(measurements: Mapping[str, Measurement]) -> list[Measurement]:
    """Return the measurements that have a value, lengths in mm where they are known and otherwise in pixels."""
    present = [measurement for measurement in measurements.values() if measurement.value is not None]
    quantities = set(prefer_mm(measurement.quantity for measurement in present))
    return [measurement for measurement in present if measurement.quantity in quantities]


def midline(section: Midline, inputs: MeasurementInput) -> list[Measurement]:
    """Angle from vertical (degrees, positive when the lower end lies to the right) and offset from the image's centre.

    The offset is the distance from the centre column to the point where the midline, extended straight, crosses the
    skin, positive to the right: where a needle would enter, however long the visible part of the midline is. Without a
    skin there is no offset, and its note has the reason. Without a spacing the angle takes pixels as square, which its
    note states. A midline that is too short to have a direction has neither.
    """
    name, spacing = section.structure, inputs.spacing
    if name not in inputs.shapes:
        return _absent(section.quantities, name)
    line = inputs.shapes[name].points
    if not has_direction(line, inputs.structures[name]):
        return _not_measured(section.quantities, f"{name} is too short to have a direction")
    angle, *offset = section.quantities
    angle_deg = angle_from_vertical_deg(line[0], line[1], spacing)
    measurements = [Measurement(angle, angle_deg, "" if spacing else SQUARE_PIXELS)]
    skin = inputs.skin_on(name)
    if skin.row is None:
        return measurements + _not_measured(offset, skin.reason)
    offset_px = float(_at_row(line, skin.row)[0]) - (inputs.image.shape[1] - 1) / 2
    offset_mm = offset_px * spacing[1] if spacing else None
    return measurements + _in_both_units(offset, offset_px, offset_mm, doubt=_doubt(skin))


def depth_along(section: DepthAlong, inputs: MeasurementInput) -> list[Measurement]:
    """Distance from the skin to a structure along the midline, which is extended straight where it is too short.

    It ends where the midline crosses the structure's line, a rectangle's upper edge, or an outline for the first time.
    """
    quantities, shapes = section.quantities, inputs.shapes
    for name in (section.line, section.structure):
        if name not in shapes:
            return _absent(quantities, name)
    line = shapes[section.line].points
    if not has_direction(line, inputs.structures[section.line]):
        return _not_measured(quantities, f"{section.line} is too short to have a direction")
    target = crossing(line, shapes[section.structure])
    if target is None:
        return _not_measured(quantities, f"{section.line} does not meet {section.structure}, even when extended")
    skin = inputs.skin_on(section.line)
    if skin.row is None:
        return _not_measured(quantities, skin.reason)
    surface = _at_row(line, skin.row)
    if target[1] <= surface[1]:
        return _not_measured(quantities, f"{section.structure} lies above the skin")
    in_mm = length(surface, target, inputs.spacing) if inputs.spacing else None
    marks = np.stack([surface, target])
    return _in_both_units(quantities, length(surface, target), in_mm, marks, _doubt(skin))


def head_biometry(section: HeadBiometry, inputs: MeasurementInput) -> list[Measurement]:
    """Head circumference, both diameters, their ratio, and gestational age.

    Convention: the ellipse lies on the outer border of the skull, so BPD is its minor axis from outer border to outer
    border and OFD its major axis likewise. Circumference: Ramanujan's second approximation. The cephalic index is
    100 BPD / OFD; without a spacing it takes pixels as square, which its note states. Age: `hadlock_weeks`.

    Masks that were filled out of a drawn outline reach to the outer edge of that line, while the annotator's ellipse
    runs in its middle: `outline_width_fraction` is taken off both axes, half on each side.
    """
    head = inputs.shapes.get(section.structure)
    if head is None:
        return _absent(section.quantities, section.structure)
    *lengths, index, age = section.quantities
    outer = Ellipse.from_axis_ends(head.points)
    width_px = min(section.outline_width_fraction * math.hypot(*inputs.image.shape), outer.minor)
    in_px = replace(outer, major=outer.major - width_px, minor=outer.minor - width_px)
    in_mm = in_px.scaled(scale_of(inputs.spacing)) if inputs.spacing else None
    sizes_px = (in_px.circumference, in_px.minor, in_px.major)
    sizes_mm = (in_mm.circumference, in_mm.minor, in_mm.major) if in_mm else (None, None, None)
    measurements = []
    for start, size_px, size_mm in zip((0, 2, 4), sizes_px, sizes_mm, strict=True):
        measurements += _in_both_units(lengths[start : start + 2], size_px, size_mm)
    ellipse = in_mm or in_px
    if ellipse.major:
        measurements.append(Measurement(index, 100 * ellipse.minor / ellipse.major, "" if in_mm else SQUARE_PIXELS))
    else:
        measurements += _not_measured([index], f"the {section.structure} ellipse is not larger than its outline width")
    return [*measurements, _gestational_age(age, in_mm.circumference if in_mm else None)]


def _gestational_age(quantity: Quantity, hc_mm: float | None) -> Measurement:
    if hc_mm is None:
        return Measurement(quantity, None, NO_SPACING, is_undefined=True)
    weeks, (low, high) = hadlock_weeks(hc_mm), GESTATION_WEEKS
    if low <= weeks <= high:
        return Measurement(quantity, weeks, spread_note(weeks), two_sd=two_sd_weeks(weeks))
    note = f"a head circumference of {hc_mm:.0f} mm is outside Hadlock's {low:g} to {high:g} weeks"
    return Measurement(quantity, None, note, is_undefined=True)


def hadlock_weeks(hc_mm: float) -> float:
    """Gestational age in weeks from the head circumference (Hadlock et al. 1984), valid from 14 to 42 weeks."""
    hc_cm = hc_mm / 10
    return 8.96 + 0.540 * hc_cm + 0.0003 * hc_cm**3


def structure_size(section: StructureSize, inputs: MeasurementInput) -> list[Measurement]:
    """Area of all shapes of a structure, pixels in two of them counted once, and longest diameter of the first.

    The area is the number of pixels whose centres the shapes cover times the area of a pixel; holes count, as a region
    is its outline. The diameter is the largest distance between corners of these pixels.
    """
    name, spacing, size = section.structure, inputs.spacing, inputs.image.shape
    first = inputs.shapes.get(name)
    if first is None:
        return _absent(section.quantities, name)
    window, drawn = first.draw(size)
    if not drawn.any():
        return _not_measured(section.quantities, f"{name} lies outside the image")
    covered = np.zeros(size, dtype=bool)
    for shape in (first, *inputs.further.get(name, ())):
        rows_and_columns, pixels = shape.draw(size)
        covered[rows_and_columns] |= pixels
    count = int(np.count_nonzero(covered))
    area = _in_both_units(section.quantities[:2], count, count * spacing[0] * spacing[1] if spacing else None)
    start, end = farthest_corners(drawn, scale_of(spacing))
    in_px, in_mm = length(*farthest_corners(drawn, scale_of(None))), length(start, end, spacing) if spacing else None
    marks = np.stack([start, end]) + np.array([window[1].start, window[0].start])
    return area + _in_both_units(section.quantities[2:], in_px, in_mm, marks)


MEASUREMENTS: dict[str, Callable[[Any, MeasurementInput], list[Measurement]]] = {
    "midline": midline,
    "depth_along": depth_along,
    "head_biometry": head_biometry,
    "size": structure_size,
}
"""`kind` of a section in `measurements` -> the function that returns a Measurement for each of its quantities."""


def has_direction(line: Points, structure: Structure) -> bool:
    """Return whether a line `(2, 2)` is longer than it is drawn thick; the axis of a shorter one is arbitrary."""
    return math.dist(*line) >= (structure.thickness_px or 1.0)


def _at_row(line: Points, row: float) -> Points:
    """Return the point `(2,)` where a line `(2, 2)` that is not level, extended straight, crosses a row."""
    along = line[1] - line[0]
    return line[0] + along * (row - line[0, 1]) / along[1]


def _doubt(skin: Skin) -> str:
    return f"skin: {skin.doubt}" if skin.doubt else ""


def _not_measured(quantities: Iterable[Quantity], reason: str) -> list[Measurement]:
    return [Measurement(quantity, None, reason) for quantity in quantities]


def _absent(quantities: Iterable[Quantity], structure: str) -> list[Measurement]:
    return [Measurement(quantity, None, f"no {structure} found", is_undefined=True) for quantity in quantities]


def _in_both_units(
    quantities: Sequence[Quantity], in_px: float, in_mm: float | None, marks: Points | None = None, doubt: str = ""
) -> list[Measurement]:
    """Return a length or an area in mm and in pixels, `quantities` in this order; `in_mm`: None without a spacing."""
    mm, px = quantities
    note, unknown = (NO_SPACING, True) if in_mm is None else ("", False)
    return [Measurement(mm, in_mm, note, marks, unknown, doubt), Measurement(px, in_px, marks=marks, doubt=doubt)]
