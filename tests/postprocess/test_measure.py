"""Measurements on drawn images (hand arithmetic) and on real images."""

import csv
import json

import numpy as np
import pytest

from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.shapes import Shape
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.postprocess.interpret import Findings, interpret, measure_labels
from sonoseg.postprocess.measure import Measurement, hadlock_weeks, measure
from sonoseg.postprocess.skin import find_skin
from sonoseg.schema.results import HeadBiometry
from tests.conftest import changed
from tests.geometry import drawn_shapes as drawn

SHAPE = (300, 401)


def tissue(skin_row: int = 30) -> np.ndarray:
    """Gel without echoes, a bright skin line three pixels thick with some noise, grey tissue."""
    image = np.full(SHAPE, 60, np.uint8)
    image[:skin_row] = 5
    image[skin_row - 1 : skin_row + 2] = np.random.default_rng(0).integers(180, 221, (3, SHAPE[1]))
    return image


def values(measurements: dict[str, Measurement]) -> dict[str, float | None]:
    return {key: measurement.value for key, measurement in measurements.items()}


def notes(findings: Findings) -> dict[str, str]:
    return {key: measurement.note for key, measurement in findings.measurements.items() if measurement.note}


def spine_labels(mid=((200, 60), (200, 280)), epi=((160, 150), (240, 150))) -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[drawn.rectangle(SHAPE, 150, 230, 250, 260)] = 2
    labels[drawn.line(SHAPE, *mid)] = 1
    labels[drawn.line(SHAPE, *epi)] = 3
    return labels


def test_depth_angle_and_offset_in_mm(spine):
    measured = values(measure_labels(spine_labels(), tissue(), spine, (0.2, 0.3)).measurements)
    assert measured["skin_to_epi_px"] == pytest.approx(120, abs=0.5)
    assert measured["skin_to_epi_mm"] == pytest.approx(24, abs=0.1)
    assert measured["skin_to_vtb_mm"] == pytest.approx(40, abs=0.1)
    assert measured["midline_angle_deg"] == pytest.approx(0, abs=0.05)
    assert measured["midline_offset_mm"] == pytest.approx(0, abs=0.05)


def test_tilted_midline_is_measured_in_millimetre_space(spine):
    """From (180, 60) to (240, 280): 18 mm across and 44 mm down with pixels of 0.2 x 0.3 mm."""
    labels = spine_labels(mid=((180, 60), (240, 280)), epi=((150, 150), (260, 150)))
    measured = values(measure_labels(labels, tissue(), spine, (0.2, 0.3)).measurements)
    assert measured["midline_angle_deg"] == pytest.approx(np.degrees(np.arctan2(18, 44)), abs=0.2)
    # 30 rows above the upper end, where the skin is: 30 * 60 / 220 columns to its left.
    assert measured["midline_offset_mm"] == pytest.approx((180 - 30 * 60 / 220 - 200) * 0.3, abs=0.1)
    # 120 rows down along it: 24 mm down and 120 * 60 / 220 * 0.3 mm across.
    assert measured["skin_to_epi_mm"] == pytest.approx(np.hypot(24, 120 * 60 / 220 * 0.3), abs=0.15)


@pytest.mark.parametrize("length_px", [40, 80, 160])
def test_the_offset_is_that_at_the_skin_however_long_the_midline_is(spine, length_px):
    """At 10 degrees, and 6 mm to the right of the centre at the skin, 30 rows below the top."""
    slope = np.tan(np.radians(10))
    mid = [(230 + slope * (row - 30), row) for row in (90, 90 + length_px)]
    labels = np.zeros(SHAPE, np.uint8)
    labels[drawn.line(SHAPE, *mid)] = 1
    measured = values(measure_labels(labels, tissue(), spine, (0.2, 0.2)).measurements)
    assert measured["midline_angle_deg"] == pytest.approx(10, abs=0.5)
    assert measured["midline_offset_mm"] == pytest.approx(6, abs=0.25)
    assert measured["midline_offset_px"] == pytest.approx(30, abs=1.25)


def test_without_a_skin_there_is_no_offset_but_an_angle(spine):
    findings = measure_labels(spine_labels(), np.full(SHAPE, 60, np.uint8), spine, (0.2, 0.2))
    assert findings.measurements["midline_angle_deg"].value == pytest.approx(0, abs=0.05)
    for key in ("midline_offset_mm", "midline_offset_px", "skin_to_epi_mm"):
        assert findings.measurements[key].value is None and "skin not found" in notes(findings)[key]


def test_the_skin_is_searched_once_for_all_measurements_along_a_line(spine, monkeypatch):
    searched = []
    monkeypatch.setattr(
        "sonoseg.postprocess.measure.find_skin", lambda *inputs: searched.append(inputs) or find_skin(*inputs)
    )
    measure_labels(spine_labels(), tissue(), spine, None)
    assert len(searched) == 1


def test_a_short_midline_is_extended_straight_both_ways(spine):
    measured = values(measure_labels(spine_labels(mid=((200, 90), (200, 130))), tissue(), spine, None).measurements)
    assert measured["skin_to_epi_px"] == pytest.approx(120, abs=0.5)


def test_without_spacing_there_are_no_millimetres(spine):
    findings = measure_labels(spine_labels(), tissue(), spine, None)
    assert (
        findings.measurements["skin_to_epi_mm"].value is None
        and notes(findings)["skin_to_epi_mm"] == "pixel spacing unknown"
    )
    assert findings.measurements["skin_to_epi_px"].value == pytest.approx(120, abs=0.5)
    assert "square pixels" in notes(findings)["midline_angle_deg"]


def test_every_absent_value_has_a_reason(spine, fetal_head):
    for task in (spine, fetal_head):
        findings = measure_labels(np.zeros(SHAPE, np.uint8), tissue(), task, (0.2, 0.2))
        assert list(findings.measurements) == [quantity.key for quantity in task.quantities] == list(notes(findings))
        assert all(value is None for value in values(findings.measurements).values())
    lone = np.zeros(SHAPE, np.uint8)
    lone[100, 200], lone[150, 200] = 1, 3
    reasons = notes(measure_labels(lone, tissue(), spine, (0.2, 0.2)))
    assert (
        reasons["midline_angle_deg"]
        == reasons["midline_offset_mm"]
        == reasons["skin_to_epi_mm"]
        == "MID is too short to have a direction"
    )


def test_structure_far_beside_the_midline_has_no_depth(spine):
    findings = measure_labels(spine_labels(epi=((300, 150), (380, 150))), tissue(), spine, None)
    assert (
        findings.measurements["skin_to_epi_px"].value is None and "does not meet" in notes(findings)["skin_to_epi_px"]
    )


def plain_head(fetal_head):
    """The task with masks that end at the head's border."""
    return changed(fetal_head, measurements=[HeadBiometry(kind="head_biometry", structure="HEAD")])


def test_head_circumference_of_a_drawn_ellipse(fetal_head):
    spacing = (0.2, 0.25)
    ellipse = Ellipse(50, 30, 60, 46, 25)
    labels = drawn.ellipse(SHAPE, ellipse, spacing[::-1]).astype(np.uint8)
    measured = values(measure_labels(labels, tissue(), plain_head(fetal_head), spacing).measurements)
    assert measured["hc_mm"] == pytest.approx(ellipse.circumference, abs=0.2)
    assert (measured["ofd_mm"], measured["bpd_mm"]) == pytest.approx((60, 46), abs=0.12)
    assert measured["cephalic_index_pct"] == pytest.approx(100 * 46 / 60, abs=0.2)
    assert measured["gestational_age_weeks"] == pytest.approx(hadlock_weeks(ellipse.circumference), abs=0.02)


def test_hadlock_and_its_limits(fetal_head):
    assert hadlock_weeks(177) == pytest.approx(20.2, abs=0.05)
    assert hadlock_weeks(280) == pytest.approx(30.7, abs=0.05)
    labels = drawn.ellipse(SHAPE, Ellipse(200, 150, 240, 190, 0)).astype(np.uint8)
    for size, valid in ((0.1, False), (0.3, True), (1.0, False)):
        findings = measure_labels(labels, tissue(), fetal_head, (size, size))
        assert (findings.measurements["gestational_age_weeks"].value is not None) == valid
        assert ("outside Hadlock" in notes(findings)["gestational_age_weeks"]) != valid


def probabilities(labels: np.ndarray, classes: int, sure: float = 0.9) -> np.ndarray:
    """`sure` for the label's own class, the rest shared."""
    one_hot = np.arange(classes + 1)[:, None, None] == labels
    return np.where(one_hot, sure, (1 - sure) / classes).astype(np.float32)


def test_prediction_and_reference_measure_alike(spine):
    labels = spine_labels()
    findings = interpret(probabilities(labels, 3), tissue(), spine, (0.2, 0.2))
    assert findings.measurements == measure_labels(labels, tissue(), spine, (0.2, 0.2)).measurements
    assert findings.status == "ok" and findings.reasons == []
    assert findings.confidence == pytest.approx({"MID": 0.9, "VTB": 0.9, "EPI": 0.9}, abs=1e-6)


def test_review_flags_with_its_reason(spine, fetal_head):
    def reasons(labels, task, spacing=(0.2, 0.2), sure=0.9):
        findings = interpret(probabilities(labels, len(task.structures), sure), tissue(), task, spacing)
        assert findings.status == ("check" if findings.reasons else "ok")
        return " | ".join(findings.reasons)

    without_epi, without_mid = spine_labels(), spine_labels()
    without_epi[without_epi == 3] = 0
    without_mid[without_mid == 1] = 0
    assert reasons(without_epi, spine) == "EPI not found"
    assert "VTB removed" in reasons(without_mid, spine) and "MID not found" in reasons(without_mid, spine)
    assert "MID: confidence 0.55 is below 0.6" in reasons(spine_labels(), spine, sure=0.55)
    assert "skin_to_epi_mm: 119.9 is outside 15 to 110" in reasons(spine_labels(), spine, (1.0, 1.0))
    assert reasons(spine_labels(), spine, spacing=None) == ""
    cut = drawn.ellipse(SHAPE, Ellipse(200, 80, 240, 186, 0)).astype(np.uint8)
    assert "touches the image border" in reasons(cut, fetal_head)
    whole = drawn.ellipse(SHAPE, Ellipse(200, 150, 240, 186, 0)).astype(np.uint8)
    assert reasons(whole, fetal_head) == ""


def test_hc18_reference_masks_against_the_table(fetal_head, hc18):
    """Masks of filled outlines reach half a pen beyond the table's ellipse; taken off, the two agree."""
    with (hc18 / "training_set_pixel_size_and_HC.csv").open() as stream:
        rows = list(csv.DictReader(stream))[::20][:40]
    errors_mm = []
    for row in rows:
        mask = read_mask(hc18 / "training_set" / row["filename"].replace(".png", "_Annotation.png"))
        size = float(row["pixel size(mm)"])
        measured = values(measure_labels((mask > 0).astype(np.uint8), mask, fetal_head, (size, size)).measurements)
        errors_mm.append(measured["hc_mm"] - float(row["head circumference (mm)"]))
    # With the pen's width left in, every image is off by 1.24 mm on average.
    assert abs(np.mean(errors_mm)) < 0.1
    assert np.abs(errors_mm).max() < 0.4


def test_depth_on_the_real_spine_image(spine, spine_sample):
    image = read_image(spine_sample / "images" / "Image_97.png").pixels
    shapes = {
        name: points for name, _, points in json.loads((spine_sample / "annotations.json").read_text())["Image_97"]
    }
    labels = np.zeros(image.shape, np.uint8)
    (left, top), (right, bottom) = shapes["VTB"]
    labels[drawn.rectangle(image.shape, left, top, right, bottom)] = 2
    labels[drawn.line(image.shape, *shapes["MID"])] = 1
    labels[drawn.line(image.shape, *shapes["EPI"])] = 3
    findings = measure_labels(labels, image, spine, None)
    skin_row = findings.measurements["skin_to_epi_px"].marks[0, 1]
    assert 20 < skin_row < 28  # the bright line across the image, by eye at row 24 beside the midline
    assert findings.measurements["skin_to_epi_px"].value == pytest.approx(233 - skin_row, abs=1)
    assert findings.measurements["midline_angle_deg"].value == pytest.approx(np.degrees(np.arctan2(7, 300)), abs=0.1)
    for shape in findings.shapes:
        assert np.abs(shape.points - np.array(shapes[shape.structure])).max() < 0.5


def test_the_outlines_width_is_taken_off_the_head(fetal_head):
    shape = Shape("HEAD", "ellipse", Ellipse(400, 270, 400, 320, 20).axis_ends())
    image = np.zeros((540, 800), np.uint8)
    plain = HeadBiometry(kind="head_biometry", structure="HEAD")
    section = HeadBiometry(kind="head_biometry", structure="HEAD", outline_width_fraction=0.01)
    pen = 0.01 * np.hypot(540, 800)
    outer = values(measure([shape], image, (0.1, 0.1), fetal_head.structures, [plain]))
    middle = values(measure([shape], image, (0.1, 0.1), fetal_head.structures, [section]))
    assert outer["ofd_px"] == pytest.approx(400) and middle["ofd_px"] == pytest.approx(400 - pen)
    assert middle["bpd_mm"] == pytest.approx((320 - pen) * 0.1)
    assert middle["hc_px"] == pytest.approx(Ellipse(0, 0, 400 - pen, 320 - pen, 0).circumference)
    assert outer["hc_px"] == pytest.approx(Ellipse(0, 0, 400, 320, 0).circumference)
