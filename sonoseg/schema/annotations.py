"""Sections of a task file about the annotated data: classes, metadata, patients, split."""

import re
from collections.abc import Sequence
from math import prod
from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from sonoseg.schema.section import InnerPath, Positive, Section
from sonoseg.sizes import Spacing

PATTERN_SECONDS = 0.2
"""Time limit of a search for the patient in one file name."""
MAX_REPEATS = 10_000
"""Largest product of the numbers in a pattern's braces: compiling it takes memory in proportion."""
_REPEATS = re.compile(r"\{(\d*),?(\d*)\}")


class StructureCode(Section):
    """What a structure is in DICOM: a code of SNOMED CT (SCT), of DICOM (DCM), or of a private scheme (99...)."""

    scheme: str = Field(pattern=r"^(SCT|DCM|99[A-Z0-9_]{1,14})$")
    value: str = Field(pattern=r"^[A-Za-z0-9._-]{1,16}$")
    meaning: str = Field(pattern=r"^[ -\[\]-~]{1,64}$", description="what the code stands for, as its scheme has it")
    category: Literal["anatomical_structure", "morphologically_abnormal_structure", "tissue", "spatial_concept"] = (
        "anatomical_structure"
    )


class Structure(Section):
    """One class of the segmentation. Its value in label maps is its position in the task's list, from 1."""

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=100)
    shape: Literal["line", "rectangle", "ellipse", "region"]
    color: str = Field(pattern=r"^#[0-9a-fA-F]{6}$")
    thickness_px: float | None = Field(
        None, gt=0, le=1000, description="drawing width of a line, in pixels of its own image"
    )
    covered_by: list[str] = Field([], description="classes drawn over this one where they cross")
    keep: Literal["all", "largest"] = Field("all", description="components of a prediction that are kept")
    code: StructureCode | None = Field(
        None, description="name in DICOM; null: that of SonoSeg's task, or a private one"
    )

    @model_serializer(mode="wrap")
    def _without_null_code(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `code: null`: tasks without codes keep the fingerprints of earlier versions."""
        fields = handler(self)
        return {name: value for name, value in fields.items() if name != "code" or value is not None}

    @model_validator(mode="after")
    def _line_has_thickness(self) -> "Structure":
        if (self.shape == "line") != (self.thickness_px is not None):
            raise ValueError("thickness_px belongs to the shape 'line': set it there and nowhere else")
        return self


def label_values(structures: Sequence[Structure]) -> dict[str, int]:
    """Return class name -> value in label maps, 1 for the first."""
    return {structure.name: value for value, structure in enumerate(structures, start=1)}


def drawing_order(structures: Sequence[Structure]) -> list[Structure]:
    """Return the structures so that each comes before those that cover it. Raises ValueError for a cycle."""
    order: list[Structure] = []
    remaining = list(structures)
    while remaining:
        names = {structure.name for structure in remaining}
        # On top are those that no remaining one covers, so the list is filled from its end.
        top = [structure for structure in remaining if not names & set(structure.covered_by)]
        if not top:
            raise ValueError(f"structures: covered_by forms a cycle: {', '.join(_cycle(remaining))}; remove one entry")
        order = top + order
        remaining = [structure for structure in remaining if structure not in top]
    return order


def _cycle(structures: Sequence[Structure]) -> list[str]:
    """Return the names of structures of which each is covered by the next; every one given is covered by another."""
    by_name = {structure.name: structure for structure in structures}
    trail = [structures[0].name]
    while True:
        above = next(name for name in by_name[trail[-1]].covered_by if name in by_name)
        if above in trail:
            return trail[trail.index(above) :]
        trail.append(above)


UNITS_MM = {"mm": 1.0, "cm": 10.0, "um": 0.001}
"""Unit of a table's pixel sizes -> millimetres of one of it."""


class Metadata(Section):
    """A table with one row per image: pixel spacing, patient, reference measurements."""

    file: InnerPath = "metadata.csv"
    image: str = Field("image", description="column with the image's file name or stem")
    row_mm: str = "row_mm"
    col_mm: str = "col_mm"
    unit: Literal["mm", "cm", "um"] = Field("mm", description="unit of the columns row_mm and col_mm; um: micrometres")
    reference: dict[str, str] = Field({}, description="measurement, or skin_row_px -> column with its reference value")
    spacing_range_mm: tuple[Positive, Positive] = Field(
        (0.005, 2.0), description="plausible pixel spacings; an image with another one is refused"
    )

    @field_validator("spacing_range_mm")
    @classmethod
    def _in_order(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError(f"low {limits[0]:g} is above high {limits[1]:g}")
        return limits

    @property
    def unit_mm(self) -> float:
        """Millimetres of one unit of the columns of the pixel's size."""
        return UNITS_MM[self.unit]

    def spacing_problem(self, spacing: Spacing) -> str:
        """Return why a pixel spacing is refused; empty when both values are plausible."""
        low, high = self.spacing_range_mm
        outside = [value for value in spacing if not low <= value <= high]
        if not outside:
            return ""
        limits = f"{low:g} to {high:g} mm (metadata.spacing_range_mm of the task)"
        return f"a pixel spacing of {outside[0]:g} mm; expected {limits}; correct it"


UNKNOWN_PATIENTS = "unknown"
"""`patients` of a task whose files do not say which images show one patient."""
PATIENT_COLUMN = "patient"
"""Column of the metadata table that is read all the same, where patients are unknown."""


class Patients(Section):
    """Where the patient of an image is taken from: a column of the metadata table, or a pattern on the file's stem.

    `patients: unknown`, or no such section: images that look like frames of one examination are grouped.
    """

    unknown: bool = False
    column: str | None = None
    pattern: str | None = Field(None, max_length=500, description="regular expression; its first group is the patient")

    @field_validator("pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except (re.error, OverflowError, RecursionError) as error:
                raise ValueError(f"not a regular expression: {error}") from None
            repeats = [int(number) for pair in _REPEATS.findall(pattern) for number in pair if number]
            if prod(max(number, 1) for number in repeats) > MAX_REPEATS:
                raise ValueError(f"the numbers in braces multiply to more than {MAX_REPEATS} repeats; use + or *")
            if groups != 1:
                raise ValueError("the pattern needs exactly one (group), which is the patient")
        return pattern

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"unknown": True} if value == UNKNOWN_PATIENTS else value

    @model_validator(mode="after")
    def _column_or_pattern(self) -> "Patients":
        if [self.unknown, self.column is not None, self.pattern is not None].count(True) != 1:
            raise ValueError("name either a column or a pattern, or write 'patients: unknown'")
        return self

    @model_serializer(mode="wrap")
    def _without_default(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out `unknown: false`: tasks that state their patients keep the fingerprints of earlier versions."""
        fields = handler(self)
        return fields if self.unknown else {name: value for name, value in fields.items() if name != "unknown"}

    @property
    def table_column(self) -> str | None:
        """The column of the metadata table with the patients; None where they come from the file names."""
        return PATIENT_COLUMN if self.unknown else self.column

    def patient_in(self, stem: str) -> str:
        """Return the patient that the pattern finds in a file's stem, empty when it does not match.

        Raises TimeoutError, saying so, for a pattern that takes longer than `PATTERN_SECONDS`.
        """
        import regex  # like `re`, with a time limit; below, because few runs need it

        try:
            match = regex.search(str(self.pattern), stem, timeout=PATTERN_SECONDS)
        except TimeoutError:
            raise TimeoutError(
                f"patients.pattern {self.pattern!r} takes longer than {PATTERN_SECONDS:g} s on this file name; write "
                "it without a repeat inside a repeat, such as (a+)+"
            ) from None
        return (match and match.group(1)) or ""


class Split(Section):
    """Share of the patients in the test part, and number of folds of the others. Options of stage 1 override it."""

    test_size: float = Field(0.2, ge=0.01, le=0.99)
    folds: int = Field(5, ge=2, le=100)
