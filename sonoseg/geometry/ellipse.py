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
    num_points = 4
    needs_whole_outline = True
    is_ellipse_of_moments = True
    margin = 1.0
    """The axes of an organ that the image cuts off end far outside it."""

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
        centre = np.array([ellipse.x, ellipse.y])
        a, b = ellipse.major / 2, ellipse.minor / 2
        angle = math.radians(ellipse.angle_deg)
        cos, sin = math.cos(angle), math.sin(angle)
        half_size = np.array([math.hypot(a * cos, b * sin), math.hypot(a * sin, b * cos)])
        window, x, y = pixel_window(centre - half_size, centre + half_size, size)
        dx, dy = x - ellipse.x, y - ellipse.y
        mask = ((dx * cos + dy * sin) / a) ** 2 + ((dy * cos - dx * sin) / b) ** 2 <= 1 + CENTRE_TOLERANCE
        return window, mask

    def _fit(self, mask: Mask, spacing: Spacing | None) -> list[Points]:
        ellipse = fit_ellipse(mask, spacing)
        return [ellipse.axis_ends()] if ellipse else []

    def outline(self, points: Points, curve_points: int = CURVE_POINTS) -> Points:
        ellipse = Ellipse.from_axis_ends(points)
        turn, angles = np.radians(ellipse.angle_deg), np.linspace(0, 2 * np.pi, curve_points, endpoint=False)
        along, across = ellipse.major / 2 * np.cos(angles), ellipse.minor / 2 * np.sin(angles)
        x = ellipse.x + along * np.cos(turn) - across * np.sin(turn)
        return np.stack([x, ellipse.y + along * np.sin(turn) + across * np.cos(turn)], axis=1)
