"""What is recognised: layouts and their order, patients, tables, values of masks, names of structures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sonoseg.errors import DataError
from sonoseg.new_task.findings import look_at
from sonoseg.new_task.masks.samples import class_values
from sonoseg.new_task.names import alike_labels, only_name, structure_names, telling_names
from sonoseg.new_task.patients import patient_rules
from sonoseg.new_task.structures import fitted
from sonoseg.new_task.tables import PatientColumn, Table, find_table
from tests.new_task.conftest import NERVE, picture, save, truth


def mask(number: int) -> np.ndarray:
    return (truth(number) == NERVE).astype(np.uint8) * 255


def picture_noise() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 20, (120, 160), dtype=np.uint8)


def test_folders_that_are_alike_are_read_together(tmp_path: Path) -> None:
    for part, count in (("test", 2), ("train", 5), ("val", 3)):
        for number in range(count):
            save(tmp_path / part / f"images/{number}.png", picture(number))
            save(tmp_path / part / f"masks/{number}.png", mask(number))
    found = look_at(tmp_path)
    assert found.section["images"] == "*/images" and found.section["masks"] == "*/masks" and len(found.items) == 10
    assert "(* is test, train, val; stage 1 divides them anew)" in found.layout.reason
    assert "val/masks" in str([other.section for other in found.others])


def test_masks_come_before_a_stray_file_of_a_tool(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"images/{number}.png", picture(number))
        save(tmp_path / f"masks/{number}.png", mask(number))
    (tmp_path / "images/0.json").write_text('{"shapes": [], "imagePath": "0.png"}')
    assert look_at(tmp_path).section["format"] == "mask_folder"


def test_pictures_of_the_same_names_are_no_masks(tmp_path: Path) -> None:
    for number in range(5):
        save(tmp_path / f"a_enhanced/{number}.png", picture(50 + number))
        save(tmp_path / f"images/{number}.png", picture(number))
        save(
            tmp_path / f"overlays/{number}.png", np.repeat(picture(number)[..., None], 3, axis=2) ^ np.uint8([1, 2, 3])
        )
        save(tmp_path / f"zmasks/{number}.png", mask(number))
    found = look_at(tmp_path)
    assert found.section["masks"] == "zmasks"
    assert "structure" not in found.section


def test_masks_of_several_people_are_no_structures(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"images/{number}.png", picture(number))
        for reader in (1, 2):
            save(tmp_path / f"masks_reader{reader}/{number}.png", np.roll(mask(number), reader))
    found = look_at(tmp_path)
    assert found.section["masks"] in ("masks_reader1", "masks_reader2")
    assert "masks of several people for the same images" in str(found.notes)


def test_copies_of_masks_are_no_structures(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"images/{number}.png", picture(number))
        for folder in ("masks", "masks_png"):
            save(tmp_path / folder / f"{number}.png", mask(number))
    found = look_at(tmp_path)
    assert isinstance(found.section["masks"], str) and "once more" in str(found.notes)


def test_suffixes_of_several_people_are_no_structures(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / f"d/{number}.png", picture(number))
        for reader in (1, 2):
            save(tmp_path / f"d/{number}_reader{reader}.png", np.roll(mask(number), 9 * reader))
    found = look_at(tmp_path)
    assert found.section["mask_suffix"] in ("_reader1", "_reader2")
    assert "_reader1 or _reader2: masks of several people for the same images" in str(found.notes)


def test_a_mask_and_its_outline_are_one_structure(tmp_path: Path) -> None:
    for number in range(4):
        contours = cv2.findContours(mask(number), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        save(tmp_path / f"d/{number}.png", picture(number))
        save(tmp_path / f"d/{number}_filled.png", mask(number))
        save(tmp_path / f"d/{number}_outline.png", cv2.drawContours(np.zeros_like(mask(number)), contours, -1, 255, 1))
    found = look_at(tmp_path)
    assert isinstance(found.section["mask_suffix"], str) and len(found.structures) == 1
    assert "_outline has the masks of _filled once more" in found.notes


def test_images_without_a_mask_are_asked_about(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in range(10):
        save(tmp_path / f"images/{number}.png", picture(number))
        if number % 3 == 0:
            save(tmp_path / f"masks/{number}_m.png", mask(number))
    found = look_at(tmp_path)
    assert found.layout.annotated == 4 and found.layout.images == 10
    assert len(found.without_annotation) == 6 and not found.faults and "without_annotation" not in found.section
    done = through(tmp_path)
    assert sorted(done.masks) == ["0", "3", "6", "9"] and len(done.errors) == 6
    assert all("set annotations.without_annotation in the task to empty, where" in line for line in done.errors)
    lacking = "6 images lack a mask (images/1.png, images/2.png, images/4.png, ...)"
    assert f"# {lacking}. Add to the next line: without_annotation: leave_out (nobody" in done.text
    assert f"{lacking}: set annotations.without_annotation" in done.out


def test_a_rare_structure_and_one_whose_name_begins_with_that_of_another(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / f"{number}.png", picture(number))
        save(tmp_path / f"{number}_nerve.png", mask(number))
        save(tmp_path / f"{number}_nerve_left.png", np.roll(mask(number), 25, axis=1))
    save(tmp_path / "3_vessel.png", np.roll(mask(3), 25))
    found = look_at(tmp_path)
    assert found.section["mask_suffix"] == {"NERVE": "_nerve", "NERVE_LEFT": "_nerve_left", "VESSEL": "_vessel"}
    assert len(found.without_annotation) == 11 and not found.faults and found.layout.images == 12


def test_layouts_that_differ_in_the_ending_of_the_images_do_not_read_the_same(
    tmp_path: Path, command: Callable[..., Any]
) -> None:
    """Three images of each patient: `1_2.png` could be the image of the masks `1_1_mask.png` and `1_2_mask.png`."""
    for patient in range(6):
        for number in (1, 2, 3):
            save(tmp_path / f"d/{patient}_{number}.png", picture(3 * patient + number))
            shown = np.roll(mask(patient), 9 * number, axis=1)
            save(tmp_path / f"d/{patient}_{number}_mask.png", shown)
    others = [line for line in command(tmp_path / "d").out.splitlines() if line.startswith("  not used: binary masks")]
    assert len(others) == 2
    for end in "23":
        said = f"  not used: binary masks of each structure for 6 of 6 images with _{end} at the end: *_1_mask (6), "
        assert sum(line.startswith(said) for line in others) == 1


def areas(count: int, step: int) -> np.ndarray:
    """Return a mask of 120 x 160 pixels with as many areas, of the values step, 2 step, ..."""
    labels = np.zeros((10, 8), np.uint8)
    labels.ravel()[:count] = step * np.arange(1, count + 1)
    return np.kron(labels, np.ones((12, 20), np.uint8))


def test_masks_with_too_many_values_are_named_with_the_limit(tmp_path: Path, refused: Callable[..., str]) -> None:
    for number in range(6):
        save(tmp_path / f"d/images/{number}.png", np.kron(picture(number), np.ones((2, 2), np.uint8)) + picture_noise())
        save(tmp_path / f"d/masks/{number}.png", areas(60, 3))
    said = refused(tmp_path / "d")
    assert "masks/0.png: a mask with 61 values, more than background and 20 classes; merge some" in said


def test_masks_of_many_classes_with_large_values_are_masks(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in range(6):
        save(tmp_path / f"d/images/{number}.png", np.kron(picture(number), np.ones((2, 2), np.uint8)) + picture_noise())
        save(tmp_path / f"d/masks/{number}.png", areas(20, 12))
    done = through(tmp_path / "d")
    assert done.errors == [] and len(done.task.class_names) == 20


def test_suffixes_that_differ_in_letter_case_are_one_structure(tmp_path: Path) -> None:
    for number in range(6):
        save(tmp_path / f"{number}.png", picture(number))
        save(tmp_path / f"{number}_{'nerve' if number else 'Nerve'}.png", mask(number))
        save(tmp_path / f"{number}_vessel.png", np.roll(mask(number), 25))
    found = look_at(tmp_path)
    assert found.section["mask_suffix"] == {"NERVE": "_nerve", "VESSEL": "_vessel"}
    assert [str(fault) for fault in found.faults] == [
        "0_Nerve.png: ends with _Nerve, and annotations.mask_suffix of the task is _nerve; rename the mask"
    ]


def test_a_second_mask_of_an_image_is_united(tmp_path: Path) -> None:
    for number in range(1, 13):
        save(tmp_path / f"benign ({number}).png", picture(number))
        save(tmp_path / f"benign ({number})_mask.png", mask(number))
    save(tmp_path / "benign (3)_mask_1.png", np.roll(mask(3), 25))
    found = look_at(tmp_path)
    assert found.section["unite"] is True and found.section["mask_suffix"] == "_mask" and not found.faults
    assert found.layout.reason.startswith("12 of 12 images") and "which are united" in found.layout.reason


def test_structures_that_no_image_has_all_masks_of(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in range(8):
        save(tmp_path / f"d/images/{number}.png", picture(number))
        save(tmp_path / f"d/masks/{'nerve' if number % 2 else 'vessel'}/{number}.png", mask(number))
    done = through(tmp_path / "d")
    assert done.task.class_names == ["NERVE", "VESSEL"] and len(done.errors) == 8
    assert (
        "# 8 images lack a mask or one of several (images/0.png, images/1.png, images/2.png, ...). Add to" in done.text
    )


@pytest.mark.parametrize(
    ("stems", "settings", "groups"),
    [
        (["1_1", "1_2", "2_1", "2_2"], {"pattern": r"^(\d+)[ _-]"}, 2),
        (["a_patient07_1", "a_patient07_2", "b_Patient_8_1"], {"pattern": "patient"}, 2),
        (["P01_S1_001", "P01_S1_002", "P02_S1_001"], {"pattern": r"^([A-Za-z]+[_-]?\d+)[ _-]"}, 2),
        (["sweepA 1-001", "sweepA 1-002", "sweepB 2-001"], {"pattern": r"^(.+)[ _-]\(?\d+\)?$"}, 2),
        (["x1a001", "x1a002", "x2a001", "x2a002"], {"pattern": r"^(.*[A-Za-z])\d+$"}, 2),
        (["Kopf 192 HC", "Kopf 193 HC", "Kopf 193 2HC"], {"pattern": r"^([^\W\d_]+ \d+) "}, 2),
        (["Kopf 18 HC", "Müller Kopf 31 HC", "Größe 31 Bild"], {"pattern": r"^\D* (\d+) "}, 2),
        (["Schädel 7 a", "Schädel 7 b", "Schädel 8 a"], {"pattern": r"^([^\W\d_]+ \d+) "}, 2),
        (["benign_1", "benign_2", "malignant_1"], "unknown", 0),
        (["benign (1)", "benign (2)", "malignant (1)"], "unknown", 0),
        (["img_001", "img_002", "img_003"], "unknown", 0),
        (["1_1", "1_2", "1_3"], "unknown", 0),
        (["001", "002", "003"], "unknown", 0),
        (["substantia1x", "substantia1y", "substantia2x"], "unknown", 0),
    ],
)
def test_patients_from_names(stems: list[str], settings: Any, groups: int) -> None:
    first, *others = patient_rules(stems, None)
    if isinstance(settings, dict) and settings["pattern"] == "patient":
        assert "patient|pat" in first.settings["pattern"]
    else:
        assert first.settings == settings
    assert first.groups == groups and first.images == len(stems) and first.reason
    assert any(rule.settings == "unknown" for rule in (first, *others))


@pytest.mark.parametrize(
    ("first", "second", "alike"),
    [
        ("Kopf", "Kopff", True),
        ("Schädel", "schädel ", True),
        ("Schädel", "Scha\u0308del", True),
        ("tumour", "tumor", True),
        ("nerve_1", "nerve_2", False),
        ("nerve", "artery", False),
        ("left kidney", "right kidney", False),
        ("MID", "EPI", False),
    ],
)
def test_labels_that_may_mean_one_structure(first: str, second: str, alike: bool) -> None:
    assert bool(alike_labels([first, "something else", second])) is alike


def test_unsure_patterns_are_listed_with_their_numbers() -> None:
    first, *others = patient_rules(
        [f"{kind}_{number}" for kind in ("benign", "malignant") for number in range(9)], None
    )
    assert first.settings == "unknown" and "not surely" in first.reason
    assert [(rule.groups, rule.images) for rule in others] == [(2, 18)]
    assert "gives 2 patients for 18 images" in others[0].reason


def test_a_column_comes_first_unless_it_is_mostly_empty() -> None:
    stems = ["1_1", "1_2", "2_1", "2_2"]
    full = Table("t.csv", "image", 4, patients=(PatientColumn("pid", 3, 4),))
    empty = Table("t.csv", "image", 4, patients=(PatientColumn("pid", 2, 1),))
    assert patient_rules(stems, full)[0].settings == {"column": "pid"}
    first, second, *_ = patient_rules(stems, empty)
    assert "pattern" in first.settings and "3 have none" in second.reason


@pytest.mark.parametrize(
    ("header", "row", "expected"),
    [
        ("image,patient,row_mm,col_mm", "{}.png,P{},0.1,0.2", ("image", "row_mm", "col_mm", ["patient"])),
        ("filename,pixel size(mm),HC (mm)", "{},0.15,120", ("filename", "pixel size(mm)", "pixel size(mm)", [])),
        ("id;Subject ID;pixel_x;pixel_y", "{};{};0,1;0,2", ("id", "pixel_y", "pixel_x", ["Subject ID"])),
        ("name,patient_age,wall_mm,case_type", "{},{},1.1,benign", ("name", None, None, [])),
        ("name,pixel_mm", "{},75", ("name", None, None, [])),
        ("name,row_mm", "{},", ("name", None, None, [])),
        (",name,auto", "x,{},0.1", ("name", None, None, [])),
    ],
)  # fmt: skip
def test_tables(header: str, row: str, expected: Any, tmp_path: Path) -> None:
    images = [tmp_path / f"images/{number}.png" for number in range(4)]
    (tmp_path / "images").mkdir()
    (tmp_path / "t.csv").write_text("\n".join([header, *(row.format(n, n // 2) for n in range(4))]))
    found = find_table(tmp_path, images)
    assert found is not None
    assert (found.image, found.row_mm, found.col_mm, [column.name for column in found.patients]) == expected


@pytest.mark.parametrize(
    ("columns", "values", "expected"),
    [
        ("file,pixel_height_cm,pixel_width_cm", "0.0058,0.017", ("pixel_height_cm", "pixel_width_cm", "cm")),
        ("file,Pixelgröße [cm]", "0.01", ("Pixelgröße [cm]", "Pixelgröße [cm]", "cm")),
        ("file,row_cm,col_cm", "0.01,0.02", ("row_cm", "col_cm", "cm")),
        ("file,pixel_size_um", "120", ("pixel_size_um", "pixel_size_um", "um")),
        ("file,pixel size (µm)", "120", ("pixel size (µm)", "pixel size (µm)", "um")),
        ("file,pixel_size_mm", "0.1", ("pixel_size_mm", "pixel_size_mm", "mm")),
        ("file,pixel_size", "0.1", ("pixel_size", "pixel_size", "")),
        ("file,pixels per mm", "1.5", (None, None, "")),
        ("file,height_cm", "165", (None, None, "")),  # of the patient
    ],
)
def test_the_unit_of_a_pixel_size_is_that_of_its_column(
    columns: str, values: str, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    images = [tmp_path / f"{number}.png" for number in range(4)]
    rows = [f"{image.name},{values}" for image in images]
    (tmp_path / "t.csv").write_text("\n".join([columns, *rows]) + "\n", encoding="utf-8")
    found = find_table(tmp_path, images)
    assert found is not None and (found.row_mm, found.col_mm, found.unit) == expected


@pytest.mark.parametrize("text", ["", "\n", "a,a\n1,2\n", "image\nother.png\n", 'a,b\n"x', "a\n1,2,3\n", "\0"])
def test_tables_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert find_table(tmp_path, [tmp_path / "0.png"]) is None


def test_a_table_reaches_stage_1(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in range(4):
        save(tmp_path / f"d/images/{number}.png", picture(number))
        save(tmp_path / f"d/masks/{number}.png", mask(number))
    rows = [f"{number}.png;P{number // 2};0,1;0,2" for number in range(4)]
    (tmp_path / "d/auto.csv").write_text("\n".join(["auto;patient: #1;row mm;col mm", *rows]))
    done = through(tmp_path / "d")
    assert done.errors == []
    assert {name: (one.patient, one.spacing) for name, one in done.meta.items()}["3"] == ("P1", (0.1, 0.2))


def test_which_values_of_masks_are_structures() -> None:
    labels = truth(0)
    assert class_values([labels * 0]) == [] and class_values([]) == []
    assert class_values([labels]) == [1, 2] and class_values([labels * 100]) == [100, 200]
    binary = (labels > 0).astype(np.uint8) * 255
    small = cv2.resize(cv2.resize(binary, (40, 30)), (80, 60))
    assert class_values([cv2.GaussianBlur(binary, (5, 5), 0)]) == [255]
    assert class_values([small]) == [255]
    jpeg = cv2.imdecode(cv2.imencode(".jpg", labels * 120)[1], cv2.IMREAD_GRAYSCALE)
    assert [round(value / 120) for value in class_values([jpeg])] == [1, 2]


def test_masks_that_are_mostly_white_are_doubted() -> None:
    full = np.ones((40, 40), bool)
    full[10:20, 10:20] = False
    assert "are structure and background exchanged?" in fitted("A", "#ffffff", [full]).reason


def test_names() -> None:
    assert structure_names(["a b", "a-b", "A_B", "1", "ü", "Größe", "頭", "é"]) == {
        "a b": "A_B", "a-b": "A_B_2", "A_B": "A_B_3", "1": "CLASS_1", "ü": "U",
        "Größe": "GROSSE",
        "頭": "CLASS_7", "é": "E"
    }  # fmt: skip
    assert telling_names(["masks/nerve", "masks/vessel_mask"]) == ["NERVE", "VESSEL"]
    assert telling_names(["masks", "masks_vessel"]) == ["CLASS_1", "VESSEL"]
    assert telling_names(["masks/1", "masks/2"]) == ["CLASS_1", "CLASS_2"]
    assert only_name("training_set", "training_set", "_Annotation") == "STRUCTURE"
    assert only_name("images", "thyroid_masks", "_mask") == "THYROID"


def test_no_picture_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError, match="no annotations recognised"):
        look_at(tmp_path)
