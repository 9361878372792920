"""Check 33: pixel sizes and measurements that cannot be: refused with value and range, or flagged, never ok."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import inference
import train_test_data_preparation as stage1
from sonoseg.annotations import AnnotatedImage
from sonoseg.errors import DataError
from sonoseg.geometry.shapes import Shape
from sonoseg.inference.segmenter import Segmenter, check_image
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.pseudonyms import PseudonymKey
from sonoseg.postprocess.interpret import Findings, review_reasons
from sonoseg.postprocess.measure import Measurement
from sonoseg.prepare.patients import collect_metadata
from sonoseg.schema.drafts import StatedIn
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import available_tasks, load_task
from sonoseg.types import Pixels
from tests.conftest import changed
from tests.models.members import member
from tests.trust.conftest import Segmented, everything
from tests.trust.runs import flags, make

SETTING = "expected 0.005 to 2 mm (metadata.spacing_range_mm of the task)"


@pytest.fixture
def images(tmp_path: Path, scene: Pixels) -> Path:
    (tmp_path / "images").mkdir()
    Image.fromarray(scene).save(tmp_path / "images" / "a.png")
    return tmp_path / "images"


@pytest.mark.parametrize(
    "text", ["1e9", "1e-9", "2.01", "0.0049", "1_0", "0_1", "1,234", "nan", "inf", "\uff11", "-1", "0", ""]
)
@pytest.mark.usefixtures("bright")
def test_a_spacing_of_the_command_line_is_refused(text: str, images: Path, tmp_path: Path, capsys) -> None:
    before = everything(tmp_path)
    paths = ["--images", str(images), "--output", str(tmp_path / "out")]
    assert inference.main(["--task", "fetal_head", *paths, "--spacing", text]) == 2
    said = capsys.readouterr().err
    assert "--spacing" in said and everything(tmp_path) == before
    if text in ("1e9", "1e-9", "2.01", "0.0049"):
        assert f"{float(text):g} mm; {SETTING}" in said


@pytest.mark.parametrize("cell", ["1e9", "1e-9", "1_0", "0_1", "nan", "\uff10.1", '"1,234"'])
def test_a_spacing_of_a_table_is_refused_in_stages_1_and_4(
    cell: str, images: Path, bright: Task, tmp_path: Path, capsys
) -> None:
    name = bright.metadata.file
    (images / name).write_text(f"filename,pixel size(mm)\na.png,{cell}\n", encoding="utf-8")
    paths = ["--images", str(images), "--output", str(tmp_path / "out")]
    assert inference.main(["--task", "fetal_head", *paths]) == 2
    said = capsys.readouterr().err
    assert f"{name}, row 2" in said and not (tmp_path / "out").exists()
    make(tmp_path, 4)
    table = tmp_path / "spine" / "metadata.csv"
    table.write_text(f"image,patient,row_mm,col_mm\nImage_000,P1,{cell},0.2\n", encoding="utf-8")
    assert stage1.main(flags(stage1, tmp_path)) == 2
    said = capsys.readouterr().err
    assert "metadata.csv, row 2" in said and (SETTING in said) == cell.startswith("1e")


def test_the_range_is_a_setting_of_the_task(fetal_head: Task, scene: Pixels) -> None:
    wide = changed(fetal_head, metadata={**fetal_head.metadata.model_dump(), "spacing_range_mm": (1.0, 10.0)})
    segmenter = Segmenter([member(lambda images: images.repeat(1, 2, 1, 1), wide)])
    assert segmenter(scene, (5.0, 5.0)).measurements
    with pytest.raises(DataError, match=r"0\.5 mm; expected 1 to 10 mm"):
        segmenter(scene, (0.5, 0.5))
    older = fetal_head.model_dump()
    del older["metadata"]["spacing_range_mm"], older["review"]["shape_agreement"]
    assert Task.model_validate(older) == fetal_head, "a task in a model that was trained before"


SPACINGS: list[Any] = [
    "12",
    b"\x01\x01",
    {0.1, 0.2},
    {0.1: 1, 0.2: 2},
    (True, True),
    (10**400, 10**400),
    ("x", 10**5000),
]
SPACINGS += [
    ("0.1", "0.2"),
    (np.True_, 0.1),
    (float("nan"), 0.1),
    (0.1,),
    (0.1, 0.1, 0.1),
    0.1,
    (0.1, None),
    (1e9, 0.1),
]
SPACINGS += [np.ma.array([0.1, 0.2], mask=[True, False]), np.ma.array([0.1, 0.2]), (np.ma.masked, 0.1), (1j, 1)]


@pytest.mark.parametrize("number", range(len(SPACINGS)))
def test_a_spacing_of_the_python_interface_is_refused(number: int, fetal_head: Task, scene: Pixels) -> None:
    segmenter = Segmenter([member(lambda images: images.repeat(1, 2, 1, 1), fetal_head)])
    with pytest.raises(DataError, match=r"spacing.*expected") as caught:
        segmenter(scene, SPACINGS[number])
    assert len(str(caught.value)) < 200
    with pytest.raises(DataError, match="masked array"):
        check_image(np.ma.array(scene))


@pytest.mark.parametrize("spacing", [(0.1, 0.2), [0.1, 0.2], np.array([0.1, 0.2]), (np.float32(0.1), 0.2), (1, 2)])
def test_pairs_of_numbers_are_accepted(spacing: Any, fetal_head: Task, scene: Pixels) -> None:
    segmenter = Segmenter([member(lambda images: images.repeat(1, 2, 1, 1), fetal_head)])
    assert segmenter(scene, spacing).status in ("ok", "check", "reject")


@pytest.mark.parametrize("name", available_tasks())
def test_every_measurement_of_the_shipped_tasks_has_a_range(name: str) -> None:
    """But for lengths and areas in pixels, which the zoom decides."""
    task = load_task(name)
    assert {quantity.key for quantity in task.quantities if not quantity.is_in_pixels} == task.review.ranges.keys()
    assert all(limits.low is not None and limits.high is not None for limits in task.review.ranges.values())


def test_measurements_outside_are_flagged_and_missing_ones_are_not(fetal_head: Task) -> None:
    empty = Findings(np.zeros((9, 9), np.uint8), np.zeros((1, 9, 9), bool), list[Shape](), {}, {"HEAD": 0.9})

    def reasons(**values: float | None) -> list[str]:
        found = {
            quantity.key: Measurement(quantity, values.get(quantity.key), "unknown", is_undefined=True)
            for quantity in fetal_head.quantities
        }
        return review_reasons(
            Findings(**{**vars(empty), "measurements": found}), fetal_head.structures, fetal_head.review
        )

    assert reasons(hc_mm=300.0, bpd_mm=80.0, ofd_mm=100.0, cephalic_index_pct=80.0) == []
    assert reasons(hc_mm=1e9) == ["hc_mm: 1000000000.0 is outside 40 to 400"]
    assert reasons(bpd_mm=1.0, ofd_mm=500.0) == [
        "bpd_mm: 1.0 is outside 10 to 120",
        "ofd_mm: 500.0 is outside 14 to 150",
    ]


def test_a_huge_head_is_flagged(images: Path, segmented: Segmented, tmp_path: Path) -> None:
    _, rows = segmented(images, tmp_path / "out", "--spacing", "1")
    assert rows["a.png"]["status"] == "ok"
    _, rows = segmented(images, tmp_path / "out", "--spacing", "2")
    assert rows["a.png"]["status"] == "check" and "hc_mm" in rows["a.png"]["reason"]
    assert "is outside 40 to 400" in json.loads((tmp_path / "out" / "a.json").read_text())["reasons"][0]


def test_a_spacing_of_an_image_file_is_an_error_of_stage_1(spine: Task, tmp_path: Path) -> None:
    """DICOM files state theirs; a plausible one of the table takes precedence."""
    item = AnnotatedImage("a", ImageRef(tmp_path / "a.png"))
    image: Any = SimpleNamespace(item=item, spacing=(5.0, 5.0), spacing_from="header", patient="P1")
    stated = StatedIn("spine")
    _, faults = collect_metadata([item], [image], tmp_path, spine, PseudonymKey(tmp_path / "key"), stated)
    assert [(fault.level, fault.where) for fault in faults] == [("error", "a.png")] and SETTING in faults[0].message
    (tmp_path / "metadata.csv").write_text("image,patient,row_mm,col_mm\na,P1,0.2,0.2\n")
    (fault,) = collect_metadata([item], [image], tmp_path, spine, PseudonymKey(tmp_path / "key"), stated)[1]
    assert fault.kind == "two_spacings" and "0.2 x 0.2 mm" in fault.message and "5 x 5 mm" in fault.message
