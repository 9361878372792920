"""What scanners and screenshots put at the top of an image: a frame, ring-down of the transducer, a line of text."""

from collections.abc import Callable

import cv2
import numpy as np

from sonoseg.types import Pixels

_READABLE = 8
"""Least height of a line of text, in pixels."""


def draw_artefact(kind: str, image: Pixels, free_rows: float, rng: np.random.Generator) -> Pixels:
    """Return a copy of an image `(H, W)` uint8 with an artefact (a key of `ARTEFACTS`) that begins at its first row.

    free_rows: rows of gel above the skin, in which the artefact ends, but for text that would be too small to be read.
    """
    rows = max(2, round(free_rows * float(rng.uniform(0.3, 0.8))))
    return ARTEFACTS[kind](image.copy(), rows, rng)


def _frame(image: Pixels, rows: int, rng: np.random.Generator) -> Pixels:
    """A bar of one bright grey value across the image, with thinner ones at both sides."""
    level, side = int(rng.integers(200, 256)), max(1, min(rows, image.shape[1] // 80))
    image[:rows] = level
    image[:, :side] = image[:, -side:] = level
    return image


def _ring_down(image: Pixels, rows: int, rng: np.random.Generator) -> Pixels:
    """Bright bands parallel to the transducer, each weaker than the one above, with a little noise."""
    depth = np.arange(rows) / rows
    cycles = int(rng.integers(1, 4))
    bands = np.exp(-2.5 * depth) * (0.5 + 0.5 * np.cos(2 * np.pi * (cycles - 0.5) * depth))
    noise = cv2.GaussianBlur(rng.normal(0, 1, (rows, image.shape[1])), (0, 0), 1.0) * 8
    added = float(rng.uniform(180, 250)) * bands[:, None] + noise
    image[:rows] = np.clip(np.maximum(image[:rows], added), 0, 255).astype(np.uint8)
    return image


def _text(image: Pixels, rows: int, rng: np.random.Generator) -> Pixels:
    """A line of white letters across the image, as tall as `rows` and tall enough to be read."""
    rows = max(rows, _READABLE)
    letters = "".join(rng.choice(list("ABCDEFGHKLMNPRSTUVXYZ0123456789 "), 200))
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, max(rows - 2, 1), 1)
    thickness = max(1, round(rows / 10))
    cv2.putText(image, letters, (2, rows - 1), cv2.FONT_HERSHEY_SIMPLEX, scale, 255, thickness)
    return image


ARTEFACTS: dict[str, Callable[[Pixels, int, np.random.Generator], Pixels]] = {
    "frame": _frame,
    "ring_down": _ring_down,
    "text": _text,
}
"""Kind of artefact -> function that draws it into an image: image, rows it takes, random generator."""
