"""The picture for a person: the image with what was found drawn on it, pixel for pixel in the original geometry."""

import math
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sonoseg.core.drawing import tint
from sonoseg.core.geometry import Points
from sonoseg.core.images import Pixels, rgb
from sonoseg.core.task import Task
from sonoseg.core.task_sections import DepthAlong, Structure
from sonoseg.infer.wording import headline, measurement_lines, number
from sonoseg.postprocess.crossing import outline
from sonoseg.postprocess.interpret import Findings

Color = tuple[int, int, int]
Picture = NDArray[np.uint8]

TINY_PX = 120
"""Images whose shorter side is below this get colours and lines, but no text: it would cover them."""
_OPACITY = 0.2
_PANEL = 0.62
_WHITE, _SOFT = (255, 255, 255), (205, 210, 216)
_OK, _FLAGGED = (59, 206, 120), (255, 176, 32)
_DISCLAIMER = "Not for clinical use"
_SUBPIXEL_BITS = 4


def draw_overlay(image: Pixels, found: Findings, task: Task) -> Picture:
    """Return `(H, W, 3)` RGB uint8, the same height and width as `image` `(H, W)` uint8."""
    picture = tint(image, found.labels, task.colors, _OPACITY)
    unit = min(image.shape) / 443  # sizes below were chosen on an image 443 pixels high
    for shape in found.shapes:
        structure = task.structures[task.index_of(shape.structure) - 1]
        _draw_shape(picture, outline(shape), structure, unit)
    mark = _depth_mark(found, task)
    if mark is not None:
        _draw_depth(picture, mark[1], unit)
    return picture if min(image.shape) < TINY_PX else _with_text(picture, found, task, mark, unit)


def _draw_shape(picture: Picture, points: Points, structure: Structure, unit: float) -> None:
    closed = structure.shape != "line"
    width = max(1, round(1.3 * unit))
    _polyline(picture, points, (0, 0, 0), width + 1 + (unit > 1), closed, opacity=0.35)
    _polyline(picture, points, rgb(structure.color), width, closed)


def _draw_depth(picture: Picture, ends: Points, unit: float) -> None:
    """Draw the measured distance beside the midline, not on it, with a tick at each end."""
    shift = _beside(ends, unit)
    across = shift / np.linalg.norm(shift) * 5 * unit
    for points in (ends + shift, *(np.stack([end + shift - across, end + shift + across]) for end in ends)):
        _polyline(picture, points, (0, 0, 0), max(1, round(unit)) + 2, False, opacity=0.35)
        _polyline(picture, points, _WHITE, max(1, round(unit)), False)


def _beside(ends: Points, unit: float) -> Points:
    """Return the step `(2,)` from the midline to where its length is drawn: to the right of it."""
    along = (ends[1] - ends[0]) / max(float(np.linalg.norm(ends[1] - ends[0])), 1.0)
    return np.array([along[1], -along[0]]) * 16 * unit


def _polyline(picture: Picture, points: Points, color: Color, width: int, closed: bool, opacity: float = 1.0) -> None:
    fine = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
    target = picture.copy() if opacity < 1 else picture
    cv2.polylines(target, [fine], closed, color, width, cv2.LINE_AA, _SUBPIXEL_BITS)
    if opacity < 1:
        cv2.addWeighted(target, opacity, picture, 1 - opacity, 0, dst=picture)


def _depth_mark(found: Findings, task: Task) -> tuple[str, Points] | None:
    """Return the label and the ends of the task's first depth that was measured."""
    for wanted in task.measurements:
        if isinstance(wanted, DepthAlong) and wanted.name in found.marks:
            value = number(found.measurements, wanted.name)
            return f"skin to {wanted.structure} {value}", found.marks[wanted.name]
    return None


def _with_text(picture: Picture, found: Findings, task: Task, mark: tuple[str, Points] | None, unit: float) -> Picture:
    page = _Page(picture, size=max(9, round(13 * unit)))
    strip = page.strip(headline(found), _OK if found.status == "ok" else _FLAGGED)
    taken = [strip]
    if mark is not None:
        (x, y), shift = mark[1].mean(axis=0), _beside(mark[1], unit)
        taken.append(page.label(mark[0], (float(x + shift[0] * 1.5), float(y + shift[1]))))
    present = {name: bool(mask.any()) for name, mask in zip(task.class_names, found.masks, strict=True)}
    legend = []
    for name, color in zip(task.class_names, task.colors, strict=True):
        share = f"{found.confidence[name]:.0%}" if name in found.confidence else "" if present[name] else "not found"
        legend.append((rgb(color), f"{name}  {share}".rstrip()))
    occupied = np.asarray(found.masks.any(axis=0))
    taken.append(page.panel(legend, occupied, taken))
    lines = measurement_lines(found, task)
    if lines:
        page.panel([(None, text) for text in lines], occupied, taken)
    return page.finish()


class _Page:
    """Text and panels on a picture; boxes are (left, top, right, bottom) in pixels."""

    def __init__(self, picture: Picture, size: int):
        self.base = Image.fromarray(picture).convert("RGBA")
        self.layer = Image.new("RGBA", self.base.size)
        self.draw = ImageDraw.Draw(self.layer)
        self.font, self.size = _font(size), size
        self.width, self.height = self.base.size
        self.line = math.ceil(size * 1.35)

    def strip(self, text: str, color: Color) -> tuple[int, int, int, int]:
        """Write the status along the lower edge and the disclaimer at its right end."""
        top, pad = self.height - round(self.line * 1.25), self.size // 2
        self.draw.rectangle((0, top, self.width, self.height), fill=(0, 0, 0, round(255 * _PANEL)))
        middle = (top + self.height) / 2
        room = self.width - 2 * pad - self.size
        notice = self.draw.textlength(_DISCLAIMER, self.font)
        self.draw.text((self.width - pad, middle), _DISCLAIMER, fill=_SOFT, font=self.font, anchor="rm")
        radius = self.size * 0.28
        self.draw.ellipse((pad, middle - radius, pad + 2 * radius, middle + radius), fill=color)
        text = self._shortened(text, room - notice - self.size)
        self.draw.text((pad + self.size * 0.9, middle), text, fill=color, font=self.font, anchor="lm")
        return 0, top, self.width, self.height

    def label(self, text: str, at: tuple[float, float]) -> tuple[int, int, int, int]:
        """Write a text whose left end is at a point, moved into the picture where needed."""
        width, pad = self.draw.textlength(text, self.font), self.size // 3
        left = min(max(at[0], 0), self.width - width - 2 * pad)
        top = min(max(at[1] - self.line / 2, 0), self.height - self.line)
        box = (round(left), round(top), round(left + width + 2 * pad), round(top + self.line))
        self.draw.rounded_rectangle(box, radius=pad, fill=(0, 0, 0, round(255 * _PANEL)))
        self.draw.text((left + pad, top + self.line / 2), text, fill=_WHITE, font=self.font, anchor="lm")
        return box

    def panel(
        self,
        rows: Sequence[tuple[Color | None, str]],
        occupied: NDArray[np.bool_],
        taken: list[tuple[int, int, int, int]],
    ) -> tuple[int, int, int, int]:
        """Write rows, each with a colour chip or none, in the free corner that hides least of what was found."""
        pad, chip = self.size // 2, self.size
        indent = chip if any(color for color, _ in rows) else 0
        width = math.ceil(max(self.draw.textlength(text, self.font) for _, text in rows)) + indent + 2 * pad
        height = len(rows) * self.line + pad
        bottom = taken[0][1] - height - pad
        corners = [(pad, bottom), (self.width - width - pad, bottom), (pad, pad), (self.width - width - pad, pad)]
        boxes = [(x, y, x + width, y + height) for x, y in corners]

        def hidden(box: tuple[int, int, int, int]) -> int:
            left, top, right, low = (max(0, value) for value in box)
            return int(occupied[top:low, left:right].sum()) + self.width * self.height * _overlaps(box, taken)

        left, top, right, low = best = min(boxes, key=hidden)
        if hidden(best) >= self.width * self.height:
            return best  # no corner is free: the same numbers stand in the tables
        self.draw.rounded_rectangle((left, top, right, low), radius=pad, fill=(0, 0, 0, round(255 * _PANEL)))
        for index, (color, text) in enumerate(rows):
            middle = top + pad / 2 + (index + 0.5) * self.line
            if color:
                side = self.size * 0.3
                box = (left + pad, middle - side, left + pad + 2 * side, middle + side)
                self.draw.rounded_rectangle(box, radius=side / 2, fill=color)
            self.draw.text((left + pad + indent, middle), text, fill=_WHITE, font=self.font, anchor="lm")
        return best

    def finish(self) -> Picture:
        return np.array(Image.alpha_composite(self.base, self.layer).convert("RGB"))

    def _shortened(self, text: str, room: float) -> str:
        if self.draw.textlength(text, self.font) <= room:
            return text
        while text and self.draw.textlength(text + "…", self.font) > room:
            text = text[:-1]
        return text.rstrip() + "…" if text else ""


def _overlaps(box: tuple[int, int, int, int], others: list[tuple[int, int, int, int]]) -> bool:
    left, top, right, bottom = box
    return any(left < r and l < right and top < b and t < bottom for l, t, r, b in others)  # noqa: E741


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
