"""Overlay: the original image with its structures and measurements drawn on it, in the original geometry."""

from collections.abc import Sequence

import cv2
import numpy as np

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.inference.text import headline, measurement_line, measurement_lines
from sonoseg.io.masks import rgb
from sonoseg.postprocess.interpret import Findings
from sonoseg.postprocess.measure import reported
from sonoseg.reporting.drawing import tint
from sonoseg.reporting.image_text import STATUS_COLORS, TINY_PX, WHITE, Color, TextLayer, text_scale
from sonoseg.schema.annotations import Structure
from sonoseg.types import Picture, Pixels, Points

_OPACITY = 0.2
_SUBPIXEL_BITS = 4
_SIDES = 180
"""Sides of the polygon drawn for an ellipse: at most a tenth of a pixel beside it."""


def draw_overlay(image: Pixels, findings: Findings, structures: Sequence[Structure]) -> Picture:
    """Return `(H, W, 3)` RGB uint8, the same height and width as `image` `(H, W)` uint8."""
    picture = tint(image, findings.labels, [structure.color for structure in structures], _OPACITY)
    by_name = {structure.name: structure for structure in structures}
    scale = text_scale(image)
    for shape in findings.shapes:
        _draw_shape(picture, shape.outline(_SIDES), by_name[shape.structure], scale)
    depth = _first_depth(findings)
    if depth is not None:
        _draw_depth(picture, depth[1], scale)
    return picture if min(image.shape) < TINY_PX else _with_text(picture, findings, structures, depth, scale)


def _draw_shape(picture: Picture, points: Points, structure: Structure, scale: float) -> None:
    closed = SHAPE_KINDS[structure.shape].is_closed
    width = max(1, round(1.3 * scale))
    _polyline(picture, points, (0, 0, 0), width + 1 + (scale > 1), closed, opacity=0.35)
    _polyline(picture, points, rgb(structure.color), width, closed)


def _draw_depth(picture: Picture, ends: Points, scale: float) -> None:
    """Draw the measured distance with a tick at each end, beside the midline, which it would hide."""
    shift = _offset(ends, scale)
    across = shift / np.linalg.norm(shift) * 5 * scale
    for points in (ends + shift, *(np.stack([end + shift - across, end + shift + across]) for end in ends)):
        _polyline(picture, points, (0, 0, 0), max(1, round(scale)) + 2, False, opacity=0.35)
        _polyline(picture, points, WHITE, max(1, round(scale)), False)


def _offset(ends: Points, scale: float) -> Points:
    """Return the vector `(2,)` in pixels by which the distance is drawn to the right of the midline."""
    along = (ends[1] - ends[0]) / max(float(np.linalg.norm(ends[1] - ends[0])), 1.0)
    return np.array([along[1], -along[0]]) * 16 * scale


def _polyline(picture: Picture, points: Points, color: Color, width: int, closed: bool, opacity: float = 1.0) -> None:
    fine = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
    if opacity == 1:
        cv2.polylines(picture, [fine], closed, color, width, cv2.LINE_AA, _SUBPIXEL_BITS)
        return
    left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - width, 0)
    right, bottom = np.maximum(np.ceil(points.max(axis=0)).astype(int) + width + 1, 0)
    window = picture[top:bottom, left:right]  # the line changes nothing outside it
    if window.size:
        lines = window.copy()
        cv2.polylines(
            lines, [fine - (np.array([left, top]) << _SUBPIXEL_BITS)], closed, color, width, cv2.LINE_AA, _SUBPIXEL_BITS
        )
        window[:] = cv2.addWeighted(lines, opacity, window, 1 - opacity, 0)


def _first_depth(findings: Findings) -> tuple[str, Points] | None:
    """Return the text and the two end points of the first measurement that has marks; None without one."""
    for measurement in reported(findings.measurements):
        if measurement.marks is not None:
            return measurement_line(measurement, findings), measurement.marks
    return None


def _with_text(
    picture: Picture,
    findings: Findings,
    structures: Sequence[Structure],
    depth: tuple[str, Points] | None,
    scale: float,
) -> Picture:
    layer = TextLayer(picture, scale)
    taken = [layer.strip(headline(findings), STATUS_COLORS[findings.status])]
    if depth is not None:
        (x, y), shift = depth[1].mean(axis=0), _offset(depth[1], scale)
        taken.append(layer.label(depth[0], (float(x + shift[0] * 1.5), float(y + shift[1]))))
    legend = []
    for structure, mask in zip(structures, findings.masks, strict=True):
        confidence = findings.confidence.get(structure.name)
        share = f"{confidence:.0%}" if confidence is not None else "" if mask.any() else "not found"
        legend.append((rgb(structure.color), f"{structure.name}  {share}".rstrip()))
    occupied = np.asarray(findings.masks.any(axis=0))
    taken.append(layer.panel(legend, occupied, taken))
    lines = measurement_lines(findings)
    if lines:
        layer.panel([(None, text) for text in lines], occupied, taken)
    return layer.finish()
