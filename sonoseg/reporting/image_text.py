"""Text on a picture: the strip along the lower edge with the disclaimer, labels, panels and colour bars."""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sonoseg.types import Picture, Pixels

Color = tuple[int, int, int]
TINY_PX = 120
"""Images with a shorter side below this get colours and lines but no text, which would cover them."""
WHITE = (255, 255, 255)
STATUS_COLORS = {"ok": (59, 206, 120), "check": (255, 176, 32), "reject": (255, 92, 92)}
_SOFT = (205, 210, 216)
_PANEL = 0.62
_DISCLAIMER = "Not for clinical use"


def text_scale(image: Pixels | Picture) -> float:
    """Return the factor of line widths and text sizes, which were chosen on an image 443 pixels high."""
    return min(image.shape[:2]) / 443


class TextLayer:
    """Text and panels on an RGB picture `(H, W, 3)` uint8; boxes are (left, top, right, bottom) in pixels."""

    def __init__(self, picture: Picture, scale: float):
        size = max(9, round(13 * scale))
        self.height, self.width = picture.shape[:2]
        self.page = Image.fromarray(picture)
        self.draw = ImageDraw.Draw(self.page, "RGBA")  # colours with an opacity are blended into the RGB picture
        self.font, self.size = _font(size), size
        self.line = math.ceil(size * 1.35)

    def strip(self, text: str, color: Color) -> tuple[int, int, int, int]:
        """Write a text along the lower edge and the disclaimer at its right end."""
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
        self._box(box, pad)
        self.draw.text((left + pad, top + self.line / 2), text, fill=WHITE, font=self.font, anchor="lm")
        return box

    def bar(self, colors: Sequence[Color], marks: Mapping[float, str]) -> None:
        """Draw a colour bar in the upper right corner, a pixel row per colour from the top.

        `marks` are position -> text beside the bar, 0 at its top and 1 at its lower end.
        """
        pad, width = self.size // 2, self.size
        room = math.ceil(max(self.draw.textlength(text, self.font) for text in marks.values()))
        right, top = self.width - 2 * pad, 2 * pad + self.line // 2
        left = right - width
        box = (left - room - 2 * pad, pad, self.width - pad, top + len(colors) + self.line // 2 + pad)
        self._box(box, pad)
        for row, color in enumerate(colors, start=top):
            self.draw.line((left, row, right, row), fill=color)
        for share, text in marks.items():
            at = (left - pad, top + share * (len(colors) - 1))
            self.draw.text(at, text, fill=WHITE, font=self.font, anchor="rm")

    def panel(
        self,
        rows: Sequence[tuple[Color | None, str]],
        occupied: NDArray[np.bool_],
        taken: list[tuple[int, int, int, int]],
    ) -> tuple[int, int, int, int]:
        """Write rows, each with a colour chip or none, in the free corner that hides the fewest structures.

        occupied: `(H, W)` bool, pixels of structures; taken: boxes that must stay free, the first is the strip.
        """
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

        left, top = (best := min(boxes, key=hidden))[:2]
        if hidden(best) >= self.width * self.height:
            return best  # no corner is free; the tables contain the same numbers
        self._box(best, pad)
        for index, (color, text) in enumerate(rows):
            middle = top + pad / 2 + (index + 0.5) * self.line
            if color:
                side = self.size * 0.3
                box = (left + pad, middle - side, left + pad + 2 * side, middle + side)
                self.draw.rounded_rectangle(box, radius=side / 2, fill=color)
            self.draw.text((left + pad + indent, middle), text, fill=WHITE, font=self.font, anchor="lm")
        return best

    def finish(self) -> Picture:
        """Return the picture with the text, `(H, W, 3)` RGB uint8."""
        return np.asarray(self.page)

    def _box(self, box: tuple[float, float, float, float], radius: float) -> None:
        """Darken a box with round corners as a background for text."""
        self.draw.rounded_rectangle(box, radius=radius, fill=(0, 0, 0, round(255 * _PANEL)))

    def _shortened(self, text: str, room: float) -> str:
        """Return a text, cut off with an ellipsis where it is wider than `room` pixels; empty where nothing fits."""
        if len(text) <= room and self.draw.textlength(text, self.font) <= room:
            return text
        # A character is at least a pixel wide. Halving, because measuring each length of a long text takes longer than
        # the network.
        longest = range(min(len(text), max(0, int(room))))
        fitting = bisect_right(longest, room, key=lambda end: self.draw.textlength(text[:end] + "…", self.font)) - 1
        return text[:fitting].rstrip() + "…" if fitting > 0 else ""


def legend(names: Sequence[tuple[Color, str]], width: int, size: int = 15) -> Picture:
    """Return a white RGB strip `(H, width, 3)` uint8 with a chip and a name per colour, in as many rows as needed.

    Names wider than the strip are cut off at its edge. No names: a strip without a row, `(0, width, 3)`.
    """
    font, line, pad = _font(size), round(1.6 * size), size // 2
    places, x, row = [], pad, 0
    for color, name in names:
        room = 2 * size + math.ceil(font.getlength(name))
        if x > pad and x + room > width:
            x, row = pad, row + 1
        places.append((x, row * line, color, name))
        x += room + size
    page = Image.new("RGB", (width, (row + 1) * line if names else 0), WHITE)
    draw = ImageDraw.Draw(page)
    for left, top, color, name in places:
        draw.rectangle((left, top + line * 0.2, left + size, top + line * 0.8), fill=color)
        draw.text((left + 1.5 * size, top + line / 2), name, fill=(0, 0, 0), font=font, anchor="lm")
    return np.asarray(page).reshape(page.height, width, 3)


def _overlaps(box: tuple[int, int, int, int], others: list[tuple[int, int, int, int]]) -> bool:
    left, top, right, bottom = box
    return any(left < r and l < right and top < b and t < bottom for l, t, r, b in others)  # noqa: E741


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
