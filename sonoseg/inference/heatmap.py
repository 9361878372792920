"""Heat maps of the class probabilities, and probabilities as grey values."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from sonoseg.io.masks import rgb
from sonoseg.postprocess.class_map import class_map
from sonoseg.reporting.image_text import TINY_PX, TextLayer, text_scale
from sonoseg.schema.annotations import Structure
from sonoseg.types import Picture, Pixels

COLUMNS = 3
"""Panels side by side before the next row begins."""
_MAP = cv2.COLORMAP_VIRIDIS
"""Perceptually uniform, also in grey and with colour blindness."""
_OPACITY, _OPAQUE_FROM = 0.6, 0.2
"""Opacity of the colours, and the probability from which it applies; below, it falls linearly to 0."""
_LINE = (255, 255, 255)


def draw_heatmap(
    image: Pixels, probabilities: NDArray[np.float32], structures: Sequence[Structure], threshold: float
) -> Picture:
    """Return RGB uint8 panels, one per class in task order, each of the size of `image` `(H, W)` uint8.

    `probabilities` are `(1 + K, H, W)` float32, background first. Up to 3 panels form a row, and the picture is
    `(rows * H, columns * W, 3)`, for one class `(H, W, 3)`. A line surrounds the pixels that are assigned to the class
    before cleaning: those above `threshold` for a single class, else those where the class is the most probable.
    """
    labels = class_map(probabilities, threshold)
    single = len(structures) == 1
    rule = f"above {threshold:g}" if single else "most probable"
    panels = []
    for value, structure in enumerate(structures, start=1):
        panel = _panel(image, probabilities[value], labels == value)
        if min(image.shape) >= TINY_PX:
            text = f"{structure.name}, line: {rule}"
            panel = _with_text(panel, text, structure.color, threshold if single else None)
        panels.append(panel)
    columns = min(COLUMNS, len(panels))
    panels += [np.zeros_like(panels[0])] * (-len(panels) % columns)
    return np.vstack([np.hstack(panels[row : row + columns]) for row in range(0, len(panels), columns)])


def probability_levels(probabilities: NDArray[np.float32]) -> Pixels:
    """Return probabilities 0 to 1 as grey values 0 to 255, uint8 of the same shape, within 1/510 of them."""
    return np.rint(np.clip(probabilities, 0, 1) * 255).astype(np.uint8)


def _panel(image: Pixels, probability: NDArray[np.float32], inside: NDArray[np.bool_]) -> Picture:
    opacity = _OPACITY * np.minimum(probability / _OPAQUE_FROM, 1)[..., None]
    colors = _colored(probability_levels(probability))
    picture = np.rint(opacity * colors + (1 - opacity) * image[..., None]).astype(np.uint8)
    # Around the class, because a structure may be as thin as the line.
    width = max(1, round(text_scale(image)))
    line, halo = _dilated(inside, width), _dilated(inside, 2 * width)
    picture[halo & ~line] = (0, 0, 0)
    picture[line & ~inside] = _LINE
    return picture


def _dilated(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0


def _colored(levels: Pixels) -> Picture:
    return cv2.cvtColor(cv2.applyColorMap(levels, _MAP), cv2.COLOR_BGR2RGB)


def _with_text(picture: Picture, text: str, color: str, threshold: float | None) -> Picture:
    layer = TextLayer(picture, text_scale(picture))
    height = math.ceil(0.3 * picture.shape[0])
    scale = _colored(np.linspace(255, 0, height).round().astype(np.uint8)[:, None])[:, 0]
    if threshold is not None:
        scale[round((1 - threshold) * (height - 1))] = _LINE
    layer.bar([tuple(row) for row in scale.tolist()], {0.0: "1", 0.5: "0.5", 1.0: "0"})
    layer.strip(text, rgb(color))
    return layer.finish()
