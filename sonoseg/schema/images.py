"""Sections of a task file about images: enhancement, the network's input, augmentation.

Sizes are (height, width) in pixels.
"""

from typing import Annotated, Literal

from pydantic import Field

from sonoseg.schema.section import Positive, Probability, Section
from sonoseg.sizes import MAX_COPIES

Side = Annotated[int, Field(ge=16, le=8192)]


class Denoise(Section):
    """Non-local means (`cv2.fastNlMeansDenoising`)."""

    strength: float = Field(5, gt=0, le=255)
    template: int = Field(7, ge=1, le=51)
    search: int = Field(21, ge=1, le=101)


class Clahe(Section):
    """Contrast-limited adaptive histogram equalisation on a grid of `tiles` x `tiles`."""

    clip: Positive = 2.0
    tiles: int = Field(8, ge=1, le=256)


class Unsharp(Section):
    """(1 + amount) * image - amount * gaussian(image, sigma)."""

    sigma: float = Field(3.0, gt=0, le=100)
    amount: float = Field(0.5, gt=0, le=100)


class Enhancement(Section):
    """Applied to every image, in this order; a step that is null is left out."""

    denoise: Denoise | None = None
    clahe: Clahe | None = None
    unsharp: Unsharp | None = None


class Input(Section):
    """How an image becomes the network's input."""

    size: tuple[Side, Side]
    fit: Literal["resize", "letterbox", "pad_or_crop", "pad_square"] = "resize"
    square_px: int | None = Field(
        None, ge=16, le=16384, description="pad_square: side before resizing; null: the longer side"
    )
    intensity: Literal["unit", "z_score"] = "unit"


class ShiftScaleRotate(Section):
    probability: Probability
    shift: float = Field(0.0625, ge=0, le=0.5, description="largest shift, as a fraction of the image's size")
    scale: float = Field(0.1, ge=0, lt=1, description="largest change of scale, 0.1: 0.9 to 1.1")
    rotate_deg: float = Field(10, ge=0, le=180)


class Elastic(Section):
    probability: Probability
    amplitude: float = Field(0.006, gt=0, le=0.1, description="standard deviation of the displacement / image diagonal")
    smoothness: float = Field(0.04, gt=0, le=1, description="half the distance of the knots / image diagonal")


class GridDistortion(Section):
    probability: Probability
    cells: int = Field(5, ge=2, le=100)
    limit: float = Field(0.3, gt=0, lt=1, description="largest relative change of a cell's width")


class Gamma(Section):
    probability: Probability
    limit: float = Field(0.3, gt=0, lt=1, description="exponent drawn between 1 - limit and 1 + limit")


class Augmentation(Section):
    """Augmented copies of each training image. Image and mask are warped alike; gamma changes the image alone."""

    copies: int = Field(7, ge=0, le=MAX_COPIES)
    online: bool = Field(False, description="drawn in every epoch of training instead of being written by stage 2")
    flip_horizontal: Probability = 0.0
    flip_vertical: Probability = 0.0
    shift_scale_rotate: ShiftScaleRotate | None = None
    elastic: Elastic | None = None
    grid_distortion: GridDistortion | None = None
    gamma: Gamma | None = None
