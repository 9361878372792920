"""The geometric steps. They form one map from output to input pixels, so that image and mask are each sampled once, at
the same positions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator

from sonoseg.preprocess.augmentation.interpolation import Field, smooth_field
from sonoseg.schema.images import Augmentation
from sonoseg.types import Pixels


@dataclass(frozen=True)
class GeometricParameters:
    """The geometric parameters of an augmented copy; None and False omit a step, lengths are fractions."""

    flip_horizontal: bool = False
    flip_vertical: bool = False
    shift: tuple[float, float] | None = (
        None  # (x, y), fractions of width and height; set together with scale and rotate_deg
    )
    scale: float = 1.0
    rotate_deg: float = 0.0
    elastic: tuple[int, float, float] | None = None  # seed of the field, amplitude and smoothness / diagonal
    grid: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # relative widths of columns, heights of rows

    def steps(self) -> list[str]:
        """Return the names of the steps, empty when there are none."""
        used = {
            "flip_horizontal": self.flip_horizontal,
            "flip_vertical": self.flip_vertical,
            "shift_scale_rotate": self.shift is not None,
            "elastic": self.elastic is not None,
            "grid_distortion": self.grid is not None,
        }
        return [name for name, is_used in used.items() if is_used]


def draw_geometric(settings: Augmentation, chances: Sequence[float], rng: Generator) -> GeometricParameters:
    """Draw the parameters of the geometric steps. chances: a uniform number of 0 to 1 for each of the five steps.

    All numbers are drawn in every call, so that the probability of a step does not change the numbers of the others.
    """
    shift, scale, turn = rng.uniform(-1, 1, 2), rng.uniform(-1, 1), rng.uniform(-1, 1)
    field_seed = int(rng.integers(2**31))
    widths = rng.uniform(-1, 1, (2, settings.grid_distortion.cells if settings.grid_distortion else 1))
    chosen: dict[str, Any] = {
        "flip_horizontal": bool(chances[0] < settings.flip_horizontal),
        "flip_vertical": bool(chances[1] < settings.flip_vertical),
    }
    moved, elastic, grid = settings.shift_scale_rotate, settings.elastic, settings.grid_distortion
    if moved and chances[2] < moved.probability:
        chosen["shift"] = (float(shift[0] * moved.shift), float(shift[1] * moved.shift))
        chosen["scale"] = 1 + float(scale) * moved.scale
        chosen["rotate_deg"] = float(turn) * moved.rotate_deg
    if elastic and chances[3] < elastic.probability:
        chosen["elastic"] = (field_seed, elastic.amplitude, elastic.smoothness)
    if grid and chances[4] < grid.probability:
        columns, rows = 1 + widths * grid.limit
        chosen["grid"] = (tuple(map(float, columns)), tuple(map(float, rows)))
    return GeometricParameters(**chosen)


def sampling_map(parameters: GeometricParameters, size: tuple[int, ...]) -> tuple[Field, Field]:
    """Return (x, y) of the source for each output pixel, two `(H, W)` float32 fields."""
    height, width = size[:2]
    # A row of x and a column of y, until a step makes each depend on both.
    x: Field = np.arange(width, dtype=np.float32)[None, :]
    y: Field = np.arange(height, dtype=np.float32)[:, None]
    if parameters.elastic is not None:
        dx, dy = smooth_field(*parameters.elastic, (height, width))
        x, y = x + dx, y + dy
    if parameters.grid is not None:
        x, y = _stretch(x, parameters.grid[0], width), _stretch(y, parameters.grid[1], height)
    if parameters.shift is not None:
        x, y = _shift_scale_rotate(x, y, parameters, height, width)
    if parameters.flip_horizontal:
        x = width - 1 - x
    if parameters.flip_vertical:
        y = height - 1 - y
    across, down = (np.broadcast_to(part, (height, width)).astype(np.float32, "C") for part in (x, y))
    return across, down


def sample(image: Pixels, mask: Pixels, across: Field, down: Field) -> tuple[Pixels, Pixels]:
    """Return (image, mask), both `(H, W)` uint8, at the positions of a map; 0 in both from outside the image.

    The image is sampled linearly, the mask by nearest neighbour: it contains only class indices that it had.
    """
    image = cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    mask = cv2.remap(mask, across, down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    return image, mask


def _shift_scale_rotate(
    x: Field, y: Field, parameters: GeometricParameters, height: int, width: int
) -> tuple[Field, Field]:
    """Shift, scale and rotate about the image's centre; the inverse map, from output to input pixels."""
    assert parameters.shift is not None
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    angle = math.radians(parameters.rotate_deg)
    # Python's floats keep the maps in 32 bits.
    cosine, sine = math.cos(angle) / parameters.scale, math.sin(angle) / parameters.scale
    x, y = x - centre_x - parameters.shift[0] * width, y - centre_y - parameters.shift[1] * height
    x, y = cosine * x + sine * y, cosine * y - sine * x
    return x + np.float32(centre_x), y + np.float32(centre_y)


def _stretch(positions: Field, widths: tuple[float, ...], size: int) -> Field:
    """Stretch equal cells to the given relative widths, which add up to the same total (probe pressure does this)."""
    even = np.linspace(0, size - 1, len(widths) + 1)
    edges = np.concatenate([[0.0], np.cumsum(widths)]) / sum(widths) * (size - 1)
    return np.interp(positions, even, edges).astype(np.float32)
