"""Sections of a task file about results: postprocessing, measurements, evaluation, review."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sonoseg.schema.section import Positive, Probability, Section


class Requirement(Section):
    """Anatomical rule: without `require` in the image, `suppress` are removed from the result."""

    require: str
    suppress: list[str] = Field(min_length=1)


class Postprocessing(Section):
    threshold: Probability = Field(0.5, description="one class only: pixels above this probability belong to it")
    fill_gaps: bool = True
    min_area_fraction: float = Field(0.0, ge=0, lt=1, description="smaller pieces, as a part of the image, are dropped")
    rules: list[Requirement] = Field([])


class Midline(Section):
    """Angle from vertical and offset from the image's centre of a line class."""

    kind: Literal["midline"]
    structure: str

    @property
    def values(self) -> tuple[str, ...]:
        """Names of what is measured: columns of the tables, keys of `review.ranges` and `metadata.reference`."""
        return "midline_angle_deg", "midline_offset_mm", "midline_offset_px"


class DepthAlong(Section):
    """Distance from the skin to a structure, along a line class."""

    kind: Literal["depth_along"]
    structure: str
    line: str
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")

    @property
    def values(self) -> tuple[str, ...]:
        return f"{self.name}_mm", f"{self.name}_px"


class HeadBiometry(Section):
    """HC, BPD, OFD, cephalic index and gestational age from an ellipse class."""

    kind: Literal["head_biometry"]
    structure: str
    pen_width: float = Field(0.0, ge=0, lt=0.05, description="width of the line that masks include / image diagonal")

    @property
    def values(self) -> tuple[str, ...]:
        lengths = [f"{name}_{unit}" for name in ("hc", "bpd", "ofd") for unit in ("mm", "px")]
        return *lengths, "cephalic_index_pct", "gestational_age_weeks"


Measure = Annotated[Midline | DepthAlong | HeadBiometry, Field(discriminator="kind")]


class Range(Section):
    """Values outside [low, high] flag the result; null is no limit."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class Evaluation(Section):
    """How far a surface may lie from the reference's and still count as right in the surface Dice."""

    surface_tolerance_mm: Positive = 1.0
    surface_tolerance_px: Positive = Field(3.0, description="for images without a known pixel spacing")


class Review(Section):
    """When a result is flagged for a person to look at. Values here never change the result itself."""

    min_confidence: Probability = 0.5
    expected: list[str] = Field([], description="classes whose absence flags the result")
    ranges: dict[str, Range] = Field({}, description="measurement -> plausible range")
    heatmap: bool = Field(False, description="stage 4 also draws the probability of each class")
