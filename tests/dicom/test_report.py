"""A structured report has the values, codes and coordinates of the record, and reads back with highdicom and DCMTK."""

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from pydicom.sr.coding import Code

from sonoseg.dicom.report import region_of, report
from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.shapes import Shape
from sonoseg.io.image_ref import ImageRef
from sonoseg.postprocess.gestational_age import spread_note
from sonoseg.schema.task import Task
from tests.dicom.objects import MODEL, dciodvfy, dcmtk, result

STILL, LOOP = np.zeros((60, 80), np.uint8), np.zeros((3, 60, 80), np.uint8)
ELLIPSE = [[10.25, 30.5], [60.5, 28.75], [34.0, 12.0], [36.75, 47.25]]
HEAD: dict[str, Any] = {
    "shapes": [["HEAD", "ellipse", ELLIPSE]],
    "measurements": {
        "hc_mm": 123.4567890123456,
        "hc_px": 140.5,
        "bpd_mm": 33.3,
        "bpd_px": 38.0,
        "ofd_mm": 44.4,
        "ofd_px": 50.0,
        "cephalic_index_pct": 75.125,
        "gestational_age_weeks": 16.3,
    },
    "intervals": {"hc_mm": [120.0, 127.25], "cephalic_index_pct": [74.0, 76.5]},
    "notes": {"gestational_age_weeks": f"{spread_note(16.3)}; 16.3 is outside the usual 18 to 24"},
    "confidence": {"HEAD": 0.91},
    "shape_agreement": {"HEAD": 0.97},
    "quality": 0.8,
    "status": "check",
    "reasons": ["HEAD: confidence 0.70 is below 0.8", "HEAD touches the image border: its outline is incomplete"],
}
UNITS = {"hc_mm": None, "bpd_mm": None, "ofd_mm": None, "gestational_age_weeks": None, "cephalic_index_pct": 75.125}
NO_SPACING = "pixel spacing unknown"
IN_PIXELS = HEAD | {
    "measurements": HEAD["measurements"] | {name: None for name in UNITS if name != "cephalic_index_pct"},
    "notes": {name: NO_SPACING for name in UNITS if name != "cephalic_index_pct"},
    "intervals": {},
}
SPINE: dict[str, Any] = {
    "shapes": [
        ["MID", "line", [[40.0, 5.0], [42.0, 40.0]]],
        ["VTB", "rect", [[30.0, 35.0], [55.0, 50.0]]],
        ["EPI", "line", [[35.0, 30.0], [50.0, 31.0]]],
    ],
    "measurements": {"midline_angle_deg": -3.25, "midline_offset_mm": 1.5, "skin_to_epi_mm": 30.5},
    "marks": {"skin_to_epi_mm": [[40.1, 4.0], [41.5, 30.25]], "skin_to_epi_px": [[40.1, 4.0], [41.5, 30.25]]},
}


def read(
    folder: Path, task: Task, pixels: np.ndarray = STILL, **facts: Any
) -> tuple[Path, "highdicom.sr.ComprehensiveSR"]:
    path = folder / "sr.dcm"
    path.write_bytes(report(result(folder, task, pixels, **facts)))
    assert dciodvfy(path) == []
    document = highdicom.sr.srread(path)
    assert isinstance(document, highdicom.sr.ComprehensiveSR)
    return path, document


def values(document: "highdicom.sr.ComprehensiveSR") -> dict[str, tuple[float, str]]:
    """Return code -> value and unit of all numbers of all groups."""
    content = document.content
    groups = [*content.get_planar_roi_measurement_groups(), *content.get_image_measurement_groups()]
    return {
        item.name.value: (float(item.value), item.unit.value) for group in groups for item in group.get_measurements()
    }


def texts(document: "highdicom.sr.ComprehensiveSR") -> list[tuple[str, str]]:
    items = highdicom.sr.utils.find_content_items(document, value_type="TEXT", recursive=True)
    return [(item.name.value, item.value) for item in items]


def test_a_head(tmp_path: Path, fetal_head: Task) -> None:
    _, document = read(tmp_path, fetal_head, **HEAD)
    assert values(document) == {
        "11984-2": (123.4567890123456, "mm"),
        "11820-8": (33.3, "mm"),
        "11851-3": (44.4, "mm"),
        "11823-2": (75.125, "%"),
        "18185-9": (7 * 16.3, "d"),
        "confidence": (0.91, "1"),
        "shape_agreement": (0.97, "1"),
        "quality": (0.8, "1"),
    }
    (group,) = document.content.get_planar_roi_measurement_groups()
    assert group.finding_type == Code("69536005", "SCT", "Head")
    assert group.roi.graphic_type.value == "ELLIPSE"
    # The first pixel's centre is (0.5, 0.5) in DICOM, and (0, 0) in the record.
    assert np.array_equal(group.roi.value, np.float32(np.array(ELLIPSE) + 0.5))
    (image,) = group.roi.ContentSequence
    assert image.RelationshipType == "SELECTED FROM"
    assert image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "1.2.3.4.5"
    age = group.get_measurements(name=Code("18185-9", "LN", ""))[0]
    assert age.method == Code("11932-1", "LN", "HC, Hadlock 1984")
    hc = group.get_measurements(name=Code("11984-2", "LN", ""))[0][0].ContentSequence
    ends = {item.name.value: (item.value, item.unit.value) for item in hc if item.ValueType == "NUM"}
    assert ends["371886008"] == (pytest.approx(127.25 - 123.4567890123456), "mm")
    assert ends["371885007"] == (pytest.approx(3.4567890123456), "mm")


def test_status_reasons_and_notice(tmp_path: Path, fetal_head: Task) -> None:
    path, document = read(tmp_path, fetal_head, **HEAD)
    found = texts(document)
    assert [text for name, text in found if name == "reason"] == HEAD["reasons"]
    assert ("121106", "Research only, not for clinical use") in found
    assert ("interval", "120 to 127.2 mm") in found and ("interval", "74 to 76.5 %") in found
    note = "two standard deviations of the formula: 1.2 weeks (Hadlock et al. 1984); 16.3 is outside the usual 18 to 24"
    assert ("note", note) in found and ("note", f"gestational_age_weeks: {note}") in found
    assert ("111002", f"model_sha256={MODEL}") in found
    (group,) = document.content.get_image_measurement_groups()
    (status,) = group.get_qualitative_evaluations(name=Code("status", "99SONOSEG", ""))
    assert status[0].value == Code("check", "99SONOSEG", "")
    printed = dcmtk("dsrdump", path)
    assert '"Head Circumference")="123.45678901234' in printed and "selected from IMAGE" in printed


def test_without_a_spacing(tmp_path: Path, fetal_head: Task) -> None:
    _, document = read(tmp_path, fetal_head, **IN_PIXELS)
    found = values(document)
    assert "mm" not in {unit for _, unit in found.values()} and "11984-2" not in found
    assert found["hc_px"] == (140.5, "{pixels}") and found["11823-2"] == (75.125, "%")
    assert ("note", f"hc_mm, bpd_mm, ofd_mm, gestational_age_weeks: {NO_SPACING}") in texts(document)


def test_a_spine(tmp_path: Path, spine: Task) -> None:
    path, document = read(tmp_path, spine, **SPINE)
    assert values(document) == {
        "midline_angle_deg": (-3.25, "deg"),
        "midline_offset_mm": (1.5, "mm"),
        "121243": (30.5, "mm"),
    }
    regions = {group.tracking_identifier: group.roi for group in document.content.get_planar_roi_measurement_groups()}
    assert {name: region.graphic_type.value for name, region in regions.items()} == dict.fromkeys(
        ("MID", "VTB", "EPI"), "POLYLINE"
    )
    assert np.array_equal(regions["MID"].value, np.float32([[40.5, 5.5], [42.5, 40.5]]))
    assert len(regions["VTB"].value) == 5 and np.array_equal(regions["VTB"].value[0], regions["VTB"].value[-1])
    depth = next(
        item
        for item in highdicom.sr.utils.find_content_items(document, value_type="NUM", recursive=True)
        if item.name.value == "121243"
    )
    (coordinates,) = [item for item in depth.ContentSequence if item.ValueType == "SCOORD"]
    assert np.array_equal(coordinates.value, np.float32([[40.6, 4.5], [42.0, 30.75]]))
    assert [item.RelationshipType for item in coordinates.ContentSequence] == ["SELECTED FROM"]
    assert "Distance from skin" in dcmtk("dsrdump", path)


def test_nothing_found(tmp_path: Path, fetal_head: Task) -> None:
    notes = {"hc_mm": "no HEAD found"}
    _, document = read(tmp_path, fetal_head, measurements={"hc_mm": None}, notes=notes, reasons=["HEAD not found"])
    assert values(document) == {} and document.content.get_planar_roi_measurement_groups() == []
    assert ("reason", "HEAD not found") in texts(document)


def test_a_record_of_an_earlier_version(tmp_path: Path, spine: Task) -> None:
    """Without `marks`, a distance is in the group of its structure, and has no line."""
    made = result(tmp_path, spine, STILL, **SPINE)
    facts = {name: value for name, value in made.facts.items() if name not in ("marks", "intervals", "quality")}
    (tmp_path / "sr.dcm").write_bytes(report(type(made)(made.source, made.image, made.name, facts, spine)))
    assert dciodvfy(tmp_path / "sr.dcm") == []
    assert values(highdicom.sr.srread(tmp_path / "sr.dcm"))["121243"] == (30.5, "mm")


def test_a_frame_of_a_loop(tmp_path: Path, fetal_head: Task) -> None:
    _, document = read(tmp_path, fetal_head, LOOP, image=ImageRef(tmp_path / "a.dcm", frame=1), **HEAD)
    (group,) = document.content.get_planar_roi_measurement_groups()
    assert group.roi.ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber == 2


def test_shapes_beyond_the_image_end_at_its_border(tmp_path: Path, fetal_head: Task) -> None:
    points = Ellipse(40.0, 30.0, 100.0, 40.0, 0.0).axis_ends()
    kind, coordinates, is_cut = region_of(Shape("HEAD", "ellipse", points), (60, 80))
    assert (kind, is_cut) == ("POLYLINE", True)
    assert coordinates.min() >= 0 and (coordinates.max(axis=0) <= (80, 60)).all()
    _, document = read(tmp_path, fetal_head, shapes=[["HEAD", "ellipse", points.tolist()]])
    assert ("note", "HEAD extends beyond the image; the coordinates end at its border") in texts(document)


def test_the_major_axis_comes_first() -> None:
    points = Ellipse(40.0, 30.0, 50.0, 20.0, 0.3).axis_ends()
    for given in (points, points[[2, 3, 0, 1]]):
        kind, coordinates, _ = region_of(Shape("HEAD", "ellipse", given), (60, 80))
        lengths = [np.linalg.norm(coordinates[index + 1] - coordinates[index]) for index in (0, 2)]
        assert kind == "ELLIPSE" and lengths == pytest.approx([50, 20])
