"""Each layout through `new-task` and, with the file as it is, through stage 1: the label maps are the truth."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from sonoseg.annotations import FORMATS, Annotation, drawn
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.masks import decode_label_map
from sonoseg.io.pseudonyms import PseudonymKey
from sonoseg.schema.annotation_formats import section_of
from sonoseg.schema.annotations import Structure
from sonoseg.schema.task_files import load_draft, load_task
from tests.new_task.conftest import NERVE, VESSEL, WITHOUT_OPTIONS, palette, picture, save, truth
from tests.small import phantoms
from train_test_data_preparation import main, verify_images

IDS = range(6)
WHITE = 255


def name(number: int) -> str:
    return f"{number // 2:02}_{number:03}"


def nerve(number: int) -> np.ndarray:
    return (truth(number) == NERVE).astype(np.uint8) * WHITE


def vessel(number: int) -> np.ndarray:
    return (truth(number) == VESSEL).astype(np.uint8) * WHITE


def outline(mask: np.ndarray) -> np.ndarray:
    drawn = np.zeros_like(mask)
    cv2.drawContours(drawn, cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0], -1, WHITE, 1)
    return drawn


ONE: dict[str, tuple[str, str, Callable[[int], Any]]] = {
    "beside the image": ("d/{}.png", "d/{}_mask.png", nerve),
    "beside it, with any suffix": ("{}.jpg", "{} Kontur-ü.bmp", nerve),
    "both with a suffix, in one folder": ("d/{}_image.png", "d/{}_mask.png", nerve),
    "in a folder of their own": ("images/{}.png", "masks/{}.png", nerve),
    "in a folder of their own, with a suffix": ("a/b/{}.tif", "a/labels/{}_gt.png", nerve),
    "in two folders, both with a suffix": ("images/{}_us.png", "masks/{}_seg.png", nerve),
    "0 and 1": ("images/{}.png", "masks/{}.png", lambda number: nerve(number) // WHITE),
    "0 and 7": ("images/{}.png", "masks/{}.png", lambda number: nerve(number) // WHITE * 7),
    "RGB": ("images/{}.png", "masks/{}.png", lambda number: np.repeat(nerve(number)[..., None], 3, axis=2)),
    "1 bit": ("images/{}.png", "masks/{}.png", lambda number: nerve(number) > 0),
    "outlines": ("images/{}.png", "masks/{}.png", lambda number: outline(nerve(number))),
    "folders of unusual names": ("no/{}.png", "auto/{}.png", nerve),
    "a folder named 1": ("1/{}.png", "2/{}.png", nerve),
    "names that YAML takes as something else": ("on: x/{}.png", "'#null'/{}.png", nerve),
    "a suffix that YAML takes as something else": ("d/{}.png", "d/{}auto.png", nerve),
}


@pytest.mark.parametrize("layout", list(ONE))
def test_masks_of_one_structure(layout: str, tmp_path: Path, through: Callable[..., Any]) -> None:
    image, mask, drawn = ONE[layout]
    data = tmp_path / "data"
    for number in IDS:
        save(data / image.format(name(number)), picture(number))
        save(data / mask.format(name(number)), drawn(number))
    done = through(data)
    assert done.errors == [] and len(done.masks) == len(IDS)
    for number in IDS:
        (identity,) = [key for key in done.masks if key.startswith(name(number))]
        (found,) = done.masks[identity].values()
        assert np.array_equal(found, nerve(number) > 0)
    assert done.task.patients.pattern and "gives 3 patients for 6 images" in done.text


def test_jpeg_masks_are_cut_at_half(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in IDS:
        save(tmp_path / f"data/images/{number}.png", picture(number))
        save(tmp_path / f"data/masks/{number}.jpg", nerve(number), quality=80)
    done = through(tmp_path / "data")
    assert done.errors == [] and len(done.task.class_names) == 1
    for number in IDS:
        (found,) = done.masks[str(number)].values()
        assert np.count_nonzero(found ^ (nerve(number) > 0)) < 20


@pytest.mark.parametrize("values", [(1, 2), (128, 255), (100, 200), (3, 9), (2, 3)])
def test_masks_of_two_structures(values: tuple[int, int], tmp_path: Path, through: Callable[..., Any]) -> None:
    table = np.array([0, *values], np.uint8)
    for number in IDS:
        save(tmp_path / f"data/images/{number}.png", picture(number))
        save(tmp_path / f"data/masks/{number}_mask.png", table[truth(number)])
    done = through(tmp_path / "data")
    low, high = (f"CLASS_{value}" for value in values)
    assert done.errors == [] and done.task.class_names == [low, high]
    assert done.task.annotations.values == ({} if values == (1, 2) else dict(zip(values, (low, high), strict=True)))
    for number in IDS:
        assert np.array_equal(done.masks[str(number)][low], truth(number) == NERVE)
        assert np.array_equal(done.masks[str(number)][high], truth(number) == VESSEL)


def test_palette_masks_keep_their_colours(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in IDS:
        save(tmp_path / f"data/images/{number}.png", picture(number))
        (tmp_path / "data/masks").mkdir(exist_ok=True)
        palette(truth(number), 255, 0, 0, 0, 16, 255).save(tmp_path / f"data/masks/{number}.png")
    (tmp_path / "data/masks/0.png").write_bytes(b"no picture")
    done = through(tmp_path / "data")
    assert done.task.colors == ["#ff0000", "#0010ff"]
    (fault,) = done.errors
    assert fault.startswith("masks/0.png: not a readable picture")
    assert np.array_equal(done.masks["1"]["CLASS_2"], truth(1) == VESSEL)


@pytest.mark.parametrize(
    ("nerves", "vessels"),
    [
        ("masks_nerve/{}.png", "masks_vessel/{}.png"),
        ("masks/nerve/{}.png", "masks/vessel/{}.tif"),
        ("nerve/masks/{}_mask.png", "vessel/masks/{}_mask.png"),
        ("labels/NERVE binary/{}_m.png", "labels/VESSEL binary/{}_m.png"),
    ],
)
@pytest.mark.parametrize("lined", [False, True])
def test_a_folder_per_structure(
    nerves: str, vessels: str, lined: bool, tmp_path: Path, through: Callable[..., Any]
) -> None:
    drawn = outline if lined else np.asarray
    for number in IDS:
        save(tmp_path / f"data/images/{number}.png", picture(number))
        save(tmp_path / "data" / nerves.format(number), drawn(nerve(number)))
        save(tmp_path / "data" / vessels.format(number), drawn(vessel(number)))
    done = through(tmp_path / "data")
    assert done.errors == [] and sorted(done.task.class_names) == ["NERVE", "VESSEL"]
    assert done.task.annotations.fill_outlines == lined
    for number in IDS:
        assert np.array_equal(done.masks[str(number)]["NERVE"], truth(number) == NERVE)
        assert np.array_equal(done.masks[str(number)]["VESSEL"], truth(number) == VESSEL)


@pytest.mark.parametrize(
    ("image", "nerves", "vessels"),
    [
        ("d/{}.png", "d/{}_nerve.png", "d/{}_vessel.png"),
        ("{}.png", "{}_mask_NERVE.png", "{}_mask_VESSEL.bmp"),
        ("d/{}_image.png", "d/{}_nerve.png", "d/{}_vessel.png"),
        ("images/{}.png", "masks/{}-nerve.png", "masks/{}-vessel.png"),
        ("images/{}_us.png", "masks/{} nerve.png", "masks/{} vessel.png"),
        ("images/{}.png", "masks/nerve/{}_n.png", "masks/vessel/{}_v.png"),
    ],
)
@pytest.mark.parametrize("lacking", [0, 3])
def test_a_suffix_per_structure(
    image: str, nerves: str, vessels: str, lacking: int, tmp_path: Path, through: Callable[..., Any]
) -> None:
    """Also where the vessel is masked on some images only: masks are not taken for images."""
    data = tmp_path / "data"
    for number in IDS:
        save(data / image.format(name(number)), picture(number))
        save(data / nerves.format(name(number)), nerve(number))
        if number >= lacking:
            save(data / vessels.format(name(number)), vessel(number))
    done = through(data)
    assert sorted(done.task.class_names) == ["NERVE", "VESSEL"] and len(done.errors) == lacking
    assert all("has no mask of VESSEL (expected " in line for line in done.errors)
    assert sorted(done.masks) == [Path(image.format(name(number))).stem for number in IDS[lacking:]]
    for number in IDS[lacking:]:
        masks = done.masks[Path(image.format(name(number))).stem]
        assert np.array_equal(masks["NERVE"], truth(number) == NERVE)
        assert np.array_equal(masks["VESSEL"], truth(number) == VESSEL)


def test_overlapping_folders_and_a_missing_mask(tmp_path: Path, through: Callable[..., Any]) -> None:
    """The smaller structure is on top; about a mask that one folder lacks, stage 1 asks."""
    for number in IDS:
        large = np.zeros((60, 80), np.uint8)
        large[5:50, 10:70] = WHITE
        save(tmp_path / f"data/images/{number}.png", picture(number))
        save(tmp_path / f"data/m/organ/{number}.png", large)
        if number:
            save(tmp_path / f"data/m/vessel/{number}.png", vessel(number))
    done = through(tmp_path / "data")
    (fault,) = done.errors
    assert fault.startswith("images/0.png: has no mask of VESSEL (expected m/vessel/0.png); set annotations.without_an")
    assert "# 1 image lacks a mask or one of several (images/0.png). Add" in done.text
    organ = done.task.structure("ORGAN")
    assert organ.covered_by == ["VESSEL"] and organ.shape == "rectangle"
    assert np.array_equal(done.masks["1"]["VESSEL"], vessel(1) > 0)
    assert not (done.masks["1"]["ORGAN"] & (vessel(1) > 0)).any()


def test_the_kind_of_each_structure_fits_its_masks(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in IDS:
        masks = {kind: np.zeros((120, 160), np.uint8) for kind in ("line", "rectangle", "ellipse", "region")}
        cv2.line(masks["line"], (10, 10 + number), (150, 20 + number), WHITE, 4)
        cv2.rectangle(masks["rectangle"], (10, 40), (60 + number, 70), WHITE, -1)
        cv2.ellipse(masks["ellipse"], (115, 60), (30, 15 + number), 20, 0, 360, WHITE, -1)
        cv2.fillPoly(masks["region"], [np.array([(10, 80), (60, 80), (20, 90), (60, 110), (10, 110)])], WHITE)
        save(tmp_path / f"data/images/{number}.png", np.kron(picture(number), np.ones((2, 2), np.uint8)))
        for kind, mask in masks.items():
            save(tmp_path / f"data/masks/{kind}/{number}.png", mask)
    done = through(tmp_path / "data")
    assert {structure.name.lower(): structure.shape for structure in done.task.structures} == {
        kind: kind for kind in masks
    }
    assert done.task.structure("LINE").thickness_px == pytest.approx(5, abs=0.6)
    assert done.errors == []


def polygon(mask: np.ndarray) -> np.ndarray:
    points: np.ndarray = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0][0][:, 0].astype(float)
    return points


SECTIONS: dict[str, dict[str, Any]] = {
    "labelme": {"images": "img", "annotations": "json"},
    "labelme, beside the images": {"format": "labelme", "images": "img", "annotations": "img"},
    "coco": {"images": "img", "file": "instances.json"},
    "cvat": {"images": "img", "file": "sub/all.xml"},
    "label_studio": {"images": "img", "file": "export.json"},
    "shapes_json": {"images": "img", "file": "any name.json"},
}


@pytest.mark.parametrize("case", ["labelme", "cvat", "shapes_json"])
def test_turned_rectangles_are_proposed_as_regions(case: str, tmp_path: Path, through: Callable[..., Any]) -> None:
    """Results of `shape: rectangle` are parallel to the image's sides, and would be wrong in most images."""
    section = section_of({"format": case} | SECTIONS[case])
    annotations = []
    box = Structure(name="BOX", shape="rectangle", color="#ff0000")
    for number in IDS:
        save(tmp_path / f"data/img/case{number}.png", picture(number))
        shape = drawn.rotated_box(box, (40, 30), (36, 14), 25 + 3 * number)
        annotations.append(Annotation(f"case{number}.png", (shape,), size=(60, 80)))
    FORMATS[case].write(tmp_path / "data", section, annotations)
    done = through(tmp_path / "data")
    assert done.task.structure("BOX").shape == "region" and done.errors == []
    assert all(abs(int(done.masks[f"case{number}"]["BOX"].sum()) - 36 * 14) < 60 for number in IDS)


def test_a_label_that_may_be_misspelt_is_named_with_its_image(tmp_path: Path, through: Callable[..., Any]) -> None:
    section = section_of({"format": "labelme", "labels": {"Nerf": "A", "Nerff": "B"}} | SECTIONS["labelme"])
    annotations = []
    for number in IDS:
        save(tmp_path / f"data/img/case{number}.png", picture(number))
        shape = Shape("B" if number == 3 else "A", "region", polygon(nerve(number)))
        annotations.append(Annotation(f"case{number}.png", (shape,), size=(60, 80)))
    FORMATS["labelme"].write(tmp_path / "data", section, annotations)
    done = through(tmp_path / "data")
    assert "labels 'Nerf' and 'Nerff' differ little; if they mean one structure, correct the label" in done.out
    assert "'Nerff' is on 1 image (case3.png)" in done.out


@pytest.mark.parametrize("case", list(SECTIONS))
def test_files_of_annotation_tools(case: str, tmp_path: Path, through: Callable[..., Any]) -> None:
    """Labels that no structure can be named by, lines, polygons, and images without a shape."""
    fields = {"format": case} | SECTIONS[case]
    labels = {"Nerve, left (ü)": "NERVE", "no": "AXIS"} if fields["format"] != "shapes_json" else {}
    names = {name: name for name in ("NERVE", "AXIS")}
    section = section_of(fields | ({"labels": labels} if labels else {}))
    annotations = []
    for number in IDS:
        save(tmp_path / f"data/img/case{number}.png", picture(number))
        shapes = (
            Shape(names["NERVE"], "region", polygon(nerve(number))),
            Shape(names["AXIS"], "line", np.array([[40.0, 5], [70, 9]])),
        )
        annotations.append(Annotation(f"case{number}.png", shapes if number else (), size=(60, 80)))
    FORMATS[fields["format"]].write(tmp_path / "data", section, annotations)
    done = through(tmp_path / "data")
    assert done.task.annotations.format == fields["format"]
    first = "NERVE" if not labels else "NERVE_LEFT_U"
    axis = "AXIS" if not labels else "NO"
    assert sorted(done.task.class_names) == sorted([first, axis])
    assert done.task.structure(axis).shape == "line"
    for number in IDS[1:]:
        assert np.array_equal(done.masks[f"case{number}"][first], truth(number) == NERVE)
        assert done.masks[f"case{number}"][axis].any()
    empty = fields["format"] in ("labelme", "label_studio", "shapes_json")  # which state that an image shows nothing
    assert ("case0" in done.masks) == empty
    asked = "# 1 image has no shape (img/case0.png). Add to the next line: without_annotation: leave_out (nobody has "
    assert (asked in done.text) == (not empty) and "without_annotation:" not in done.text.replace(asked, "")
    assert ("  1 image has no shape (img/case0.png): set annotations.without_annotation" in done.out) == (not empty)
    assert done.errors == ([] if empty else [done.errors[0]])
    assert all("img/case0.png: has no shape: set annotations.without_annotation" in line for line in done.errors)


@pytest.mark.parametrize("name", ["labelme", "coco", "cvat", "label_studio"])
def test_images_without_a_shape_are_asked_about(
    name: str, tmp_path: Path, command: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Three that nobody has annotated, as far as the files tell; of Label Studio, another was submitted without any."""
    section = section_of({"format": name, "images": "img"} | ({"annotations": "img"} if name == "labelme" else {}))
    annotations = []
    for number in range(9):
        save(tmp_path / f"data/img/c{number}.png", picture(number))
        shapes = (Shape("NERVE", "region", polygon(nerve(number))),)
        if number > 2:
            is_empty = number == 3 and name == "label_studio"
            annotations.append(Annotation(f"c{number}.png", () if is_empty else shapes, size=(60, 80)))
    FORMATS[name].write(tmp_path / "data", section, annotations)
    if name == "label_studio":
        path = tmp_path / "data/annotations.json"
        tasks = [{"id": 50, "data": {"image": "c0.png"}, "annotations": []}, *json.loads(path.read_text())]
        path.write_text(json.dumps(tasks))
    done = command(tmp_path / "data")
    text = done.file.read_text()
    end = (
        "Add to the next line: without_annotation: leave_out (nobody has annotated them) or empty (they do not show any"
    )
    assert f"# 3 images have no shape (img/c0.png, img/c1.png, img/c2.png). {end} structure)" in text
    stage_1 = ["--task", str(done.file), "--data", str(tmp_path / "data"), "--workspace", str(tmp_path)]
    assert main(stage_1) == 2
    said = capsys.readouterr().err.splitlines()
    assert len([line for line in said if line.startswith("  - ") and "(warning)" not in line]) == 1
    assert "3 images without any shape (img/c0.png, img/c1.png, img/c2.png); set annotations.without_ann" in said[1]
    assert "empty when they show no structure, leave_out when nobody has annotated them" in said[1]
    for choice, count in (("empty", 9), ("leave_out", 6)):
        answered = text.replace("format: ", f"without_annotation: {choice}, format: ")
        done.file.write_text(answered)
        assert main([*stage_1, "--report-only"]) == 0
        assert f"all {count} {count}" in re.sub(r"[^\w]+", " ", capsys.readouterr().out)


def test_brush_strokes_become_regions(tmp_path: Path, through: Callable[..., Any]) -> None:
    section = section_of({"format": "label_studio", "images": "img"})
    annotations = []
    for number in IDS:
        save(tmp_path / f"data/img/{number}.png", picture(number))
        annotations.append(Annotation(f"{number}.png", (Bitmap.of("A", nerve(number) > 0),), size=(60, 80)))
    FORMATS["label_studio"].write(tmp_path / "data", section, annotations)
    done = through(tmp_path / "data")
    assert done.task.structure("A").shape == "region"
    assert np.array_equal(done.masks["3"]["A"], truth(3) == NERVE)


def test_the_picture_has_six_images_and_the_names(tmp_path: Path, command: Callable[..., Any]) -> None:
    for number in range(9):
        save(tmp_path / f"d/images/{number}.png", picture(number))
        save(tmp_path / f"d/masks/{number}.png", truth(number))
    done = command(tmp_path / "d")
    with Image.open(done.work / "d_outlines.png") as sheet:
        assert sheet.width == 3 * 426 and sheet.height > 2 * 315
        legend = np.asarray(sheet)[-24:]
    assert (legend == (0x3B, 0xCE, 0xAC)).all(axis=2).any() and (legend == (0xFF, 0xD2, 0x3F)).all(axis=2).any()


@pytest.mark.parametrize("name", ["fetal_head", "nerve_unet", "fetal_tumor", "spine"])
def test_simulated_images_have_the_label_maps_of_their_task(
    name: str, tmp_path: Path, through: Callable[..., Any]
) -> None:
    """Exactly, but for spines: lines have another width, which the files do not state, and cover other pixels."""
    task, data = load_task(name), phantoms(name, tmp_path / "phantoms", images=6)
    done = through(data)
    assert done.errors == []
    expected = verify_images(load_draft(name), task, [data], WITHOUT_OPTIONS, PseudonymKey(data / "key"))
    assert [image.item.id for image in expected.images] == sorted(done.masks)
    shown = "VTB" if name == "spine" else task.class_names[0]
    found = shown if name == "spine" else done.task.class_names[0]
    for image in expected.images:
        one, other = done.masks[image.item.id][found], decode_label_map(image.mask_png) == task.index_of(shown)
        differing = np.count_nonzero(one ^ other)
        assert differing <= (0.5 * np.count_nonzero(other) if name == "spine" else 0)
        assert done.meta[image.item.id].spacing == expected.meta[image.item.id].spacing
