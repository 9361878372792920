"""Kind `ellipse`: given by the four ends of its axes."""

import math

import numpy as np

from sonoseg.geometry.ellipse_fit import fit_ellipse
from sonoseg.geometry.extent import CENTRE_TOLERANCE, Window, pixel_window
from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.shape_kind import CURVE_POINTS, ShapeKind
from sonoseg.sizes import Size, Spacing
from sonoseg.types import Mask, Points

MAX_AXIS_TILT_DEG = 10
MAX_CENTRE_DISTANCE = 0.1
"""How far annotated axes may be from right angles, and their middles from each other (fraction of the longer axis)."""


class EllipseKind(ShapeKind):
    json_name = "ellipse"
    numbers = "4"
    needs_whole_outline = True
    is_ellipse_of_moments = True

    def takes(self, count: int) -> bool:
        return count == 4

    def margin(self, points: Points) -> float:
        """Return 1: the axes of an organ that the image cuts off end far outside it."""
        return 1.0

    def problem(self, points: Points) -> str | None:
        first, second = points[1] - points[0], points[3] - points[2]
        long, short = sorted((float(np.linalg.norm(first)), float(np.linalg.norm(second))))[::-1]
        if short == 0:
            return "the ellipse has an axis of length 0"
        cosine = abs(float(first @ second)) / (long * short)
        distance = float(np.linalg.norm((points[0] + points[1]) / 2 - (points[2] + points[3]) / 2))
        if cosine > np.sin(np.radians(MAX_AXIS_TILT_DEG)) or distance > MAX_CENTRE_DISTANCE * long:
            return (
                "the four points are not the ends of an ellipse's axes: they have to be both ends of one axis, then "
                "both ends of the other"
            )
        return None

    def draw(self, points: Points, size: Size, thickness_px: float | None = None) -> tuple[Window, Mask]:
        ellipse = Ellipse.from_axis_ends(points)
        a, b, cos, sin = _half_axes(ellipse)
        window, dx, dy = _from_centre(ellipse, size)
        mask = ((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2 <= 1 + CENTRE_TOLERANCE
        return window, mask

    def _filled(self, points: Points, size: Size) -> tuple[Window, Mask]:
        """Return the window and the mask in a third of the time: one quadratic form, in single precision."""
        ellipse = Ellipse.from_axis_ends(points)
        a, b, cos, sin = _half_axes(ellipse)
        window, *offsets = _from_centre(ellipse, size)
        dx, dy = (offset.astype(np.float32) for offset in offsets)
        xx, xy, yy = (cos / a) ** 2 + (sin / b) ** 2, cos * sin * (a**-2 - b**-2), (sin / a) ** 2 + (cos / b) ** 2
        form = np.float32(xx) * dx + np.float32(2 * xy) * dy
        form *= dx
        form += np.float32(yy) * dy * dy
        return window, form <= 1

    def _fit(self, mask: Mask, spacing: Spacing | None) -> list[Points]:
        ellipse = fit_ellipse(mask, spacing)
        return [ellipse.axis_ends()] if ellipse else []

    def outline(self, points: Points, curve_points: int = CURVE_POINTS) -> Points:
        ellipse = Ellipse.from_axis_ends(points)
        turn, angles = np.radians(ellipse.angle_deg), np.linspace(0, 2 * np.pi, curve_points, endpoint=False)
        along, across = ellipse.major / 2 * np.cos(angles), ellipse.minor / 2 * np.sin(angles)
        x = ellipse.x + along * np.cos(turn) - across * np.sin(turn)
        return np.stack([x, ellipse.y + along * np.sin(turn) + across * np.cos(turn)], axis=1)


def _half_axes(ellipse: Ellipse) -> tuple[float, float, float, float]:
    """Return half of the major and of the minor axis, and cosine and sine of the angle of the major one."""
    angle = math.radians(ellipse.angle_deg)
    return ellipse.major / 2, ellipse.minor / 2, math.cos(angle), math.sin(angle)


def _from_centre(ellipse: Ellipse, size: Size) -> tuple[Window, Points, Points]:
    """Return the window of an image of `size` that an ellipse touches, and x and y of its pixels from the centre."""
    a, b, cos, sin = _half_axes(ellipse)
    centre = np.array([ellipse.x, ellipse.y])
    half_size = np.array([math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)])
    window, x, y = pixel_window(centre - half_size, centre + half_size, size)
    return window, x - ellipse.x, y - ellipse.y
