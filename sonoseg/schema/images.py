"""Sections of a task file about images: enhancement, the network's input, augmentation.

Sizes are (height, width) in pixels.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SerializerFunctionWrapHandler, model_serializer

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


def _in_order(limits: tuple[float, float]) -> tuple[float, float]:
    """Return the limits of a range. Raises ValueError when the lower one is the larger."""
    if limits[0] > limits[1]:
        raise ValueError(f"low {limits[0]:g} is above high {limits[1]:g}")
    return limits


IN_ORDER = AfterValidator(_in_order)
ZoomFactor = Annotated[float, Field(ge=1, le=10)]
GreyValues = Annotated[float, Field(ge=0, le=255)]
GaussianPx = Annotated[float, Field(ge=0.1, le=50)]
Reduction = Annotated[float, Field(ge=0.05, le=1)]
Fractions = Annotated[tuple[Probability, Probability], IN_ORDER]
Divergence = Annotated[float, Field(ge=0, le=10)]


class ForegroundZoom(Section):
    """Enlarges the copy about a random pixel of a small structure, so that small structures are seen larger and more
    often in its middle; nothing happens where an image has no small structure."""

    probability: Probability
    factor: Annotated[tuple[ZoomFactor, ZoomFactor], IN_ORDER] = (1.3, 2.5)
    max_area_fraction: float = Field(0.01, gt=0, le=1, description="largest area of a small structure / image area")


class Speckle(Section):
    """Multiplies by 1 + a smoothed Gaussian field: speckle, which is wider across the beam than along it."""

    probability: Probability
    strength: Fractions = Field((0.05, 0.2), description="standard deviation of the field")
    size_px: Annotated[tuple[GaussianPx, GaussianPx], IN_ORDER] = Field(
        (1.0, 2.0), description="sigma of the smoothing along the beam; across it is twice as much"
    )


class Shadow(Section):
    """Acoustic shadow: a band along the beam, darkened below a start point, with soft edges."""

    probability: Probability
    strength: Fractions = Field(
        (0.4, 0.9), description="share of the brightness that is lost in the middle of the band"
    )
    width: Fractions = Field((0.1, 0.3), description="width of the band at its start / image width")
    depth: Fractions = Field((0.1, 0.6), description="row at which the band starts / image height")
    divergence: Annotated[tuple[Divergence, Divergence], IN_ORDER] = Field(
        (0.0, 1.5), description="how much farther apart beams are at the bottom than at the top; 0: a linear probe"
    )


class DepthGain(Section):
    """Error of the time gain compensation: multiplies each row by a smooth random curve over depth."""

    probability: Probability
    limit: float = Field(0.3, gt=0, lt=1, description="gains at the knots are drawn between 1 - limit and 1 + limit")
    knots: int = Field(5, ge=2, le=100, description="number of equidistant depths at which a gain is drawn")


class Blur(Section):
    probability: Probability
    sigma_px: Annotated[tuple[GaussianPx, GaussianPx], IN_ORDER] = (0.5, 1.5)


class LowResolution(Section):
    """Reduces the image and enlarges it to its size again."""

    probability: Probability
    factor: Annotated[tuple[Reduction, Reduction], IN_ORDER] = Field(
        (0.3, 0.8), description="size of the reduced image / size of the image"
    )


class Noise(Section):
    """Adds Gaussian noise, independent in each pixel."""

    probability: Probability
    sd: Annotated[tuple[GreyValues, GreyValues], IN_ORDER] = Field(
        (2.0, 10.0), description="standard deviation in grey values"
    )


class Gain(Section):
    """Multiplies all grey values."""

    probability: Probability
    limit: float = Field(0.25, gt=0, lt=1, description="factor drawn between 1 - limit and 1 + limit")


class Contrast(Section):
    """Multiplies the distances of grey values from their mean."""

    probability: Probability
    limit: float = Field(0.25, gt=0, lt=1, description="factor drawn between 1 - limit and 1 + limit")


ALWAYS_WRITTEN = {"shift_scale_rotate", "elastic", "grid_distortion", "gamma"}
"""Steps that are part of a dumped section also when they are null."""


class Augmentation(Section):
    """Augmented copies of each training image; a step that is null is left out.

    Image and mask are warped alike, from flips to `foreground_zoom`; the other steps change the image alone, in this
    order.
    """

    copies: int = Field(7, ge=0, le=MAX_COPIES)
    online: bool = Field(False, description="drawn in every epoch of training instead of being written by stage 2")
    flip_horizontal: Probability = 0.0
    flip_vertical: Probability = 0.0
    shift_scale_rotate: ShiftScaleRotate | None = None
    elastic: Elastic | None = None
    grid_distortion: GridDistortion | None = None
    foreground_zoom: ForegroundZoom | None = None
    speckle: Speckle | None = None
    shadow: Shadow | None = None
    depth_gain: DepthGain | None = None
    blur: Blur | None = None
    low_resolution: LowResolution | None = None
    noise: Noise | None = None
    gain: Gain | None = None
    contrast: Contrast | None = None
    gamma: Gamma | None = None

    @model_serializer(mode="wrap")
    def _without_null_steps(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out null steps but the oldest: a new step keeps the fingerprints of earlier settings."""
        fields = handler(self)
        return {name: value for name, value in fields.items() if value is not None or name in ALWAYS_WRITTEN}
