"""The expected output of a network on a fixed image, stored in its model file and compared at every load.

A conversion of another network, swapped weights or an engine that computes wrongly is noticed before the first result.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoseg.preprocess.intensity import normalise
from sonoseg.schema.images import Input
from sonoseg.types import Maps, Pixels

PROBE_FORMAT = 1
"""To be raised with every change of the image or the grid; an output of another format is computed again."""
TOLERANCE = 0.002
"""Largest difference of a mean probability in float32. Engines and processors differ by less than 1e-5, two trainings
of a task by more than 0.8."""
TOLERANCE_FEW_BITS = 0.15
"""The same where multiplications have fewer bits: bfloat16, and TF32, with which CUDA computes convolutions.
Measured on a processor with bfloat16: up to 0.044."""

_GRID = (24, 32)
"""Rows and columns of cells at most."""
_LEVELS = 65535


@dataclass(frozen=True)
class Probe:
    """Mean class probabilities of each cell of the probe image, `(1 + K, rows, cols)` uint16, 65535 for 1."""

    cells: NDArray[np.uint16]

    @classmethod
    def of(cls, maps: Maps) -> "Probe":
        """Return the probe of probabilities `(1, 1 + K, h, w)`; those that are not finite count as 0."""
        return cls(np.rint(np.clip(np.nan_to_num(_cell_means(maps[0])), 0, 1) * _LEVELS).astype("<u2"))

    @classmethod
    def from_json(cls, values: Any, classes: int, settings: Input) -> "Probe | None":
        """Return the probe of a model header; None when there is none, or one of another format.

        Raises ValueError when it is not one of a network with K = `classes` and these settings.
        """
        if values is None or (isinstance(values, dict) and values.get("format") != PROBE_FORMAT):
            return None
        shape = (1 + classes, *_grid(settings.size))
        try:
            data = base64.b64decode(values["cells"], validate=True)
            return cls(np.frombuffer(data, "<u2").reshape(shape))
        except (KeyError, TypeError, ValueError, binascii.Error):
            raise ValueError(f"probe: expected base64 of {'x'.join(map(str, shape))} numbers of 16 bits") from None

    def to_json(self) -> dict[str, Any]:
        """Return the entry `probe` of a model header."""
        return {"format": PROBE_FORMAT, "cells": base64.b64encode(self.cells.tobytes()).decode("ascii")}

    def difference(self, maps: Maps) -> float:
        """Return the largest difference, 0 to 1, of a cell from probabilities `(1, 1 + K, h, w)`.

        Infinite when the number of classes differs or a value is not finite.
        """
        if maps.shape[:2] != (1, len(self.cells)) or not np.isfinite(maps).all():
            return float("inf")
        means = _cell_means(maps[0])
        if means.shape != self.cells.shape:
            return float("inf")
        return float(np.abs(means - self.cells.astype(np.float32) / _LEVELS).max())


def probe_input(settings: Input) -> Maps:
    """Return the probe image `(1, 1, h, w)` float32 at a network's input size, normalised."""
    return normalise(probe_image(settings.size), settings.intensity)[None, None]


def probe_image(size: tuple[int, int]) -> Pixels:
    """Return a picture `(h, w)` uint8 with a bright ellipse, a line, a dark disc and speckle.

    Integers only, and scaled by the nearest pixel, so that it is the same with every version and processor.
    """
    y, x = np.ogrid[:96, :128]
    ellipse = (4 * (y - 48)) ** 2 + (3 * (x - 64)) ** 2  # semi-axes of 30 and 40 pixels: 120 ** 2
    tissue = np.where(ellipse < 120**2, 50 + y // 4, 60 + 2 * y // 3 + x // 4)
    tissue = np.where((ellipse >= 112**2) & (ellipse < 128**2), 240, tissue)
    tissue = np.where(np.abs(x - 64) < 2, 200, tissue)
    tissue = np.where((y - 75) ** 2 + (x - 95) ** 2 < 12**2, 15, tissue)
    noise = (y * 374761393 + x * 668265263) & 0xFFFFFFFF  # speckle: a hash of the position, averaged over 3x3 pixels
    noise = ((noise ^ (noise >> 13)) * 1274126177) & 0xFFFFFFFF
    noise = (noise ^ (noise >> 16)) & 0xFF
    noise = sum(np.roll(noise, shift, 0) for shift in (-1, 0, 1))
    noise = sum(np.roll(noise, shift, 1) for shift in (-1, 0, 1)) // 9
    picture = np.clip(tissue * (64 + noise) // 192, 0, 255).astype(np.uint8)
    height, width = size
    return picture[np.arange(height)[:, None] * 96 // height, np.arange(width)[None] * 128 // width]


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    return min(_GRID[0], size[0]), min(_GRID[1], size[1])


def _cell_means(maps: Maps) -> Maps:
    """Return the mean of each cell of `(C, h, w)` as `(C, rows, cols)`; cells differ by one pixel at most."""
    rows, cols = _grid((maps.shape[1], maps.shape[2]))
    tops, lefts = (np.arange(count) * side // count for count, side in ((rows, maps.shape[1]), (cols, maps.shape[2])))
    sums = np.add.reduceat(np.add.reduceat(maps, tops, axis=1), lefts, axis=2)
    heights, widths = np.diff([*tops, maps.shape[1]]), np.diff([*lefts, maps.shape[2]])
    return np.asarray(sums / (heights[:, None] * widths[None]), np.float32)
