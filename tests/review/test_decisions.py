"""Decisions: what is stored, what is refused, and that nobody overwrites another."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sonoseg.annotations import FORMATS
from sonoseg.io.files import sha256_of
from sonoseg.review.session import Review
from sonoseg.review.shapes import ShapeReader
from sonoseg.review.sources import results_in
from sonoseg.review.store import Rater
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.annotations import Structure
from sonoseg.schema.task import Task
from tests.review.conftest import Page, head_picture

REGION = Structure(name="R", shape="region", color="#ff0000")
BOX = Structure(name="B", shape="rectangle", color="#00ff00")
BIG = {"structure": "HEAD", "kind": "ellipse", "points": [[20, 60], [120, 60], [70, 30], [70, 90]]}


def log_of(results: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (results / "review" / "reviews.jsonl").read_text().splitlines()]


def test_a_decision_is_stored_with_what_was_before(page: Page, results: Path) -> None:
    answer = page.save("000_a", "corrected", shapes=[BIG], note="skull cut off")
    assert answer["version"] == 1 and answer["counts"]["corrected"] == 1 and answer["shapes"] == [BIG]
    again = page.item("000_a")
    assert (again["decision"], again["note"], again["shapes"]) == ("corrected", "skull cut off", [BIG])
    assert again["predicted"] != [BIG]
    assert page.save("000_a", "rejected")["version"] == 2
    first, second = log_of(results)
    assert first["before"] is None and first["reviewer"] == "ann" and first["time"]
    assert first["predicted"] == again["predicted"] and len(first["model_sha256"]) == 64
    assert second["before"] == first["after"] and second["after"]["decision"] == "rejected"


def test_annotations_have_the_accepted_and_corrected_images(page: Page, results: Path, head: Task) -> None:
    page.save("000_a", "corrected", shapes=[BIG])
    page.save("001_b", "accepted")
    page.save("002_c", "rejected")
    page.save("003_nothing", "accepted")
    data = results / "review"
    (data / "images").mkdir()
    for name in ("000_a", "001_b", "003_nothing"):
        Image.fromarray(np.zeros((120, 160), np.uint8)).save(data / "images" / f"{name}.png")
    section = annotations_section("shapes_json")
    items, faults = FORMATS["shapes_json"].read(data, section, head.structures)
    assert {item.id: len(item.shapes) for item in items} == {"000_a": 1, "001_b": 1, "003_nothing": 0} and not faults
    page.save("001_b", "open")
    assert json.loads((data / "annotations.json").read_text()).keys() == {"000_a", "003_nothing"}


def test_accepted_with_other_shapes_is_a_correction(page: Page) -> None:
    assert page.save("000_a", "accepted")["decision"] == "accepted"
    assert page.save("000_a", "accepted", shapes=[BIG])["decision"] == "corrected"


def test_the_last_writer_is_told(page_of: Callable[..., Page]) -> None:
    ann, ben = page_of("ann"), page_of("ben")
    ann.save("000_a", "accepted")
    assert ben.item("000_a")["decision"] == "accepted"  # of another process, as it is read again
    refused = ann.save("000_a", "rejected", base_version=0, status=409)
    assert refused["version"] == 1 and refused["reviewer"] == "ann" and refused["time"]
    ben.save("000_a", "rejected")
    assert "ben has saved this image meanwhile" in ann.save("000_a", "accepted", base_version=1, status=409)["error"]
    assert ann.item("000_a")["decision"] == "rejected"
    ben.save("001_b", "accepted")  # another image is free
    ann.save("002_c", "accepted")


def test_a_decision_whose_answer_was_lost_is_sent_again(page_of: Callable[..., Page], results: Path) -> None:
    ann, ben = page_of("ann"), page_of("ben")
    ann.save("000_a", "corrected", shapes=[BIG], note="x")
    again = ann.save("000_a", "corrected", shapes=[BIG], note="x", base_version=0)
    assert again["version"] == 1 and len(log_of(results)) == 1
    ann.save("000_a", "corrected", shapes=[BIG], note="y", base_version=0, status=409)
    ben.save("000_a", "corrected", shapes=[BIG], note="x", base_version=0, status=409)
    ben.save("000_a", "rejected")
    ann.save("000_a", "corrected", shapes=[BIG], note="x", base_version=0, status=409)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ("x", "expected a list of shapes"),
        ([{"structure": "NECK", "kind": "ellipse", "points": []}], "unknown structure 'NECK'"),
        ([{**BIG, "kind": "line"}], "kind 'line'; expected ellipse"),
        ([{**BIG, "points": BIG["points"][:3]}], "3 points; a ellipse has 4"),
        ([{**BIG, "points": [[float("1e999"), 1]] * 4}], "no JSON"),
        ([{**BIG, "points": [[None, 1]] * 4}], "pairs of finite numbers"),
        ([{**BIG, "points": [[5, 5]] * 4}], "axis of length 0"),
        ([{**BIG, "points": [[x + 5000, y] for x, y in BIG["points"]]}], "outside the image"),
        ([{**BIG, "points": [[x + 150, y] for x, y in BIG["points"]]}], "covers no pixel"),
        ([BIG] * 201, "at most 200"),
    ],
)
def test_shapes_that_cannot_be_are_refused_with_a_sentence(page: Page, results: Path, shapes: Any, reason: str) -> None:
    now = page.item("000_a")
    body = {"frame": 1, "base_version": 0, "decision": "corrected", "shapes": shapes, "not_visible": []}
    data = json.dumps(body)
    for path, method in (("review", page.client.put), ("measure", page.client.post)):
        url = f"/api/items/{now['id']}/{path}"
        answer = method(url, content=data, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422) and reason in answer.json()["error"], answer.text
    assert not (results / "review" / "reviews.jsonl").exists()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"decision": "maybe"}, "decision: expected one of"),
        ({"base_version": "1"}, "base_version"),
        ({"note": "a" * 2001}, "at most 2000 characters"),
        ({"note": "a\u202eb"}, "bidirectional"),
        ({"not_visible": ["HEAD"]}, "HEAD is drawn"),
        ({"not_visible": ["x"]}, "expected structures of HEAD"),
        ({"not_visible": [[]]}, "expected structures of HEAD"),
        ({"spacing_mm": {"row": 0.2}}, "spacing_mm"),
        ({"spacing_mm": {"row": True, "col": 0.2}}, "spacing_mm"),
        ({"spacing_mm": {"row": 50, "col": 50}}, "spacing_range_mm"),
        ({"frame": 0}, "expected frame 1"),
        ({"frame": "1"}, "frame: expected a number"),
    ],
)
def test_other_fields_are_checked(page: Page, body: dict[str, Any], reason: str) -> None:
    now = page.item("000_a")
    whole = {"frame": 1, "base_version": 0, "decision": "corrected", "shapes": now["shapes"], "not_visible": [], **body}
    answer = page.client.put(f"/api/items/{now['id']}/review", json=whole)
    assert answer.status_code in (404, 422) and reason in answer.json()["error"], answer.text


def test_not_visible_is_kept(page: Page) -> None:
    page.save("000_a", "corrected", shapes=[], not_visible=["HEAD"])
    assert page.item("000_a")["not_visible"] == ["HEAD"]


def test_a_calibration_gives_millimetres_and_says_so(page: Page, results: Path) -> None:
    spacing = {"row": 0.2, "col": 0.2}
    shapes = page.item("000_a")["shapes"]
    values = {one["key"]: one for one in page.measure("000_a", shapes=shapes, spacing_mm=spacing)["measurements"]}
    assert values["hc_mm"]["value"] == pytest.approx(48, abs=1) and "hc_px" not in values
    assert page.save("000_a", "accepted", spacing_mm=spacing)["decision"] == "corrected"
    again = page.item("000_a")
    assert (again["spacing_mm"], again["spacing_from"]) == (spacing, "reviewer")
    after = log_of(results)[0]["after"]
    assert (after["spacing_mm"], after["spacing_from"]) == (spacing, "reviewer")
    known = page.save("004_framed", "corrected", spacing_mm=spacing, status=422)
    assert "known, from SequenceOfUltrasoundRegions" in known["error"]
    assert page.save("004_framed", "accepted", spacing_mm={"row": 0.3, "col": 0.3})["decision"] == "accepted"
    assert "spacing_from" not in log_of(results)[1]["after"]


def test_measurements_have_intervals_while_the_shapes_are_predicted_ones(page: Page, results: Path) -> None:
    record = json.loads((results / "000_a.json").read_text())
    (results / "000_a.json").write_text(json.dumps({**record, "intervals": {"hc_px": [230.0, 250.0]}}))

    def circumference(found: list[dict[str, Any]]) -> dict[str, Any]:
        return next(one for one in found if one["key"] == "hc_px")

    shown = circumference(page.item("000_a")["measurements"])
    assert (shown["low"], shown["high"]) == (230, 250) and "(230.0 to 250.0)" in shown["text"]
    found = page.measure("000_a", shapes=[BIG])
    assert circumference(found["measurements"])["low"] is None
    same = page.measure("000_a", shapes=page.item("000_a")["predicted"])
    assert circumference(same["measurements"])["low"] == 230
    assert "HEAD not found" in page.measure("000_a", shapes=[])["reasons"]


def test_a_folder_that_cannot_be_written_is_said_at_once(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonoseg.errors import UsageError

    def refuse(folder: Path) -> None:
        raise UsageError(f"{folder}: cannot be written (Read-only file system); choose another folder")

    monkeypatch.setattr("sonoseg.review.store.check_writable", refuse)
    page = Page(Review(results_in(results, None), results, Rater("ann")))
    session = page.get("session")
    assert session["read_only"] and "cannot be written" in session["notice"] and not session["can_segment"]
    assert "cannot be written" in page.save("000_a", "accepted", status=403)["error"]
    assert page.item("000_a")["shapes"]


def test_a_decision_is_not_shown_for_another_picture_of_the_same_name(
    page_of: Callable[..., Page], results: Path, pictures: Path
) -> None:
    ann, ben = page_of("ann"), page_of("ben")
    for page in (ann, ben):
        page.save("000_a", "corrected", shapes=[BIG])
    ann.save("001_b", "accepted")
    record = json.loads((results / "000_a.json").read_text())
    Image.fromarray(head_picture(7)).save(pictures / "000_a.png")  # another image, segmented since
    record["made_from"]["image_sha256"] = sha256_of(pictures / "000_a.png")
    (results / "000_a.json").write_text(json.dumps(record))
    page = page_of("ann")
    item = page.item("000_a")
    assert (item["decision"], item["version"]) == ("open", 2) and item["shapes"] == item["predicted"] != [BIG]
    (row,) = [one for one in page.get("items")["items"] if one["name"] == "000_a"]
    assert row["decision"] == "open" and page.get("session")["counts"]["corrected"] == 0
    assert not page.get("session")["agreement"]
    page.save("002_c", "accepted")
    assert json.loads((results / "review" / "annotations.json").read_text()).keys() == {"001_b", "002_c"}
    page.save("000_a", "accepted")
    assert log_of(results)[-1]["before"] is None and page.item("000_a")["decision"] == "accepted"


def png(mask: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(mask).save(stream, "png")
    return base64.b64encode(stream.getvalue()).decode()


def test_a_painted_mask_becomes_outlines_and_holes_are_filled() -> None:
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 10:30] = 255
    mask[40:50, 50:70] = 255
    mask[15:20, 15:20] = 0
    reader = ShapeReader([REGION], (60, 80))
    shapes = reader.read([{"structure": "R", "kind": "region", "mask": png(mask)}])
    assert [shape.kind for shape in shapes] == ["region", "region"]
    assert reader.remarks == ["R: holes are filled, as a region is stored as its outline"]
    drawn = np.zeros((60, 80), bool)
    for shape in shapes:
        window, part = shape.draw((60, 80))
        drawn[window] |= part
    mask[15:20, 15:20] = 255
    assert (drawn == (mask > 0)).all()
    assert ShapeReader([REGION], (60, 80)).read([{"structure": "R", "kind": "region", "mask": png(mask * 0)}]) == []


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ("%%%", "no base64"),
        (5, "expected the mask as base64"),
        (base64.b64encode(b"GIF89a").decode(), "not a readable picture"),
        (png(np.zeros((10, 10), np.uint8)), "the mask has 10x10 pixels; expected 80x60"),
        (png(np.zeros((600, 800), np.uint8)), "800x600 pixels declared"),
    ],
)
def test_masks_that_are_none_are_refused(mask: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        ShapeReader([REGION], (60, 80)).read([{"structure": "R", "kind": "region", "mask": mask}])


def test_a_mask_of_many_bytes_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.review.shapes.MAX_MASK_BYTES", 60)
    text = png(np.zeros((60, 80), np.uint8))
    with pytest.raises(ValueError, match="expected the mask as base64 text of a PNG of at most"):
        ShapeReader([REGION], (60, 80)).read([{"structure": "R", "kind": "region", "mask": text}])


def test_rectangles_have_two_corners_or_the_four_of_a_turned_one() -> None:
    reader = ShapeReader([BOX], (60, 80))
    parallel, turned = [[10, 10], [30, 10], [30, 20], [10, 20]], [[20, 5], [36, 13], [31, 23], [15, 15]]
    (shape,) = reader.read([{"structure": "B", "kind": "rect", "points": parallel}])
    assert shape.points.tolist() == [[10, 10], [30, 20]]
    (shape,) = reader.read([{"structure": "B", "kind": "rect", "points": turned}])
    assert shape.points.tolist() == turned
    with pytest.raises(ValueError, match="four corners do not make a rectangle"):
        reader.read([{"structure": "B", "kind": "rect", "points": [[20, 5], [50, 13], [31, 23], [15, 15]]}])
