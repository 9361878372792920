"""Regions, spacings and patients of DICOM data in stage 1: what is drawn where, and who counts as one patient."""

import json
import pkgutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.errors import DataError, UsageError
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import decode_label_map
from sonoseg.io.pseudonyms import PseudonymKey, is_pseudonym
from sonoseg.prepare.dataset import VerifiedImages
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.drafts import Draft, StatedIn
from tests.conftest import changed
from tests.datasets import task_with
from tests.dicom_files import region_item, write_dicom, write_video
from train_test_data_preparation import verify_images

RNG = np.random.default_rng(8)
FRAME = (60, 100)
LEFT, RIGHT = region_item(10, 5, 39, 44, (0.2, 0.2)), region_item(50, 5, 89, 54, (0.4, 0.3))
BOXES = {"name": "A", "shape": "rectangle"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data" / "images").mkdir(parents=True)
    return tmp_path / "data"


def picture() -> np.ndarray:
    return RNG.integers(0, 256, FRAME, dtype=np.uint8)


def box(left: float, top: float, right: float, bottom: float) -> list[Any]:
    return ["A", "rect", [[left, top], [right, bottom]]]


def verified(data: Path, key: PseudonymKey | None = None, **fields: Any) -> VerifiedImages:
    """Return what stage 1 verifies in a folder, with one structure A, a rectangle."""
    settings = {"annotations": {"format": "shapes_json"}, "patients": "unknown", **fields}
    task = changed(task_with([BOXES]), **settings)
    draft = Draft({}, "a.yaml", StatedIn("a.yaml"))
    arguments = SimpleNamespace(max_pixels=10**6, drop_duplicates=False)
    return verify_images(draft, task, [data], arguments, key or PseudonymKey(data.parent / "key"))  # type: ignore[arg-type]


def annotate(data: Path, **entries: Any) -> None:
    (data / "annotations.json").write_text(json.dumps(entries))


def labels(found: VerifiedImages) -> dict[str, np.ndarray]:
    return {image.item.id: decode_label_map(image.mask_png) for image in found.images}


def messages(found: VerifiedImages, level: str = "error") -> list[str]:
    return [f"{fault.where}: {fault.message}" for fault in found.faults if fault.level == level]


def test_shapes_of_the_frame_are_drawn_in_the_region(data: Path) -> None:
    write_dicom(data / "images" / "a.dcm", picture(), [LEFT])
    annotate(data, a=[box(12, 10, 20, 14)])
    mask = labels(verified(data))["a"]
    assert mask.shape == (40, 30) and mask[5:10, 2:11].all() and mask.sum() == 5 * 9


@pytest.mark.parametrize(
    ("entry", "level", "said"),
    [
        (
            box(60, 10, 70, 20),
            "error",
            "covers no pixel of the ultrasound region of the frame (columns 10 to 39",
        ),
        (box(30, 10, 70, 20), "warning", "reaches out of the ultrasound region of the frame (columns 10 to 39"),
        (box(30, 10, 400, 20), "error", "point (400, 20) lies outside the image of 100x60 pixels; was it annotated"),
    ],
)
def test_shapes_outside(data: Path, entry: Any, level: str, said: str) -> None:
    write_dicom(data / "images" / "a.dcm", picture(), [LEFT])
    annotate(data, a=[entry])
    (message,) = [one for one in messages(verified(data), level) if "shape 0" in one]
    assert said in message and message.startswith("images/a.dcm, shape 0 (A)")


def test_two_regions_are_two_images_where_both_are_annotated(data: Path) -> None:
    for name in "abc":
        write_dicom(data / "images" / f"{name}.dcm", picture(), [LEFT, RIGHT], PatientID=name)
    annotate(data, a=[box(12, 10, 20, 14), box(60, 6, 62, 7)], b=[box(45, 6, 62, 7)], c=[])
    found = verified(data)
    assert messages(found) == []
    masks = labels(found)
    assert list(masks) == ["a_region1", "a_region2", "b_region2", "c_region1", "c_region2"]
    assert masks["a_region1"].shape == (40, 30) and masks["a_region2"].shape == (50, 40)
    assert masks["a_region2"][1:3, 10:13].all() and masks["a_region2"].sum() == 6
    assert masks["b_region2"][1:3, 0:13].all() and not masks["c_region1"].any()
    assert found.meta["a_region1"].spacing == pytest.approx((0.2, 0.2))
    assert found.meta["a_region2"].spacing == pytest.approx((0.4, 0.3))
    assert found.meta["a_region1"].patient == found.meta["a_region2"].patient != found.meta["b_region2"].patient
    annotate(data, a=[box(42, 10, 46, 14)])
    assert "images/a.dcm, shape 0 (A): lies in none of the 2 ultrasound regions" in messages(verified(data))[0]


def masked(data: Path, mask: np.ndarray, name: str = "a") -> None:
    (data / "masks").mkdir(exist_ok=True)
    Image.fromarray(mask).save(data / "masks" / f"{name}_mask.png")


def frame_mask(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros(FRAME, np.uint8)
    for left, top, right, bottom in boxes:
        mask[top:bottom, left:right] = 255
    return mask


MASKS = {"annotations": {"format": "mask_folder"}}


def test_masks_are_cut_to_the_region(data: Path) -> None:
    write_dicom(data / "images" / "a.dcm", picture(), [LEFT])
    masked(data, frame_mask((12, 10, 20, 14), (90, 0, 95, 2)))
    found = verified(data, **MASKS)
    assert labels(found)["a"][5:9, 2:10].all() and labels(found)["a"].sum() == 32
    assert any(
        "10 annotated pixels of its mask lie outside the ultrasound region" in one for one in messages(found, "warning")
    )
    masked(data, frame_mask((90, 0, 95, 2)))
    assert "all annotated pixels of its mask lie outside the ultrasound region" in messages(verified(data, **MASKS))[0]


def test_a_mask_of_the_regions_size_is_one_of_the_region(data: Path) -> None:
    write_dicom(data / "images" / "a.dcm", picture(), [LEFT])
    small = np.zeros((40, 30), np.uint8)
    small[3:6, 4:9] = 1
    masked(data, small)
    assert np.array_equal(labels(verified(data, **MASKS))["a"], small)
    masked(data, small[:-1])
    assert "the mask has 30x39 pixels, its image has 100x60" in messages(verified(data, **MASKS))[0]
    write_dicom(data / "images" / "a.dcm", picture(), [LEFT, RIGHT])
    masked(data, small)
    assert "the mask has 30x40 pixels, its image has 100x60" in messages(verified(data, **MASKS))[0]


@pytest.mark.parametrize("shape", ["box", "bitmap"])
def test_shapes_on_an_image_of_the_regions_size(data: Path, shape: str) -> None:
    write_dicom(data / "images" / "a.dcm", picture(), [LEFT])
    drawn: Any = Shape("A", "rectangle", np.array([[4.0, 3.0], [8.0, 5.0]]))
    if shape == "bitmap":
        drawn = Bitmap.of("A", np.ones((3, 5), bool), 4, 3)
    section = annotations_section("coco")
    for size, inside in (((40, 30), (slice(3, 6), slice(4, 9))), (FRAME, None)):
        moved = drawn if inside else drawn.moved(10, 5)
        FORMATS["coco"].write(data, section, [Annotation("a.dcm", (moved,), size=size)])
        mask = labels(verified(data, annotations={"format": "coco"}))["a"]
        assert mask[3:6, 4:9].all() and mask.sum() == 15
    FORMATS["coco"].write(data, section, [Annotation("a.dcm", (drawn,), size=(41, 30))])
    found = verified(data, annotations={"format": "coco"})
    assert "was annotated as an image of 30x41 pixels, this one has 100x60" in messages(found)[0]


def test_masks_of_two_regions(data: Path) -> None:
    for name in "abc":
        write_dicom(data / "images" / f"{name}.dcm", picture(), [LEFT, RIGHT])
    masked(data, frame_mask((12, 10, 20, 14), (60, 6, 63, 8)))
    masked(data, frame_mask((60, 6, 63, 8)), "b")
    masked(data, frame_mask(), "c")
    found = verified(data, **MASKS)
    assert list(labels(found)) == ["a_region1", "a_region2", "b_region2", "c_region1", "c_region2"]
    assert labels(found)["b_region2"].sum() == 6 and found.annotated == 5
    masked(data, frame_mask((45, 6, 47, 8)), "b")
    assert "lie outside the ultrasound regions" in messages(verified(data, **MASKS))[0]


def test_empty_pages_of_a_loops_mask_are_left_out(data: Path) -> None:
    write_dicom(data / "images" / "loop.dcm", np.stack([picture() for _ in range(3)]), [LEFT])
    (data / "masks").mkdir()
    first, *others = [Image.fromarray(frame_mask(*boxes)) for boxes in ([], [(12, 10, 20, 14)], [])]
    first.save(data / "masks" / "loop_mask.tif", save_all=True, append_images=others)
    found = verified(data, **MASKS)
    assert list(labels(found)) == ["loop_frame0002"] == list(found.meta) and messages(found) == []


def test_two_spacings(data: Path) -> None:
    for name in "ab":
        write_dicom(data / "images" / f"{name}.dcm", picture(), [LEFT])
    annotate(data, a=[box(12, 10, 20, 14)], b=[box(12, 10, 20, 14)])
    (data / "metadata.csv").write_text("image,row_mm,col_mm\na,0.201,0.2\nb,0.2,0.25\n")
    found = verified(data)
    (message,) = [one for one in messages(found, "warning") if "pixel spacing" in one]
    assert message.startswith("images/b.dcm: metadata.csv states a pixel spacing of 0.2 x 0.25 mm")
    assert "the file itself 0.2 x 0.2 mm" in message and found.meta["b"].spacing == (0.2, 0.25)


def patients(data: Path, ids: dict[str, str], key: PseudonymKey | None = None, **fields: Any) -> dict[str, Any]:
    """Return the patient of each file with this PatientID."""
    for name, identity in ids.items():
        write_dicom(data / "images" / f"{name}.dcm", picture(), [LEFT], PatientID=identity)
    annotate(data, **{name: [box(12, 10, 20, 14)] for name in ids})
    found = verified(data, key, **fields)
    assert messages(found) == []
    return {name: found.meta[name].patient for name in ids}


HOSTILE = {
    "newline": "A\nB",
    "path": "../../etc/passwd",
    "long": "x" * 5000,
    "formula": '=cmd|"/c calc"!A1',
    "html": "<script>alert(1)</script>",
    "nul": "AB\0CD",
    "direction": "AB\u202eCD",
}


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hostile_identities(data: Path) -> None:
    found = patients(data, HOSTILE)
    assert all(map(is_pseudonym, found.values())) and len(set(found.values())) == len(HOSTILE)
    assert not any(part in repr(verified(data)) for part in ("passwd", "xxxxx", "calc", "script"))


def test_spellings_of_an_identity_are_one_patient(data: Path) -> None:
    found = patients(data, {"a": "abc 1", "b": "ABC1", "c": " Abc\u00a01 ", "d": "abc2"})
    assert len({found[name] for name in "abc"}) == 1 and found["d"] != found["a"]


def test_who_has_issued_a_number_makes_no_other_patient(data: Path) -> None:
    """It is in some files of a patient only, and then he would be in training and in test."""
    write_dicom(data / "images" / "c.dcm", picture(), [LEFT], PatientID="P1", IssuerOfPatientID="HOSPITAL")
    write_dicom(data / "images" / "d.dcm", picture(), [LEFT], PatientID="P1")
    annotate(data, c=[box(12, 10, 20, 14)], d=[box(12, 10, 20, 14)])
    meta = verified(data).meta
    assert meta["c"].patient == meta["d"].patient


def test_a_pattern_or_a_column_of_the_task_wins(data: Path) -> None:
    ids = {"a1": "P1", "a2": "P2", "b1": "P1", "c1": "P1", "d1": "P3"}
    key = PseudonymKey(data.parent / "key")
    assert patients(data, ids, key, patients={"pattern": "^([a-z])"}) == dict(zip(ids, "aabcd", strict=True))
    assert not key.is_used
    (data / "metadata.csv").write_text("image,patient\na1,X\na2,Y\nb1,\n")
    found = patients(data, ids, key, patients={"column": "patient"})
    assert (found["a1"], found["a2"]) == ("X", "Y")
    assert found["b1"] == found["c1"] == "X", "the table names the patient of another image with this identity"
    assert is_pseudonym(found["d1"]) and key.is_used


def test_the_pseudonym_is_a_keyed_hash(tmp_path: Path) -> None:
    """HMAC-SHA-256 of `p1`, computed with openssl."""
    (tmp_path / "key").write_bytes(bytes(32))
    assert PseudonymKey(tmp_path / "key").pseudonym("P1") == "patient-9241cf755cdf"


def test_the_key(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "key"
    first, second = PseudonymKey(path), PseudonymKey(path)
    pseudonym = first.pseudonym("P1")
    assert not path.exists(), "nothing is written before all data are verified"
    assert second.pseudonym("P1") != pseudonym
    first.store()
    first.store()
    assert path.stat().st_mode & 0o777 == 0o600 and PseudonymKey(path).pseudonym("P1") == pseudonym
    with pytest.raises(UsageError, match="another run has made it meanwhile"):
        second.store()
    assert [file.name for file in path.parent.iterdir()] == ["key"]
    path.write_bytes(b"short")
    with pytest.raises(DataError, match="5 bytes; expected the 32 of the key"):
        PseudonymKey(path).pseudonym("P1")
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="a link; expected the file itself"):
        PseudonymKey(path).pseudonym("P1")


def test_frames_of_a_file_are_one_group_whatever_lies_between_their_names(data: Path) -> None:
    still = picture()
    loop = np.stack([picture() for _ in range(3)])
    for name, frames in (("loop", loop), ("loop_frame0001b", still)):
        write_dicom(data / "images" / f"{name}.dcm", frames, [LEFT], PatientID="", PatientName="", StudyInstanceUID="")
    annotate(data, loop_frame0001b=[], **{f"loop_frame000{number}": [] for number in (1, 2, 3)})
    meta = verified(data).meta
    assert len({meta[f"loop_frame000{number}"].patient for number in (1, 2, 3)}) == 1
    assert meta["loop_frame0001b"].patient != meta["loop_frame0001"].patient


def test_patients_of_files_that_cannot_be_read_are_not_said_to_be_unknown(data: Path) -> None:
    for name, pixels in (("a", picture()), ("b", picture()[:-1])):
        write_dicom(data / "images" / f"{name}.dcm", pixels, [LEFT], PatientID="P1", Rows=len(picture()))
    annotate(data, a=[box(12, 10, 20, 14)], b=[box(12, 10, 20, 14)])
    found = verified(data, patients="unknown")
    assert len(messages(found)) == 1 and not [text for text in messages(found, "warning") if "unknown for" in text]


def test_the_frame_that_a_region_belongs_to_is_named(data: Path) -> None:
    write_dicom(data / "images" / "loop.dcm", np.stack([picture(), picture()]), [LEFT, RIGHT])
    annotate(data, loop_frame0002=[box(12, 10, 20, 14)])
    (image,) = verified(data).images
    assert (
        image.item.image == ImageRef(data / "images" / "loop.dcm", 1, 0) and image.item.id == "loop_frame0002_region1"
    )
    assert image.item.name_in(data) == "images/loop.dcm, frame 2, region 1"


@pytest.mark.parametrize("name", ["loop.dcm", "loop.mp4"])
def test_the_frames_of_a_file_are_read_in_one_pass(data: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frames, path = np.stack([picture() for _ in range(6)]), data / "images" / name
    write_video(path, frames) if name == "loop.mp4" else write_dicom(path, frames, [LEFT])
    write_dicom(data / "images" / "still.dcm", picture(), [LEFT])
    keys = ["loop_frame0006", "still", "loop_frame0002", "loop_frame0004"]
    opened: list[str] = []
    for module, function in (("dicom.reader", "open_dicom"), ("video", "_open")):
        original = pkgutil.resolve_name(f"sonoseg.io.readers.{module}:{function}")
        noted = lambda path, *rest, of=original: (opened.append(path.name), of(path, *rest))[1]  # noqa: E731
        monkeypatch.setattr(f"sonoseg.io.readers.{module}.{function}", noted)
    annotate(data, **{keys[0]: [box(12, 10, 20, 20)], keys[1]: []})
    verified(data)
    for_one_frame = opened.count(name)
    annotate(data, **{key: [box(12, 10 + index, 20, 20)] for index, key in enumerate(keys)})
    found = verified(data)
    assert messages(found) == [] and [image.item.id for image in found.images] == sorted(keys)
    drawn = labels(found)
    assert drawn["loop_frame0006"].sum() > drawn["loop_frame0002"].sum() > drawn["loop_frame0004"].sum() > 0
    assert opened.count(name) == 2 * for_one_frame
