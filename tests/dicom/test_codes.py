"""Codes are those of the standard: each one is in pydicom's dictionary of them, with its meaning."""

import importlib.resources

import pytest
from pydicom.sr import _concepts_dict
from pydicom.sr.coding import Code

from sonoseg.dicom import codes
from sonoseg.schema.results import DepthAlong
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from tests.conftest import changed

TASKS = [
    path.name.removesuffix(".yaml")
    for path in importlib.resources.files("sonoseg.tasks").iterdir()
    if path.name.endswith(".yaml")
]


def is_known(code: Code) -> bool:
    """Return whether the dictionary has a code with its meaning; pixels are UCUM's curly braces around any word."""
    concepts = _concepts_dict.concepts[code.scheme_designator].values()
    return code == codes.UNITS["px"] or any(concept.get(code.value, ("",))[0] == code.meaning for concept in concepts)


def test_the_tables() -> None:
    single = [value for value in vars(codes).values() if isinstance(value, Code)]
    tables = (codes.CATEGORIES, codes.UNITS, codes.QUANTITIES, codes.METHODS, codes.STATUSES)
    for code in [*single, *(code for table in tables for code in table.values())]:
        assert code.scheme_designator == codes.PRIVATE or is_known(code), code
        assert len(code.value) <= 16 and len(code.meaning) <= 64


@pytest.mark.parametrize("name", TASKS)
def test_structures_and_quantities_of_the_tasks(name: str) -> None:
    task = load_task(name)
    for code in codes.structure_codes(task).values():
        assert code.kind.scheme_designator == "99SONOSEG" or is_known(code.kind), code
    for section, quantity in codes.sections_of(task):
        code = codes.quantity_code(section, quantity)
        assert code.scheme_designator == codes.PRIVATE or is_known(code)
        assert quantity.unit in codes.UNITS and len(code.meaning) <= 64
        if quantity.unit == "px":
            assert code.scheme_designator == codes.PRIVATE, "a length in pixels with the code of one in millimetres"


def test_names(fetal_head: Task, spine: Task) -> None:
    head = Code("69536005", "SCT", "Head")
    assert codes.structure_codes(fetal_head)["HEAD"].kind == head
    assert codes.structure_codes(fetal_head.without_codes())["HEAD"].kind == head  # a model of before there were codes
    own = changed(fetal_head.without_codes(), name="own")
    assert codes.structure_codes(own)["HEAD"].kind == Code("HEAD", "99SONOSEG", "HEAD")
    depth = next(section for section in spine.measurements if isinstance(section, DepthAlong))
    mm, px = depth.quantities
    assert codes.quantity_code(depth, mm) == Code("121243", "DCM", "Distance from skin")
    assert codes.quantity_code(depth, px).scheme_designator == "99SONOSEG"


def test_codes_change_no_result(fetal_head: Task) -> None:
    from sonoseg.models.registry import model_for_task

    renamed = fetal_head.structures[0].model_copy(update={"code": None})
    other = fetal_head.model_copy(update={"structures": [renamed]})
    assert model_for_task(other) and model_for_task(fetal_head)
    assert "code" not in other.model_dump(mode="json")["structures"][0]


@pytest.mark.parametrize(
    "code",
    [
        {"scheme": "SRT", "value": "T-D1100", "meaning": "Head"},
        {"scheme": "SCT", "value": "6" * 17, "meaning": "Head"},
        {"scheme": "SCT", "value": "69536005", "meaning": "He\\ad"},
        {"scheme": "SCT", "value": "69536005", "meaning": "Head", "category": "organ"},
    ],
)
def test_wrong_codes(fetal_head: Task, code: dict[str, str]) -> None:
    fields = fetal_head.model_dump()
    fields["structures"][0]["code"] = code
    with pytest.raises(ValueError, match="code"):
        Task.model_validate(fields)
