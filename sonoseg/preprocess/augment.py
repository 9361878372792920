"""Augmentation: parameters are drawn in one function and applied in another.

All geometric steps form one map from output to input pixels, so that image and mask are each sampled once, at the same
positions.
"""

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from sonoseg.schema.images import Augmentation
from sonoseg.types import Pixels

Field = NDArray[np.float32]


@dataclass(frozen=True)
class AugmentationParameters:
    """The parameters of an augmented copy; None and False omit a step, lengths are fractions."""

    flip_horizontal: bool = False
    flip_vertical: bool = False
    shift: tuple[float, float] | None = (
        None  # (x, y), fractions of width and height; set together with scale and rotate_deg
    )
    scale: float = 1.0
    rotate_deg: float = 0.0
    elastic: tuple[int, float, float] | None = None  # seed of the field, amplitude and smoothness / diagonal
    grid: tuple[tuple[float, ...], tuple[float, ...]] | None = None  # relative widths of columns, heights of rows
    gamma: float | None = None

    def describe(self) -> str:
        """Return the names of the steps, such as `flip_horizontal+elastic`; `identity` when there are none."""
        steps = {
            "flip_horizontal": self.flip_horizontal,
            "flip_vertical": self.flip_vertical,
            "shift_scale_rotate": self.shift is not None,
            "elastic": self.elastic is not None,
            "grid_distortion": self.grid is not None,
            "gamma": self.gamma is not None,
        }
        return "+".join(name for name, used in steps.items() if used) or "identity"


def draw_parameters(settings: Augmentation, rng: Generator) -> AugmentationParameters:
    """Draw the parameters of a copy.

    All numbers are drawn in every call, so that the probability of a step does not change the numbers of the others.
    """
    chances = rng.random(6)
    shift, scale, turn = rng.uniform(-1, 1, 2), rng.uniform(-1, 1), rng.uniform(-1, 1)
    field_seed = int(rng.integers(2**31))
    widths = rng.uniform(-1, 1, (2, settings.grid_distortion.cells if settings.grid_distortion else 1))
    exponent = rng.uniform(-1, 1)
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
    if settings.gamma and chances[5] < settings.gamma.probability:
        chosen["gamma"] = 1 + float(exponent) * settings.gamma.limit
    return AugmentationParameters(**chosen)


def apply(parameters: AugmentationParameters, image: Pixels, mask: Pixels) -> tuple[Pixels, Pixels]:
    """Return the augmented (image, mask), both `(H, W)` uint8. Pixels from outside the image are 0 in both.

    The image is sampled linearly, the mask by nearest neighbour: it contains only class indices that it had.
    """
    across, down = sampling_map(parameters, image.shape)
    image = cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    mask = cv2.remap(mask, across, down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0)
    if parameters.gamma is not None:
        levels = np.linspace(0, 1, 256) ** parameters.gamma * 255
        image = cv2.LUT(image, np.rint(levels).astype(np.uint8))
    return image, mask


def copy_generator(source: str, seed: int, copy: int, *epoch: int) -> Generator:
    """Return the generator of one copy of one image: it depends on these arguments alone, not on other images."""
    digest = hashlib.sha256(source.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big"), copy, *epoch])


def sampling_map(parameters: AugmentationParameters, size: tuple[int, ...]) -> tuple[Field, Field]:
    """Return (x, y) of the source for each output pixel, two `(H, W)` float32 fields."""
    height, width = size[:2]
    # A row of x and a column of y, until a step makes each depend on both.
    x: Field = np.arange(width, dtype=np.float32)[None, :]
    y: Field = np.arange(height, dtype=np.float32)[:, None]
    if parameters.elastic is not None:
        dx, dy = _smooth_field(*parameters.elastic, (height, width))
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


def _shift_scale_rotate(
    x: Field, y: Field, parameters: AugmentationParameters, height: int, width: int
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


def _smooth_field(seed: int, amplitude: float, smoothness: float, size: tuple[int, int]) -> tuple[Field, Field]:
    """Return a smooth random displacement (x, y) in pixels: normal noise at knots, interpolated cubically.

    `amplitude` is its standard deviation at the knots, `smoothness` half their distance, in parts of the diagonal.
    """
    height, width = size
    diagonal = float(np.hypot(height, width))
    step = max(2.0, 2 * smoothness * diagonal)
    knots = [int(np.ceil(length / step)) + 4 for length in size]
    noise = np.random.default_rng(seed).normal(0, amplitude * diagonal, (2, *knots)).astype(np.float32)
    down, across = (_cubic_weights(length, step, count) for length, count in zip(size, knots, strict=True))
    dx, dy = (_product(_product(down, part), across, flags=cv2.GEMM_2_T) for part in noise)
    return dx, dy


def _product(a: Field, b: Field, flags: int = 0) -> Field:
    """Multiply matrices by OpenCV: NumPy's product starts threads, which compete with other workers."""
    return cv2.gemm(a, b, 1, None, 0, flags=flags)


def _cubic_weights(length: int, step: float, knots: int) -> Field:
    """Return `(length, knots)`: the weight of each knot, `step` pixels apart, at each pixel (Keys 1981, a = -1/2).

    The first knot lies one step before the first pixel, because the kernel reaches two knots to either side.
    """
    positions = np.arange(length)[:, None] / step + 1
    distance = np.abs(positions - np.arange(knots))
    near = 1 - 2.5 * distance**2 + 1.5 * distance**3
    far = 2 - 4 * distance + 2.5 * distance**2 - 0.5 * distance**3
    return np.where(distance < 1, near, np.where(distance < 2, far, 0)).astype(np.float32)
