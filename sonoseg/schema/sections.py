"""The sections of a task file. A field that is not listed here is an error, so a typing mistake is found at once.

Sizes are (height, width) in pixels.
"""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """Base of every section: unknown fields are refused, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Structure(Part):
    """One class of the segmentation. Its index is its place in the task's list, from 1."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    shape: Literal["line", "rectangle", "ellipse", "region"]
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    thickness_px: Positive | None = Field(None, description="drawing width of a line, in pixels of its own image")
    covered_by: list[str] = Field([], description="classes drawn over this one where they cross")
    keep: Literal["all", "largest"] = Field("all", description="pieces of a prediction that are kept")

    @model_validator(mode="after")
    def _line_has_thickness(self) -> "Structure":
        if (self.shape == "line") != (self.thickness_px is not None):
            raise ValueError("thickness_px belongs to the shape 'line': set it there and nowhere else")
        return self


class ShapesJson(Part):
    """One JSON file: image name -> list of [class, shape, points]."""

    format: Literal["shapes_json"]
    images: str = Field("images", description="folder of the pictures, inside the data folder")
    file: str = "annotations.json"


class MaskFolder(Part):
    """A mask picture per image, paired by file name: <name><image_suffix> with <name><mask_suffix>."""

    format: Literal["mask_folder"]
    images: str = "images"
    masks: str = "masks"
    image_suffix: str = ""
    mask_suffix: str = "_mask"
    fill_outlines: bool = Field(False, description="masks are outlines: fill what they enclose")


class Metadata(Part):
    """A table with one row per image: pixel spacing, patient, reference measurements."""

    file: str = "metadata.csv"
    image: str = Field("image", description="column with the image's file name or stem")
    row_mm: str = "row_mm"
    col_mm: str = "col_mm"
    reference: dict[str, str] = Field({}, description="measurement -> column with its reference value")


class Patients(Part):
    """How patients are told apart: a column of the metadata table, or a pattern on the file's stem."""

    column: str | None = None
    pattern: str | None = Field(None, description="regular expression; its first group is the patient")

    @field_validator("pattern")
    @classmethod
    def _one_group(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if groups != 1:
                raise ValueError("the pattern needs exactly one (group), which is the patient")
        return pattern

    @model_validator(mode="after")
    def _one_way(self) -> "Patients":
        if (self.column is None) == (self.pattern is None):
            raise ValueError("name either a column or a pattern")
        return self


class Split(Part):
    """How much of the patients only tests, and how many parts the others have. Flags of stage 1 go before it."""

    test_size: float = Field(0.2, ge=0.01, le=0.99)
    folds: int = Field(5, ge=2, le=100)


class Denoise(Part):
    """Non-local means (`cv2.fastNlMeansDenoising`)."""

    strength: Positive = 5
    template: int = Field(7, ge=1)
    search: int = Field(21, ge=1)


class Clahe(Part):
    """Contrast-limited adaptive histogram equalisation on a grid of `tiles` x `tiles`."""

    clip: Positive = 2.0
    tiles: int = Field(8, ge=1)


class Unsharp(Part):
    """(1 + amount) * image - amount * gaussian(image, sigma)."""

    sigma: Positive = 3.0
    amount: Positive = 0.5


class Enhancement(Part):
    """Always applied, in this order, to every image; a step that is null is left out."""

    denoise: Denoise | None = None
    clahe: Clahe | None = None
    unsharp: Unsharp | None = None


class Input(Part):
    """What the network sees."""

    size: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]]
    fit: Literal["resize", "letterbox", "pad_or_crop", "pad_square"] = "resize"
    square_px: int | None = Field(None, ge=16, description="pad_square: side before resizing; null: the longer side")
    intensity: Literal["unit", "z_score"] = "unit"


class ShiftScaleRotate(Part):
    probability: Probability
    shift: float = Field(0.0625, ge=0, le=0.5, description="largest shift, as a part of the image's size")
    scale: float = Field(0.1, ge=0, lt=1, description="largest change of scale, 0.1: 0.9 to 1.1")
    rotate_deg: float = Field(10, ge=0, le=180)


class Elastic(Part):
    probability: Probability
    amplitude: float = Field(0.006, gt=0, le=0.1, description="standard deviation of the displacement / image diagonal")
    smoothness: float = Field(0.04, gt=0, le=1, description="half the distance of the knots / image diagonal")


class GridDistortion(Part):
    probability: Probability
    cells: int = Field(5, ge=2)
    limit: float = Field(0.3, gt=0, lt=1, description="largest change of a cell's width, as a part of it")


class Gamma(Part):
    probability: Probability
    limit: float = Field(0.3, gt=0, lt=1, description="exponent drawn between 1 - limit and 1 + limit")


class Augmentation(Part):
    """Copies of each training image. Geometry warps image and mask by one map; gamma changes the image alone."""

    copies: int = Field(7, ge=0)
    online: bool = Field(False, description="copies are not made by stage 2, but drawn anew in every epoch of training")
    flip_horizontal: Probability = 0.0
    flip_vertical: Probability = 0.0
    shift_scale_rotate: ShiftScaleRotate | None = None
    elastic: Elastic | None = None
    grid_distortion: GridDistortion | None = None
    gamma: Gamma | None = None


class Requirement(Part):
    """Anatomical rule: without `require` in the image, `suppress` are removed from the result."""

    require: str
    suppress: list[str] = Field(min_length=1)


class Postprocessing(Part):
    threshold: Probability = Field(0.5, description="one class only: pixels above this probability belong to it")
    fill_gaps: bool = True
    min_area_fraction: float = Field(0.0, ge=0, lt=1, description="smaller pieces, as a part of the image, are dropped")
    rules: list[Requirement] = []


class Midline(Part):
    """Angle from vertical and offset from the image's centre of a line class."""

    kind: Literal["midline"]
    structure: str

    @property
    def values(self) -> tuple[str, ...]:
        """Names of what is measured: columns of the tables, keys of `review.ranges` and `metadata.reference`."""
        return "midline_angle_deg", "midline_offset_mm", "midline_offset_px"


class DepthAlong(Part):
    """Distance from the skin to a structure, along a line class."""

    kind: Literal["depth_along"]
    structure: str
    line: str
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")

    @property
    def values(self) -> tuple[str, ...]:
        return f"{self.name}_mm", f"{self.name}_px"


class HeadBiometry(Part):
    """HC, BPD, OFD, cephalic index and gestational age from an ellipse class."""

    kind: Literal["head_biometry"]
    structure: str
    pen_width: float = Field(0.0, ge=0, lt=0.05, description="width of the line that masks include / image diagonal")

    @property
    def values(self) -> tuple[str, ...]:
        lengths = [f"{name}_{unit}" for name in ("hc", "bpd", "ofd") for unit in ("mm", "px")]
        return *lengths, "cephalic_index_pct", "gestational_age_weeks"


Measure = Annotated[Midline | DepthAlong | HeadBiometry, Field(discriminator="kind")]


class Range(Part):
    """Values outside [low, high] flag the result; null is no limit."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class Evaluation(Part):
    """How far a surface may lie from the reference's and still count as right in the surface Dice."""

    surface_tolerance_mm: Positive = 1.0
    surface_tolerance_px: Positive = Field(3.0, description="for images without a known pixel spacing")


class Review(Part):
    """When a result is flagged for a person to look at. Values here never change the result itself."""

    min_confidence: Probability = 0.5
    expected: list[str] = Field([], description="classes whose absence flags the result")
    ranges: dict[str, Range] = Field({}, description="measurement -> plausible range")
    heatmap: bool = Field(False, description="stage 4 also draws the probability of each class")
