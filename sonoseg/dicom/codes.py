"""Codes of structures, quantities and units: the one place where results get their names in DICOM.

Codes are those of SNOMED CT (SCT), LOINC (LN), UCUM and DICOM itself (DCM) as the standard lists them (PS3.16); what
has none there is in the private scheme `99SONOSEG`, with the name that SonoSeg's other files use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pydicom.sr.coding import Code

from sonoseg.errors import SonoSegError
from sonoseg.schema.annotations import Structure
from sonoseg.schema.quantity import Quantity
from sonoseg.schema.results import MeasurementSection
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task

PRIVATE = "99SONOSEG"

CATEGORIES = {
    "anatomical_structure": Code("91723000", "SCT", "Anatomical Structure"),
    "morphologically_abnormal_structure": Code("49755003", "SCT", "Morphologically Abnormal Structure"),
    "tissue": Code("85756007", "SCT", "Tissue"),
    "spatial_concept": Code("309825002", "SCT", "Spatial and Relational Concept"),
}
"""`category` of a structure's code -> Segmented Property Category (CID 7150)."""

UNITS = {
    "mm": Code("mm", "UCUM", "mm"),
    "px": Code("{pixels}", "UCUM", "pixels"),
    "mm2": Code("mm2", "UCUM", "square millimeter"),
    "px2": Code("{pixels}", "UCUM", "pixels"),
    "deg": Code("deg", "UCUM", "Degree"),
    "pct": Code("%", "UCUM", "Percent"),
    "weeks": Code("d", "UCUM", "day"),
}
"""Unit of a quantity -> unit in the report; weeks become days, as the code of the gestational age asks for."""
NO_UNIT = Code("1", "UCUM", "no units")
DAYS_PER_WEEK = 7

QUANTITIES = {
    ("head_biometry", "hc"): Code("11984-2", "LN", "Head Circumference"),
    ("head_biometry", "bpd"): Code("11820-8", "LN", "Biparietal Diameter"),
    ("head_biometry", "ofd"): Code("11851-3", "LN", "Occipital-Frontal Diameter"),
    ("head_biometry", "cephalic_index"): Code("11823-2", "LN", "Cephalic Index"),
    ("head_biometry", "gestational_age"): Code("18185-9", "LN", "Gestational Age"),
}
"""(kind of the measurement, name of the quantity) -> code. Depths have `DISTANCE_FROM_SKIN`, others private ones."""
DISTANCE_FROM_SKIN = Code("121243", "DCM", "Distance from skin")
AREA, DIAMETER = Code("42798000", "SCT", "Area"), Code("81827009", "SCT", "Diameter")
METHODS = {("head_biometry", "gestational_age"): Code("11932-1", "LN", "HC, Hadlock 1984")}
"""The equation from which a quantity is computed (CID 12013)."""

PROCEDURE = Code("16310003", "SCT", "Diagnostic ultrasonography")
FAMILY = Code("123110", "DCM", "Artificial Intelligence")
COMMENT = Code("121106", "DCM", "Comment")
UPPER = Code("371886008", "SCT", "+, range of upper measurement uncertainty")
LOWER = Code("371885007", "SCT", "-, range of lower measurement uncertainty")

EXPECTED_DICE = Code("quality", PRIVATE, "Expected Dice")
CONFIDENCE = Code("confidence", PRIVATE, "Mean probability of the structure's pixels")
AGREEMENT = Code("shape_agreement", PRIVATE, "Intersection over union of mask and shape")
INTERVAL = Code("interval", PRIVATE, "Interval that contains the true value in 9 of 10 images")
SPREAD = Code("spread", PRIVATE, "Interquartile range of the chosen frames of a loop")
REASON = Code("reason", PRIVATE, "Reason to check or reject the result")
NOTE = Code("note", PRIVATE, "Note")
STATUS = Code("status", PRIVATE, "Status of the result")
STATUSES = {
    "ok": Code("ok", PRIVATE, "No remark"),
    "check": Code("check", PRIVATE, "To be checked by a person"),
    "reject": Code("reject", PRIVATE, "Not to be used"),
}


@dataclass(frozen=True)
class StructureCode:
    """What a structure is in DICOM: Segmented Property Category and Type, the second also Finding in reports."""

    category: Code
    kind: Code


def structure_codes(task: Task) -> dict[str, StructureCode]:
    """Return the codes of a task's structures, by name.

    A structure without a code has that of the task of the same name that comes with SonoSeg, so that models of before
    there were codes have them; where there is none either, a private code: its name.
    """
    known = _codes_of_shipped(task.name)
    return {structure.name: _code(structure, known) for structure in task.structures}


@lru_cache
def _codes_of_shipped(name: str) -> dict[str, Structure]:
    try:
        return {structure.name: structure for structure in load_task(name).structures}
    except SonoSegError:  # a task of the user's own
        return {}


def _code(structure: Structure, shipped: dict[str, Structure]) -> StructureCode:
    code = structure.code
    same = shipped.get(structure.name)
    if code is None and same is not None and same.shape == structure.shape:
        code = same.code
    if code is None:
        return StructureCode(CATEGORIES["anatomical_structure"], Code(structure.name, PRIVATE, structure.name[:64]))
    return StructureCode(CATEGORIES[code.category], Code(code.value, code.scheme, code.meaning))


def quantity_code(section: MeasurementSection, quantity: Quantity) -> Code:
    """Return the code of a quantity. Lengths and areas in pixels have private ones: readers expect mm of the others."""
    if not quantity.is_in_pixels:
        if section.kind == "depth_along":
            return DISTANCE_FROM_SKIN
        if section.kind == "size":
            return AREA if quantity.unit == "mm2" else DIAMETER
        known = QUANTITIES.get((section.kind, quantity.name))
        if known:
            return known
    label = f"{quantity.title} in pixels" if quantity.is_in_pixels else quantity.title
    return Code(quantity.key, PRIVATE, label[:64])


def sections_of(task: Task) -> Sequence[tuple[MeasurementSection, Quantity]]:
    """Return the quantities of a task in their order, each with the section that it belongs to."""
    return [(section, quantity) for section in task.measurements for quantity in section.quantities]
