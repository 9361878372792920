"""Measurements of a result, in millimetres when the pixel spacing is known and in pixels always.

A measurement that cannot be made is None, with the reason in `notes`. Kinds are the `measurements` of a task file.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sonoseg.geometry.crossing import crossing
from sonoseg.geometry.fitting import scaled
from sonoseg.geometry.points import Ellipse, angle_from_vertical_deg, ellipse_from_axis_ends, length, scale_of
from sonoseg.geometry.shapes import Shape
from sonoseg.postprocess.skin import find_skin
from sonoseg.schema.annotations import Structure
from sonoseg.schema.results import DepthAlong, HeadBiometry, Midline
from sonoseg.schema.task import Task
from sonoseg.types import Pixels, Points, Spacing

NO_SPACING = "pixel spacing unknown"
SQUARE_PIXELS = "pixel spacing unknown: square pixels assumed"
GESTATION_WEEKS = (14.0, 42.0)
"""Where Hadlock's formula is valid."""


@dataclass
class Measured:
    """`values`: name -> number or None; `notes`: name -> why it is None, or what was assumed; `marks`: name -> the two
    points `(2, 2)` in pixels between which a length was taken."""

    values: dict[str, float | None] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    marks: dict[str, Points] = field(default_factory=dict)

    def absent(self, names: Sequence[str], reason: str) -> "Measured":
        for name in names:
            self.values[name], self.notes[name] = None, reason
        return self

    def add_length(self, name: str, in_px: float, in_mm: float | None) -> None:
        """Record `<name>_mm` and its twin `<name>_px`; `in_mm` is None when the spacing is unknown."""
        self.values[f"{name}_mm"], self.values[f"{name}_px"] = in_mm, in_px
        if in_mm is None:
            self.notes[f"{name}_mm"] = NO_SPACING


@dataclass(frozen=True)
class Scene:
    """What is measured: one shape per class (the first of several), the image `(H, W)` uint8 and its spacing."""

    shapes: Mapping[str, Shape]
    image: Pixels
    spacing: Spacing | None
    task: Task

    def structure(self, name: str) -> Structure:
        return self.task.structures[self.task.index_of(name) - 1]


def measure(shapes: Sequence[Shape], image: Pixels, task: Task, spacing: Spacing | None) -> Measured:
    """Return every measurement that the task names, in its order; shapes and image are in original geometry."""
    first: dict[str, Shape] = {}
    for shape in shapes:
        first.setdefault(shape.structure, shape)
    scene = Scene(first, image, spacing, task)
    total = Measured()
    for wanted in task.measurements:
        part = MEASURES[wanted.kind](wanted, scene)
        total.values |= part.values
        total.notes |= part.notes
        total.marks |= part.marks
    return total


def measurement_names(task: Task) -> list[str]:
    """Return the names of all values that `measure` gives for a task, in order: the columns of a table."""
    return [name for wanted in task.measurements for name in wanted.values]


def midline(wanted: Midline, scene: Scene) -> Measured:
    """Angle from vertical (degrees, positive when the lower end lies to the right) and offset from the image's centre.

    The offset is that of the midline's middle from the centre column, positive to the right. Without a spacing the
    angle takes pixels as square and says so.
    """
    line = scene.shapes.get(wanted.structure)
    if line is None:
        return Measured().absent(wanted.values, f"no {wanted.structure} found")
    found = Measured()
    if has_direction(line.points, scene.structure(wanted.structure)):
        found.values["midline_angle_deg"] = angle_from_vertical_deg(line.points[0], line.points[1], scene.spacing)
        if scene.spacing is None:
            found.notes["midline_angle_deg"] = SQUARE_PIXELS
    else:
        found.absent(wanted.values[:1], f"{wanted.structure} is too short to have a direction")
    offset_px = float(line.points[:, 0].mean()) - (scene.image.shape[1] - 1) / 2
    found.add_length("midline_offset", offset_px, offset_px * scene.spacing[1] if scene.spacing else None)
    return found


def depth_along(wanted: DepthAlong, scene: Scene) -> Measured:
    """Distance from the skin to a structure along the midline, which is extended straight where it is too short.

    It ends where the midline crosses the structure's line, a rectangle's upper edge, or an outline for the first time.
    """
    names = wanted.values
    found = Measured()
    for name in (wanted.line, wanted.structure):
        if name not in scene.shapes:
            return found.absent(names, f"no {name} found")
    line = scene.shapes[wanted.line]
    if not has_direction(line.points, scene.structure(wanted.line)):
        return found.absent(names, f"{wanted.line} is too short to have a direction")
    target = crossing(line.points, scene.shapes[wanted.structure])
    if target is None:
        return found.absent(names, f"{wanted.line} does not meet {wanted.structure}, even when extended")
    skin = find_skin(scene.image, line.points)
    if skin.row is None:
        return found.absent(names, skin.reason)
    along = line.points[1] - line.points[0]
    surface = line.points[0] + along * (skin.row - line.points[0, 1]) / along[1]
    if target[1] <= surface[1]:
        return found.absent(names, f"{wanted.structure} lies above the skin")
    found.marks[wanted.name] = np.stack([surface, target])
    in_mm = length(surface, target, scene.spacing) if scene.spacing else None
    found.add_length(wanted.name, length(surface, target), in_mm)
    return found


def head_biometry(wanted: HeadBiometry, scene: Scene) -> Measured:
    """Head circumference, both diameters, their ratio, and gestational age.

    Convention: the ellipse lies on the outer border of the skull, so BPD is its minor axis from outer border to outer
    border and OFD its major axis likewise. Circumference: Ramanujan's second approximation. The cephalic index is
    100 BPD / OFD; without a spacing it takes pixels as square and says so. Age: `hadlock_weeks`.

    Masks that were filled out of a drawn outline reach to the outer edge of the pen, while the annotator's ellipse runs
    in the middle of its line: `pen_width` is taken off both axes, half on each side.
    """
    head = scene.shapes.get(wanted.structure)
    if head is None:
        return Measured().absent(wanted.values, f"no {wanted.structure} found")
    found = Measured()
    outline = ellipse_from_axis_ends(head.points)
    pen_px = min(wanted.pen_width * math.hypot(*scene.image.shape), outline.minor)
    in_px = replace(outline, major=outline.major - pen_px, minor=outline.minor - pen_px)
    in_mm = scaled(in_px, scale_of(scene.spacing)) if scene.spacing else None
    for name, value in (("hc", _circumference), ("bpd", _minor), ("ofd", _major)):
        found.add_length(name, value(in_px), value(in_mm) if in_mm else None)
    ellipse = in_mm or in_px
    found.values["cephalic_index_pct"] = 100 * ellipse.minor / ellipse.major if ellipse.major else None
    if in_mm is None:
        found.notes["cephalic_index_pct"] = SQUARE_PIXELS
        return found.absent(["gestational_age_weeks"], NO_SPACING)
    weeks = hadlock_weeks(in_mm.circumference)
    low, high = GESTATION_WEEKS
    if not low <= weeks <= high:
        reason = f"a head circumference of {in_mm.circumference:.0f} mm is outside Hadlock's {low:g} to {high:g} weeks"
        return found.absent(["gestational_age_weeks"], reason)
    found.values["gestational_age_weeks"] = weeks
    return found


def hadlock_weeks(hc_mm: float) -> float:
    """Gestational age in weeks from the head circumference (Hadlock et al. 1984), valid from 14 to 42 weeks."""
    hc_cm = hc_mm / 10
    return 8.96 + 0.540 * hc_cm + 0.0003 * hc_cm**3


MEASURES: dict[str, Callable[[Any, Scene], Measured]] = {
    "midline": midline,
    "depth_along": depth_along,
    "head_biometry": head_biometry,
}


def has_direction(line: Points, structure: Structure) -> bool:
    """Tell whether a line `(2, 2)` is longer than it is drawn thick; of a shorter one the axis is chance."""
    return math.dist(*line) >= (structure.thickness_px or 1.0)


def _circumference(ellipse: Ellipse) -> float:
    return ellipse.circumference


def _minor(ellipse: Ellipse) -> float:
    return ellipse.minor


def _major(ellipse: Ellipse) -> float:
    return ellipse.major
