"""The list, its order and filters; items, their pictures and measurements; loops."""

import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sonoseg.errors import DataError, UsageError
from sonoseg.geometry.shapes import Shape
from sonoseg.io.tables import write_csv
from sonoseg.review import session
from sonoseg.review.measuring import measured, measured_marks
from sonoseg.review.predictions import of_record
from sonoseg.review.queue import counts, worst_first
from sonoseg.review.results import Item, ResultFolder
from sonoseg.review.session import Review
from sonoseg.review.sources import results_in
from sonoseg.review.store import Rater
from sonoseg.schema.task import Task
from sonoseg.sizes import Region
from tests.browser.results import written_results
from tests.review.conftest import FRAMES, SIZE, Page, head_picture


def pixels(page: Page, path: str) -> np.ndarray:
    answer = page.client.get(f"/api/{path}")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    return np.asarray(Image.open(io.BytesIO(answer.content)))


def test_a_browser_keeps_the_work_of_each_reviewer_apart(page_of: Callable[..., Page]) -> None:
    raters = [("ann", False), ("ben", False), ("ann", True)]
    scopes = [page_of(name, blind=blind).get("session")["scope"] for name, blind in raters]
    assert len(set(scopes)) == 3 and page_of("ann").get("session")["scope"] == scopes[0]


def test_the_page_is_told_what_it_needs(page: Page) -> None:
    session = page.get("session")
    assert session["title"] == "Fetal head in transverse ultrasound" and session["reviewer"] == "ann"
    assert [(one["name"], one["shape"], one["value"]) for one in session["structures"]] == [("HEAD", "ellipse", 1)]
    assert not (session["blind"] or session["read_only"] or session["can_segment"])
    assert session["patients"] == sorted({item["patient"] for item in page.get("items")["items"]} - {""})
    assert len(session["scope"]) == 12  # under which a browser keeps unsaved work on these results
    assert session["counts"]["all"] == 6 and session["counts"]["open"] == 6
    assert "Visible" not in json.dumps(session) + json.dumps(page.get("items"))


def test_worst_first() -> None:
    made = [
        Item("1", "fine", "", status="ok", quality=0.9),
        Item("2", "unsure", "", status="check", quality=0.8),
        Item("3", "unknown", "", status="check"),
        Item("4", "broken", "", status="failed"),
        Item("5", "bad", "", status="reject", quality=0.7),
        Item("6", "also", "", status="ok", quality=0.8),
    ]
    assert [item.name for item in worst_first(made)] == ["bad", "broken", "unknown", "also", "unsure", "fine"]


def test_filters(page: Page) -> None:
    names = {item["name"] for item in page.get("items")["items"]}
    assert names == {"000_a", "001_b", "002_c", "003_nothing", "004_framed", "005_loop"}
    with_head = page.get("items", structure="HEAD")
    assert with_head["total"] == 5 and "003_nothing" not in {item["name"] for item in with_head["items"]}
    assert [item["name"] for item in page.get("items", patient="001")["items"]] == ["001_b"]
    assert page.get("items?status=ok")["total"] == 0 and page.get("items?status=check&structure=")["total"] == 6
    page.save("000_a", "accepted")
    assert [item["name"] for item in page.get("items", reviewed="yes")["items"]] == ["000_a"]
    assert page.get("items", reviewed="no")["total"] == 5
    part = page.get("items", offset=2, limit=2)
    assert (len(part["items"]), part["total"]) == (2, 6) and part["counts"]["accepted"] == 1
    assert page.get("items", offset="-1", status=400)["error"] == "offset: expected a whole number"


def test_an_item_has_all_about_its_image(page: Page) -> None:
    item = page.item("000_a")
    assert (item["height"], item["width"], item["frames"], item["frame"]) == (*SIZE, 1, 1)
    assert item["shapes"] == item["predicted"] and item["shapes"][0]["kind"] == "ellipse"
    assert item["spacing_mm"] is None and item["version"] == 0 and item["decision"] == "open"
    by_key = {one["key"]: one for one in item["measurements"]}
    assert by_key["hc_px"]["value"] == pytest.approx(240, abs=5) and "hc_mm" not in by_key
    assert by_key["hc_px"]["text"].endswith(" px") and by_key["gestational_age_weeks"]["note"]


def test_pictures_are_those_of_the_file(page: Page, pictures: Path) -> None:
    path = f"items/{page.id_of('000_a')}"
    assert (pixels(page, f"{path}/image") == head_picture()).all()
    assert pixels(page, f"{path}/image?kind=enhanced").shape == SIZE
    small = pixels(page, f"{path}/thumbnail")
    assert small.shape == (96, 128, 3) and (small.max(axis=2) > small.min(axis=2)).any()  # an outline in colour
    answer = page.client.get(f"/api/{path}/image")
    again = page.client.get(f"/api/{path}/image", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304 and not again.content
    page.get(f"{path}/image", kind="../../etc/passwd", status=404)


def test_what_surrounds_an_ultrasound_region_is_not_shown(page: Page) -> None:
    item = page.item("004_framed")
    assert (item["height"], item["width"]) == (SIZE[0] + 20, SIZE[1] + 30)
    shown = pixels(page, f"items/{item['id']}/image")
    assert not shown[:10].any() and (shown[10:-10, 15:-15] > 0).all()
    centre = np.mean(item["shapes"][0]["points"], axis=0)
    assert centre == pytest.approx([94, 70], abs=1)
    assert item["spacing_mm"] == {"row": pytest.approx(0.3), "col": pytest.approx(0.3)}
    moved = [{**item["shapes"][0], "points": [[x + 1, y] for x, y in item["shapes"][0]["points"]]}]
    before = {one["key"]: one["value"] for one in item["measurements"]}
    after = {one["key"]: one["value"] for one in page.measure("004_framed", shapes=moved)["measurements"]}
    assert after["hc_mm"] == pytest.approx(before["hc_mm"], rel=1e-3)


def test_a_spine_is_measured_in_less_than_50_ms_of_a_processor(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(60, 100, (480, 640), dtype=np.uint8)
    image[:80], image[78:88] = 15, 200
    shapes = [
        {"structure": "MID", "kind": "line", "points": [[320, 150], [322, 330]]},
        {"structure": "VTB", "kind": "rect", "points": [[260, 340], [380, 400]]},
        {"structure": "EPI", "kind": "line", "points": [[280, 300], [360, 302]]},
    ]
    predicted = [[one["structure"], one["kind"], one["points"]] for one in shapes]
    results = written_results(tmp_path, "spine_realtime", {"spine": image}, {"spine": predicted}, 0.2)
    page = Page(Review(results_in(results, None), results, Rater("ann")))
    url, seconds = f"/api/items/{page.id_of('spine')}/measure", []
    for x in range(6):  # the first compiles, and decodes the picture
        shapes[0]["points"] = [[320 + x, 150], [322, 330]]
        start = time.process_time()
        answer = page.client.post(url, json={"frame": 1, "shapes": shapes, "spacing_mm": None})
        seconds.append(time.process_time() - start)
        values = {one["key"]: one["value"] for one in answer.json()["measurements"]}
        assert values["skin_to_epi_mm"] == pytest.approx((301 - 85) * 0.2, abs=2)
    assert min(seconds[1:]) < 0.05


def test_a_depth_has_the_points_between_which_it_is_taken(spine: Task) -> None:
    image = np.random.default_rng(0).integers(60, 100, (140, 160), dtype=np.uint8)
    image[:24], image[23:26] = 15, 200
    drawn = {"MID": ("line", [[90, 50], [90, 110]]), "EPI": ("line", [[70, 100], [110, 100]])}
    shapes = [Shape(name, kind, np.array(points, float)) for name, (kind, points) in drawn.items()]
    in_frame = [shape.moved(7, 5) for shape in shapes]
    found, _ = measured(in_frame, image, spine, (0.5, 0.5), Region(5, 7, (140, 160)))
    depth = next(one for one in found if one["key"] == "skin_to_epi_mm")
    (_, top), (x, bottom) = depth["mark"]
    assert (x, bottom) == (97, 105) and (bottom - top) * 0.5 == pytest.approx(depth["value"]) and 26 <= top <= 32
    marks = measured_marks(in_frame, image, spine, (0.5, 0.5), Region(5, 7, (140, 160)))
    assert marks["skin_to_epi_mm"] == depth["mark"]  # as frames of loops get them
    record = {"width": 160, "height": 140, "status": "ok", "marks": {"skin_to_epi_mm": [[97, 25.5], [97, 105]]}}
    assert of_record(record, spine).marks == record["marks"]
    with pytest.raises(DataError, match="segment it again"):
        of_record(record | {"marks": {"skin_to_epi_mm": [[97], [97, 105]]}}, spine)


def test_the_spread_of_the_gestational_age_is_on_the_page(fetal_head: Task) -> None:
    head = Shape("HEAD", "ellipse", np.array([[20.0, 60], [120, 60], [70, 20], [70, 100]]))
    found, _ = measured([head], np.zeros(SIZE, np.uint8), fetal_head, (1.0, 1.0))
    (age,) = (one for one in found if one["key"] == "gestational_age_weeks")
    assert 30 < age["value"] < 36 and "formula: 3.0 weeks" in age["note"]


def test_a_loop_has_frames_and_curves(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = page.item("005_loop")
    assert whole["frames"] == FRAMES and 1 <= whole["frame"] <= FRAMES
    centres = [
        np.mean(page.item("005_loop", frame=number + 1)["shapes"][0]["points"], axis=0)[0] for number in range(4)
    ]
    assert np.diff(centres) == pytest.approx([3, 3, 3], abs=0.5)
    path = f"items/{whole['id']}"
    assert (pixels(page, f"{path}/image?frame=2") == head_picture(3)).all()
    series = page.get(f"{path}/series")
    assert series["frames"] == FRAMES and len(series["quality"]) == FRAMES
    assert {"hc_px", "bpd_px"} <= {curve["key"] for curve in series["curves"]}
    page.item("005_loop", frame=FRAMES + 1, status=404)
    page.get(f"items/{page.id_of('000_a')}/series", status=404)
    monkeypatch.setattr(session, "measured_marks", lambda *_: {"hc_px": [[1.0, 2.0], [3.0, 4.0]]})
    marked = {one["key"]: one["mark"] for one in page.item("005_loop", frame=2)["measurements"]}
    assert marked["hc_px"] == [[1, 2], [3, 4]] and marked["bpd_px"] is None  # the table of frames has no marks
    page.save("005_loop", "corrected", frame=3, shapes=[])
    assert page.item("005_loop", frame=2)["version"] == 0 and page.item("005_loop", frame=3)["shapes"] == []


def test_missing_images_are_said_at_once_and_cannot_be_accepted(results: Path, pictures: Path) -> None:
    shutil.move(pictures, pictures.with_name("moved"))
    page = Page(Review(results_in(results, None), results, Rater("ann")))
    assert "not where they were segmented" in page.get("session")["notice"]
    item = page.item("000_a")
    assert item["shapes"] and {one["text"] for one in item["measurements"]} != {""}
    assert "not where" in page.get(f"items/{item['id']}/image", status=404)["error"]
    assert "an image that cannot be shown is not accepted" in page.save("000_a", "accepted", 422)["error"]
    page.save("000_a", "rejected")
    there = Page(Review(results_in(results, pictures.with_name("moved")), results, Rater("ann")))
    assert (pixels(there, f"items/{item['id']}/image") == head_picture()).all()


def test_images_of_several_runs_are_found_in_their_folders(results: Path, pictures: Path, tmp_path: Path) -> None:
    """Each of three runs with another folder replaces table and record, and the earlier results stay."""
    other, gone = tmp_path / "other", tmp_path / "gone"
    other.mkdir()
    shutil.move(pictures / "001_b.png", other / "001_b.png")
    Image.fromarray(head_picture(9)).save(other / "000_a.png")  # another image of the same name
    record = json.loads((results / "run.json").read_text())
    record["settings"]["earlier_runs"] = [{"images": str(other)}, {"images": str(gone)}]
    (results / "run.json").write_text(json.dumps(record))
    page = Page(Review(results_in(results, None), results, Rater("ann")))
    assert page.get("session")["notice"].startswith("Not for clinical use")
    for path in (pictures / "000_a.png", other / "001_b.png"):
        assert (pixels(page, f"items/{page.id_of(path.stem)}/image") == np.asarray(Image.open(path))).all()
    (pictures / "002_c.png").unlink()
    page = Page(Review(results_in(results, None), results, Rater("ann")))
    count = len(page.get("items")["items"])
    assert page.get("session")["notice"].startswith(f"1 of {count} images are not found; start again with their folder")
    assert "002_c.png: not found in " in page.get(f"items/{page.id_of('002_c')}/image", status=404)["error"]


def test_a_replaced_image_is_not_shown_with_old_shapes(page: Page, pictures: Path) -> None:
    Image.fromarray(head_picture(7)).save(pictures / "000_a.png")
    assert "has changed since" in page.get(f"items/{page.id_of('000_a')}/image", status=404)["error"]
    shapes = page.item("000_a")["shapes"]
    moved = [{**shapes[0], "points": [[x + 1, y] for x, y in shapes[0]["points"]]}]
    found = page.measure("000_a", shapes=moved)
    assert "has changed since" in found["reasons"][0] and {one["value"] for one in found["measurements"]} == {None}


def test_failed_images_and_damaged_records_are_items(page: Page, results: Path, pictures: Path) -> None:
    (results / "001_b.json").write_text('{"image": ')
    assert page.item("001_b")["status"] == "failed" and page.item("001_b")["width"] == SIZE[1]
    record = json.loads((results / "002_c.json").read_text())
    (results / "002_c.json").write_text(json.dumps({**record, "shapes": [["HEAD", "ellipse", [[1, 2]]]]}))
    assert "segment it again" in page.item("002_c", status=422)["error"]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results in this folder"):
        ResultFolder(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        ResultFolder(tmp_path / "none")


def test_results_of_another_run_than_the_table_are_listed(page: Page, results: Path) -> None:
    record = json.loads((results / "000_a.json").read_text())
    (results / "later.json").write_text(json.dumps({**record, "image": "000_a.png", "status": "check"}))
    assert page.item("later")["status"] == "check" and page.get("session")["counts"]["all"] == 7


def test_ten_thousand_results_are_listed_in_time(results: Path) -> None:
    rows = [
        {"image": f"{n}.png", "name": f"n{n}", "status": "ok", "quality": n / 10_000, "confidence_HEAD": 1}
        for n in range(10_000)
    ]
    for row in rows:
        os.close(os.open(results / f"{row['name']}.json", os.O_CREAT))
    write_csv(results / "results.csv", list(rows[0]), rows)
    page = Page(Review(results_in(results, None), results, Rater("ann")))
    start = time.process_time()
    answer = page.get("items", limit=500)
    assert time.process_time() - start < 3  # a third of that on an idle machine
    assert answer["total"] >= 10_000 and len(answer["items"]) == 500
    start = time.process_time()
    page.get("items", limit=500)
    assert time.process_time() - start < 1


def test_counts_are_of_the_images_that_are_there() -> None:
    items = [Item(name, name, f"{name}.png", status="ok") for name in "abc"]
    newest = {"a": {"decision": "open"}, "b": {"decision": "accepted"}, "gone": {"decision": "rejected"}}
    found = counts(items, newest, blind=False)
    assert {key: number for key, number in found.items() if number} == {"all": 3, "open": 2, "accepted": 1, "ok": 3}


def test_a_blind_rater_sees_images_only(page_of: Callable[..., Page]) -> None:
    page_of("ann").save("000_a", "corrected", shapes=[])
    page = page_of("ben", blind=True)
    listed = page.get("items")["items"]
    assert [one["name"] for one in listed] == sorted(one["name"] for one in listed)
    assert {(one["status"], one["quality"], one["decision"]) for one in listed} == {("", None, "open")}
    item = page.item("001_b")
    assert item["shapes"] == [] and "predicted" not in item and not item["reasons"] and not item["status"]
    small = pixels(page, f"items/{item['id']}/thumbnail")
    assert (small.max(axis=2) == small.min(axis=2)).all()
    assert page.item("000_a")["version"] == 0  # what ann has saved is not shown, and does not stand in the way
    page.save("000_a", "corrected", shapes=[])
    page.get(f"items/{page.id_of('005_loop')}/series", status=404)
    page.get("agreement", status=404)


def test_pages_are_cut_from_the_list_as_it_was(page: Page, results: Path) -> None:
    names = [item["name"] for item in page.get("items")["items"]]
    first = page.get("items", reviewed="no", limit=2)
    for item in first["items"]:
        page.save(item["name"], "rejected")  # they leave the filtered list
    rest = page.get("items", reviewed="no", limit=10, offset=2, list=first["list"])
    assert [item["name"] for item in (*first["items"], *rest["items"])] == names and rest["total"] == len(names)
    assert rest["list"] == first["list"] and {item["decision"] for item in rest["items"]} == {"open"}
    new = page.get("items", reviewed="no")
    assert new["total"] == len(names) - 2 and new["list"] != first["list"]
    assert page.get("items", list="unknown")["total"] == len(names)


def test_a_thumbnail_has_the_outlines_of_the_result_as_it_is(page: Page, results: Path) -> None:
    url = f"/api/items/{page.id_of('000_a')}/thumbnail"
    before = page.client.get(url).content
    record = json.loads((results / "000_a.json").read_text())
    (results / "000_a.json").write_text(json.dumps({**record, "shapes": []}))
    assert page.client.get(url).content != before
