"""Images that are segmented as they are opened: the process of the network, its end, and dropped pictures."""

import argparse
import io
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from sonoseg.commands import review as review_command
from sonoseg.errors import DataError, UsageError
from sonoseg.inference.sources import Source, from_folder
from sonoseg.io.files import sha256_of
from sonoseg.io.image_ref import ImageRef
from sonoseg.review import uploads as uploads_module
from sonoseg.review.live import LiveImages, Predictor
from sonoseg.review.session import Review
from sonoseg.review.sources import Joined, results_in
from sonoseg.review.store import Rater
from sonoseg.review.uploads import Uploads, shown_name
from sonoseg.schema.task import Task
from tests.dicom_files import write_dicom
from tests.io.volumes import nifti
from tests.review.conftest import Page, head_picture
from tests.review.workers import RECORD, ends_at_crash


@pytest.fixture(scope="module")
def predictor() -> Iterator[Predictor]:
    made = Predictor(["m"], segment=ends_at_crash)
    yield made
    made.close()


def image(tmp_path: Path, name: str) -> Source:
    path = tmp_path / f"{name}.png"
    Image.fromarray(head_picture()).save(path)
    return Source(ImageRef(path), name)


def test_a_crash_of_the_network_ends_that_image_only(predictor: Predictor, tmp_path: Path) -> None:
    first = predictor(image(tmp_path, "a"))
    with pytest.raises(DataError, match="the process of the network ended at this image"):
        predictor(image(tmp_path, "crash"))
    second = predictor(image(tmp_path, "b"))
    assert first["shapes"] == second["shapes"] and first["process"] != second["process"]
    with pytest.raises(DataError, match="every pixel has the grey value 0"):
        predictor(image(tmp_path, "refused"))
    assert predictor.of(["other"])(image(tmp_path, "c"))["models"] == ["other"]


def test_a_network_that_hangs_is_ended(tmp_path: Path) -> None:
    slow = Predictor(["m"], seconds=0.2, segment=ends_at_crash)
    with pytest.raises(DataError, match=r"no result in 0\.2 seconds"):
        slow(image(tmp_path, "slow"))
    slow.close()


def record_of(source: Source) -> dict[str, Any]:
    if "crash" in source.name:
        raise DataError("the process of the network ended at this image; it is started again")
    return dict(RECORD)


@pytest.fixture
def live(head: Task, tmp_path: Path) -> Page:
    """The page of a folder without results."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "crash", "b"):
        image(folder, name)
    source = LiveImages(head, tmp_path / "out" / "review" / "live", record_of)
    source.add(from_folder(folder, head).sources)
    return Page(Review(source, tmp_path / "out", Rater("ann")))


def test_images_are_segmented_when_they_are_opened(live: Page, head: Task, tmp_path: Path) -> None:
    assert {item["status"] for item in live.get("items")["items"]} == {"waiting"}
    assert live.item("a")["shapes"] and live.get("session")["counts"]["waiting"] == 2
    failed = live.item("crash")
    assert failed["status"] == "failed" and "ended at this image" in failed["reasons"][0] and failed["width"] == 160
    live.save("a", "accepted")
    again = LiveImages(head, tmp_path / "out" / "review" / "live", refuse)
    again.add(from_folder(tmp_path / "in", head).sources)
    page = Page(Review(again, tmp_path / "out", Rater("ann")))
    assert page.item("a")["decision"] == "accepted"  # read from the record, without the network
    stop = threading.Event()
    again.run_ahead(stop)
    assert page.get("session")["counts"]["waiting"] == 0


def test_records_of_another_model_or_another_file_are_made_anew(head: Task, tmp_path: Path) -> None:
    made: list[str] = []
    source = image(tmp_path, "a")

    def predictor_of(model: str) -> Callable[[Source], dict[str, Any]]:
        def predict(source: Source) -> dict[str, Any]:
            made.append(model)
            return {**RECORD, "model_sha256": model, "made_from": {"image_sha256": sha256_of(source.path)}}

        return predict

    def opened(model: str) -> Page:
        images = LiveImages(head, tmp_path / "out" / "review" / "live", predictor_of(model), model)
        images.add([source])
        page = Page(Review(images, tmp_path / "out", Rater("ann")))
        page.get("items")
        page.item("a")
        return page

    page = opened("e" * 64)
    page.save("a", "accepted")
    source.path.touch()  # another time and the same bytes
    opened("e" * 64)
    assert made == ["e" * 64]
    opened("d" * 64)
    opened("d" * 64)
    assert made == ["e" * 64, "d" * 64]
    Image.fromarray(head_picture(20)).save(source.path)
    assert opened("d" * 64).item("a")["decision"] == "open" and made == ["e" * 64, "d" * 64, "d" * 64]
    Image.fromarray(head_picture(0)).save(source.path)
    assert opened("d" * 64).item("a")["decision"] == "accepted"


def refuse(source: Source) -> dict[str, Any]:
    raise DataError("not now")


@pytest.fixture
def dropping(results: Path, head: Task) -> Page:
    """The page of results that takes pictures."""
    dropped = LiveImages(head, results / "review" / "live", record_of)
    review = Review(Joined([results_in(results, None), dropped]), results, Rater("ann"), can_segment=True)
    return Page(review, uploads=Uploads(results / "review", dropped))


def drop(page: Page, *files: tuple[str, bytes], status: int = 200) -> Any:
    answer = page.client.post("/api/upload", files=[("file", each) for each in files])
    assert answer.status_code == status, answer.text
    return answer.json()


def as_png(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(head_picture(seed)).save(stream, "png")
    return stream.getvalue()


def test_a_dropped_picture_becomes_an_item(dropping: Page, results: Path, head: Task) -> None:
    assert dropping.get("session")["can_segment"]
    (identity,) = drop(dropping, ("new head.png", as_png()))["items"]
    item = dropping.get(f"items/{identity}")
    assert item["name"] == "new head.png" and item["shapes"]
    assert dropping.client.get(f"/api/items/{identity}/image").status_code == 200
    assert drop(dropping, ("the same.png", as_png()))["items"] == [identity]
    dropping.save(dropping.get(f"items/{identity}")["name"], "accepted")
    later = LiveImages(head, results / "review" / "live", refuse)
    Uploads(results / "review", later)
    assert [one.label for one in later.items()] == ["new head.png"]


def test_a_dropped_dicom_file_without_a_suffix(dropping: Page, tmp_path: Path) -> None:
    file = write_dicom(tmp_path / "written", head_picture(), PatientName="Visible^Name", PatientID="V-1")
    answer = drop(dropping, ("IM0001", file.read_bytes()))
    assert len(answer["items"]) == 1 and not answer["problems"]
    details = json.dumps([dropping.get("items"), dropping.get(f"items/{answer['items'][0]}")])
    assert "Visible" not in details and "V-1" not in details


def test_a_dropped_compressed_volume_file(dropping: Page, tmp_path: Path) -> None:
    data = nifti(tmp_path / "a.nii.gz", head_picture()).read_bytes()
    answer = drop(dropping, ("Head.NII.GZ", data))
    assert not answer["problems"]
    assert dropping.get(f"items/{answer['items'][0]}")["name"] == "Head.NII.GZ"


def test_a_file_that_the_readers_refuse(dropping: Page) -> None:
    data = Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()
    assert "signed pixels" in drop(dropping, ("ct.dcm", data))["problems"][0]["error"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.png", b"", "the file is empty"),
        ("a.png", b"<script>alert(1)</script>", "not a readable picture"),
        ("a.txt", b"text", "not a picture that can be read"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture that can be read"),
        ("a.png", as_png()[:200], ""),
    ],
)
def test_what_is_no_picture_is_said(dropping: Page, results: Path, name: str, data: bytes, reason: str) -> None:
    answer = drop(dropping, (name, data), ("good.png", as_png()))
    assert len(answer["items"]) >= 1
    if reason:
        assert [one["name"] for one in answer["problems"]] == [name] and reason in answer["problems"][0]["error"]
        assert str(results) not in answer["problems"][0]["error"]
        assert len(list((results / "review" / "uploads").iterdir())) == 1


@pytest.mark.parametrize(
    "name",
    ["../../../evil.png", "..\\..\\evil.png", "/etc/passwd.png", "a\u202eb\n.png", "x" * 400 + ".png", ".png", "-"],
)
def test_hostile_names_name_no_file(dropping: Page, results: Path, tmp_path: Path, name: str) -> None:
    before = {path for path in tmp_path.rglob("*") if "uploads" not in path.parts and "review" not in path.parts}
    data = as_png(len(name))
    drop(dropping, (name, data))
    after = {path for path in tmp_path.rglob("*") if "uploads" not in path.parts and "review" not in path.parts}
    assert before == after
    for path in (results / "review" / "uploads").iterdir():
        assert path.stem.isalnum() and len(path.stem) == 16
    shown = shown_name(name)
    assert "/" not in shown and "\\u" not in shown.split("\\")[0] and shown.isprintable() and len(shown) <= 100


def test_a_list_of_uploads_leads_to_no_other_file(head: Task, results: Path, pictures: Path) -> None:
    """The list may have been edited, or copied from elsewhere."""
    (results / "review" / "uploads").mkdir(parents=True)
    climbing = os.path.relpath(pictures / "000_a.png", results / "review" / "uploads")
    lines = [json.dumps({"file": name, "name": "a.png"}) for name in (climbing, str(pictures / "000_a.png"))]
    (results / "review" / "uploads.jsonl").write_text("\n".join(lines))
    live = LiveImages(head, results / "review" / "live", refuse)
    Uploads(results / "review", live)
    assert not live.items()


def test_uploads_have_limits(dropping: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonoseg.review.web import server

    monkeypatch.setattr(server, "MAX_FILES", 2)
    assert "Too many files" in drop(dropping, *[(f"{n}.png", as_png(n)) for n in range(3)], status=413)["error"]
    monkeypatch.setattr(server, "MAX_BYTES", 1000)
    assert "MiB together" in drop(dropping, ("big.png", b"0" * 2000), status=413)["error"]
    assert dropping.client.post("/api/upload", json={}).status_code == 415
    broken = {"Content-Type": "multipart/form-data; boundary=x"}
    assert dropping.client.post("/api/upload", content=b"--y", headers=broken).status_code in (200, 400)


def test_a_picture_that_declares_too_many_pixels(dropping: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from sonoseg.io.limits import ReadLimits

    monkeypatch.setattr(uploads_module, "LIMITS", ReadLimits(max_pixels=100))
    answer = drop(dropping, ("a.png", as_png()))
    assert not answer["items"] and "160x120 pixels declared" in answer["problems"][0]["error"]


def test_a_read_only_folder_takes_no_pictures(dropping: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sonoseg.review.store.check_writable", lambda folder: None)
    review = next(route for route in dropping.app.app.routes if route.path == "/api/upload").endpoint.__self__.review
    review.read_only = "cannot be written"
    assert drop(dropping, ("a.png", as_png()), status=403)["error"] == "cannot be written"
    assert not dropping.get("session")["can_segment"]


def test_a_model_of_another_task_than_the_results_is_refused(results: Path) -> None:
    parser = argparse.ArgumentParser()
    review_command.add(parser.add_subparsers())
    given = ["review", str(results), "--model", "spine_realtime"]
    with pytest.raises(
        UsageError, match=r"task spine_realtime with .*the results are of task fetal_head with HEAD; name"
    ):
        review_command.opened(parser.parse_args(given))
    assert review_command.opened(parser.parse_args(given[:2]))[1] is None  # the model of the results is not there
