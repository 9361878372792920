"""Masks in colours: which colours stand for structures."""

import colorsys
from collections.abc import Iterable, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sonoseg.annotations.frames import frame_count
from sonoseg.errors import DataError, is_machine_error
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import MOST_OTHER, count_colors, read_colors, rgb

MOST_COLORS = 20
RARE = 0.005
"""Part of the annotated pixels, below which a colour of masks with more than `MOST_COLORS` is one of soft edges."""
BLACK = 0
AREA = 0.2
"""Part of the pixels of a colour that have neighbours like them, from which it is one of areas, and of no soft edge."""
BETWEEN = 4.0
"""Largest difference of a channel from a blend of two colours."""
DARK, SOFT = 64, 0.1
"""Brightness of pixels, and difference of their channels, that JPEG does not make of black; part of the others."""
HUES = {15: "RED", 45: "ORANGE", 70: "YELLOW", 160: "GREEN", 200: "CYAN", 255: "BLUE", 290: "PURPLE", 345: "MAGENTA"}
"""End of a range of hues, in degrees -> its name; red begins again after the last."""
PALE = 0.2
"""Saturation below which a colour is grey or white."""
WHITE = 0.8
"""Brightness from which such a colour is white."""


def colors_of(paths: Iterable[Path]) -> list[str]:
    """Return the colours `#rrggbb` of masks that stand for structures, the most frequent first.

    Empty where most masks are grey or have a palette, and where other colours, as those of soft edges and JPEG, have
    too many pixels.
    """
    counts: dict[int, list[int]] = {}
    colored = grey = 0
    for path in paths:
        found = _counted(path)
        if any(is_colored(f"#{color:06x}") for color, _, _ in found):
            colored += 1
        elif not found or any(color != BLACK for color, _, _ in found):
            grey += 1
        for color, count, inner in found:
            total = counts.setdefault(color, [0, 0])
            total[:] = total[0] + count, total[1] + inner
    if colored <= grey:
        return []
    background, _ = counts.pop(BLACK, [0, 0])
    annotated = sum(count for count, _ in counts.values())
    few = len(counts) <= MOST_COLORS
    areas = [color for color, (count, inner) in counts.items() if inner >= AREA * count]
    chosen = [color for color, (count, _) in counts.items() if few or color in areas or count >= RARE * annotated]
    # Lines of one pixel have no inner pixels either, and a colour of their own.
    chosen = [color for color in chosen if color in areas or not _is_blend(color, [BLACK, *areas])]
    others = annotated - sum(counts[color][0] for color in chosen)
    if len(chosen) > MOST_COLORS or others > MOST_OTHER * (background + annotated):
        return []
    return [f"#{color:06x}" for color in sorted(chosen, key=lambda color: (-counts[color][0], color))]


def _is_blend(color: int, others: Sequence[int]) -> bool:
    """Return whether a colour lies between two others, as those of soft edges do."""
    point, *ends = (np.array(rgb(f"#{one:06x}"), np.float64) for one in (color, *others))
    for first, second in combinations(ends, 2):
        along = second - first
        share = float((point - first) @ along / (along @ along))
        if 0 < share < 1 and np.abs(first + share * along - point).max() <= BETWEEN:
            return True
    return False


def is_saturated(path: Path) -> bool:
    """Return whether nearly all pixels of a picture are black, nearly so, or of a strong colour, unlike an image's."""
    packed = _colors(path, ("PNG", "TIFF", "BMP", "JPEG"))
    if packed is None:
        return False
    channels = np.stack([packed >> at & 255 for at in (16, 8, 0)])
    bright = channels.max(axis=0) > DARK
    strong = np.ptp(channels, axis=0) > DARK
    return bool(np.count_nonzero(bright & strong) > (1 - SOFT) * np.count_nonzero(bright))


def is_colored(color: str) -> bool:
    """Return whether a colour `#rrggbb` is none from black to white."""
    return not color[1:3] == color[3:5] == color[5:7]


def color_names(colors: Sequence[str]) -> list[str]:
    """Return a name for each colour `#rrggbb`: that of its hue, with a number where several have it."""
    names: list[str] = []
    for color in colors:
        red, green, blue = (value / 255 for value in rgb(color))
        hue, saturation, value = colorsys.rgb_to_hsv(red, green, blue)
        name = next((name for end, name in HUES.items() if 360 * hue < end), "RED")
        if saturation < PALE:
            name = "WHITE" if value > WHITE else "GREY"
        names.append(name)
    before = [names[:at].count(name) for at, name in enumerate(names)]
    return [f"{name}_{count + 1}" if count else name for name, count in zip(names, before, strict=True)]


def _counted(path: Path) -> list[tuple[int, int, int]]:
    """Return the colours of a mask, how many pixels have each, and how many of these have four neighbours like them.

    None of a JPEG, which changes colours.
    """
    packed = _colors(path, ("PNG", "TIFF", "BMP"))
    if packed is None:
        return []
    found, _, counts, inner = count_colors(packed)
    return list(zip(found.tolist(), counts.tolist(), inner.tolist(), strict=True))


def _colors(path: Path, formats: tuple[str, ...]) -> NDArray[np.int32] | None:
    """Return what `read_colors` does; None for a grey or palette picture, several pages, and an unreadable file."""
    try:
        with Image.open(path, formats=formats) as picture:
            if picture.mode not in ("RGB", "RGBA") or frame_count(path) > 1:
                return None
        return read_colors(ImageRef(path))
    except (DataError, OSError, ValueError, SyntaxError) as problem:  # also of Pillow's readers
        if is_machine_error(problem):
            raise
        return None
