"""Sections of a task file about results: postprocessing, measurements, evaluation, review."""

from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, Field, model_validator

from sonoseg.schema.quantity import Quantity, area_quantities, length_quantities
from sonoseg.schema.section import Positive, Probability, Section

ANY_SHAPE = "line", "rectangle", "ellipse", "region"


class AnatomicalRule(Section):
    """Anatomical rule: where `require` is absent from an image, `suppress` are removed from the result."""

    require: str
    suppress: list[str] = Field(min_length=1)


class Postprocessing(Section):
    threshold: Probability = Field(0.5, description="of a single class: pixels above this probability belong to it")
    fill_gaps: bool = True
    min_area_fraction: float = Field(
        0.0, ge=0, lt=1, description="smaller components, as a fraction of the image, are removed"
    )
    rules: list[AnatomicalRule] = Field([])
    shape_mask: bool = Field(
        False,
        description="ellipses only: the mask of a structure of shape ellipse is its fitted ellipse, filled, instead of "
        "the network's mask; shapes, measurements, confidence and review still follow from the network's mask",
    )


class Midline(Section):
    """Angle from vertical of a line class, and the offset from the image's centre at which it crosses the skin."""

    is_relative: ClassVar[bool] = False
    """Whether errors grow with the value, as those of a length; an angle or an offset may be 0."""

    kind: Literal["midline"]
    structure: str

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """Return what is measured, in the order of tables and JSON files."""
        return Quantity("midline_angle", "deg", "midline angle"), *length_quantities("midline_offset", "midline offset")

    @property
    def shapes_needed(self) -> dict[str, tuple[str, ...]]:
        """Return the classes that are measured, each with the shapes that it may have."""
        return {self.structure: ("line",)}


SKIN_ROW = "skin_row_px"
"""Reference of tasks that measure depths: the row at which the midline meets the skin."""


class DepthAlong(Section):
    """Distance from the skin to a structure, along a line class."""

    is_relative: ClassVar[bool] = True

    kind: Literal["depth_along"]
    structure: str
    line: str
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return length_quantities(self.name, f"skin to {self.structure}")

    @property
    def shapes_needed(self) -> dict[str, tuple[str, ...]]:
        return {self.structure: ANY_SHAPE, self.line: ("line",)}


class HeadBiometry(Section):
    """HC, BPD, OFD, cephalic index and gestational age from an ellipse class."""

    is_relative: ClassVar[bool] = True

    kind: Literal["head_biometry"]
    structure: str
    outline_width_fraction: float = Field(
        0.0,
        ge=0,
        lt=0.05,
        validation_alias=AliasChoices("outline_width_fraction", "pen_width"),
        description="width of the drawn outline that masks include / image diagonal; formerly pen_width",
    )

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        lengths = [quantity for name in ("hc", "bpd", "ofd") for quantity in length_quantities(name, name.upper())]
        index, age = (
            Quantity("cephalic_index", "pct", "cephalic index"),
            Quantity("gestational_age", "weeks", "gestational age"),
        )
        return *lengths, index, age

    @property
    def shapes_needed(self) -> dict[str, tuple[str, ...]]:
        return {self.structure: ("ellipse",)}


class StructureSize(Section):
    """Area and longest diameter of a region, rectangle or ellipse class."""

    is_relative: ClassVar[bool] = True

    kind: Literal["size"]
    structure: str
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return (
            *area_quantities(f"{self.name}_area", f"{self.structure} area"),
            *length_quantities(f"{self.name}_diameter", f"{self.structure} diameter"),
        )

    @property
    def shapes_needed(self) -> dict[str, tuple[str, ...]]:
        return {self.structure: ("region", "rectangle", "ellipse")}


MeasurementSection = Annotated[Midline | DepthAlong | HeadBiometry | StructureSize, Field(discriminator="kind")]


class Range(Section):
    """A result with a value outside [low, high] is to be checked; null is no limit. Outside `usual` there is a note."""

    low: float | None = None
    high: float | None = None
    usual: tuple[float, float] | None = Field(None, description="values outside get a note, and no other status")

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        if self.usual is not None and self.usual[0] > self.usual[1]:
            raise ValueError(f"usual: {self.usual[0]:g} is above {self.usual[1]:g}")
        return self


class Evaluation(Section):
    """Tolerance of the surface Dice: border pixels closer to the other border than this agree."""

    surface_tolerance_mm: Positive = 1.0
    surface_tolerance_px: Positive = Field(3.0, description="for images without a known pixel spacing")


class ShapeAgreement(Section):
    """Least intersection over union of a structure's mask and the shape fitted to it, below which it is to be checked.

    Lines and regions have none: a line has no width of its own, and a region is the outline of its mask.
    """

    # The 799 reference masks of HC18 agree with their ellipses by 0.998 or more (docs/results.md).
    ellipse: Probability = 0.9
    rectangle: Probability = 0.6


class Review(Section):
    """When a person should check a result, or not use it. These settings do not change the result itself."""

    min_confidence: Probability = 0.5
    acceptable_dice: Probability | None = Field(
        None,
        description="Dice from which a result is acceptable: results are rejected below the expected Dice at which at "
        "most 5 % of the others are not acceptable, and always where the expected loss (1 - Dice) is more than twice "
        "the acceptable one; null: 90 % of the median Dice on images that were not trained on",
    )
    expected: list[str] = Field([], description="classes without which a result is to be checked")
    ranges: dict[str, Range] = Field({}, description="measurement -> plausible range")
    shape_agreement: ShapeAgreement = ShapeAgreement()
    heatmap: bool = Field(False, description="stage 4 also draws the probability of each class")
