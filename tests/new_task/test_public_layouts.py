"""The layouts of public data sets, with simulated images: what is recognised, and that stage 1 takes it unedited."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.io.volumes import meta_image, nifti
from tests.new_task.conftest import NERVE, VESSEL, palette, picture, save, truth


def lesion(seed: int) -> np.ndarray:
    return (truth(seed) == NERVE).astype(np.uint8) * 255


def second(seed: int) -> np.ndarray:
    return (truth(seed) == VESSEL).astype(np.uint8) * 255


def busi(folder: Path) -> None:
    """Masks with a bit per pixel, and grey ones; second and third lesions; normal images with empty masks."""
    kinds = [("benign", 6), ("malignant", 4), ("normal", 2)]
    for seed, (kind, number) in enumerate((kind, 1 + at) for kind, count in kinds for at in range(count)):
        mask = lesion(seed) * (kind != "normal")
        name = folder / kind / f"{kind} ({number})"
        save(name.with_name(f"{name.name}.png"), picture(seed)[..., None].repeat(3, 2))
        save(name.with_name(f"{name.name}_mask.png"), mask if seed % 2 else mask > 0)
        if number == 4:
            save(name.with_name(f"{name.name}_mask_1.png"), second(seed))


def tn3k(folder: Path) -> None:
    for part, count in (("trainval", 6), ("test", 3)):
        for number in range(count):
            save(folder / f"{part}-image" / f"{number:04d}.png", picture(number + 10 * count))
            save(folder / f"{part}-mask" / f"{number:04d}.png", lesion(number + 10 * count))


def bus_bra(folder: Path) -> None:
    rows = [["ID", "Case", "Pathology"]]
    for number in range(8):
        name = f"{number // 2 + 1:04d}-{'lr'[number % 2]}"
        save(folder / "Images" / f"bus_{name}.png", picture(number))
        save(folder / "Masks" / f"mask_{name}.png", lesion(number))
        rows.append([f"bus_{name}", str(number // 2 + 1), "benign"])
    with (folder / "bus_data.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def mmotu(folder: Path) -> None:
    for number in range(1, 9):
        save(folder / "images" / f"{number}.JPG", picture(number))
        (folder / "annotations").mkdir(exist_ok=True)
        palette(lesion(number) // 255 * (1 + number % 2), 255, 0, 0, 0, 255, 0).save(
            folder / "annotations" / f"{number}.PNG"
        )
        save(folder / "annotations" / f"{number}_binary.PNG", lesion(number))


def splits(folder: Path) -> None:
    for seed, part in enumerate(["train"] * 6 + ["val"] * 2 + ["test"] * 2):
        number = seed % 2 if part != "train" else seed
        save(folder / part / "images" / f"{number}.png", picture(seed))
        save(folder / part / "masks" / f"{number}.png", lesion(seed))


def patients(folder: Path) -> None:
    for seed in range(8):
        name = folder / f"P{seed // 2:02d}"
        save(name / f"{seed % 2}.png", picture(seed))
        save(name / f"{seed % 2}_mask.png", lesion(seed))


def camus(folder: Path) -> None:
    for seed in range(8):
        name = f"patient{seed // 2 + 1:04d}"
        start = folder / name / f"{name}_2CH_{'EES'[seed % 2 * 2]}{'DS'[seed % 2]}.nii.gz"
        nifti(start, picture(seed), (0.3, 0.15))
        nifti(start.with_name(start.name.replace(".nii", "_gt.nii")), truth(seed), (0.3, 0.15))


def fh_ps_aop(folder: Path) -> None:
    for number in range(1, 9):
        meta_image(folder / "image_mha" / f"{number:05d}.mha", np.stack([picture(number)] * 3), (1, 1, 1))
        meta_image(folder / "label_mha" / f"{number:05d}.mha", truth(number), (1, 1))


def nnu_net(folder: Path) -> None:
    for number in range(8):
        save(folder / "imagesTr" / f"neck_{number:03d}_0000.png", picture(number))
        save(folder / "labelsTr" / f"neck_{number:03d}.png", truth(number))
    save(folder / "imagesTs" / "neck_100_0000.png", picture(100))


def pascal_voc(folder: Path) -> None:
    for number in range(8):
        labels, rim = truth(number), np.zeros((60, 80), bool)
        rim[:, 1:] |= labels[:, 1:] != labels[:, :-1]
        save(folder / "JPEGImages" / f"2024_{number:06d}.jpg", picture(number))
        save(folder / "SegmentationClass" / f"2024_{number:06d}.png", np.where(rim, 255, labels).astype(np.uint8))


def in_colours(folder: Path) -> None:
    """Masks as drawing programs save them; some show one structure alone, every second one also a white structure."""
    for number in range(8):
        labels = truth(number)
        labels[labels == (number % 4 if number % 4 in (NERVE, VESSEL) else -1)] = 0
        labels[:4, :9] = 3 if number % 2 else 0
        shown = np.array([[0, 0, 0], [230, 25, 75], [60, 180, 75], [255, 255, 255]], np.uint8)[labels]
        save(folder / f"images/{number}.png", picture(number))
        save(folder / f"masks/{number}.png", shown)


LAYOUTS: dict[str, tuple[Callable[[Path], None], int, dict[str, Any], Any]] = {
    "BUSI": (busi, 12, {"images": "*", "mask_suffix": "_mask", "unite": True}, None),
    "TN3K": (tn3k, 9, {"images": "*-image", "masks": "*-mask", "mask_suffix": ""}, None),
    "BUS-BRA": (bus_bra, 8, {"image_prefix": "bus_", "mask_prefix": "mask_", "mask_suffix": ""}, 4),
    "MMOTU": (mmotu, 8, {"masks": "annotations", "ignore": ["_binary"]}, None),
    "a folder per split": (splits, 10, {"images": "*/images", "masks": "*/masks"}, None),
    "a folder per patient": (patients, 8, {"images": "*", "mask_suffix": "_mask"}, 4),
    "CAMUS": (camus, 8, {"images": "*", "mask_suffix": "_gt"}, 4),
    "FH-PS-AOP": (fh_ps_aop, 8, {"images": "image_mha", "masks": "label_mha"}, None),
    "nnU-Net": (nnu_net, 8, {"images": "imagesTr", "masks": "labelsTr"}, None),
    "masks in colours": (
        in_colours,
        8,
        {"values": {"#e6194b": "RED", "#3cb44b": "GREEN", "#ffffff": "WHITE"}},
        None,
    ),
    "PASCAL VOC": (pascal_voc, 8, {"values": {1: "CLASS_1", 2: "CLASS_2", 255: None}}, None),
}
"""Data set -> its files, the number of images, fields of the section, and the number of patients where it is known."""


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_layouts(name: str, tmp_path: Path, through: Callable[..., Any]) -> None:
    write, count, fields, known = LAYOUTS[name]
    write(tmp_path / "d")
    done = through(tmp_path / "d")
    section = done.task.annotations.model_dump()
    assert {field: section[field] for field in fields} == fields, done.text
    assert done.errors == [] and len(done.masks) == count
    assert len({one.patient for one in done.meta.values()}) == (known or count)
    assert bool(done.task.patients.unknown) == (known is None)


def test_masks_in_colours_are_those_of_the_structures(tmp_path: Path, through: Callable[..., Any]) -> None:
    in_colours(tmp_path / "d")
    done = through(tmp_path / "d")
    assert {one.name: one.color for one in done.task.structures} == {
        "RED": "#e6194b",
        "GREEN": "#3cb44b",
        "WHITE": "#ee4266",
    }
    assert np.array_equal(done.masks["3"]["RED"], truth(3) == NERVE)
    assert np.array_equal(done.masks["1"]["GREEN"], truth(1) == VESSEL) and not done.masks["1"]["RED"].any()


def test_soft_edges_are_no_structures_and_thin_lines_are(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in range(8):
        labels = np.zeros((240, 320), np.uint8)
        labels[60:150, 80 + number : 190] = NERVE
        shown = np.array([[0, 0, 0], [255, 0, 0]], np.uint8)[labels]
        shown[59, 80 + number : 190], shown[150, 80 + number : 190] = (128, 0, 0), (64, 0, 0)
        shown[200, 20:300] = (0, 255, 0)
        save(tmp_path / f"d/images/{number}.png", cv2.resize(picture(number), (320, 240)))
        save(tmp_path / f"d/masks/{number}.png", shown)
    done = through(tmp_path / "d")
    assert done.task.annotations.values == {"#ff0000": "RED", "#00ff00": "GREEN"} and done.errors == []
    assert done.masks["2"]["GREEN"][200, 20:300].all() and done.masks["2"]["GREEN"].sum() == 280


def test_one_coloured_mask_among_grey_ones_decides_nothing(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in range(6):
        shown = np.repeat(truth(number)[..., None], 3, axis=2)
        if number == 0:
            shown[0, 0] = (0, 0, 255)
        save(tmp_path / f"d/images/{number}.png", picture(number))
        save(tmp_path / f"d/masks/{number}.png", shown if number == 0 else truth(number))
    done = through(tmp_path / "d")
    assert done.task.class_names == ["CLASS_1", "CLASS_2"] and done.task.annotations.values == {}
    assert len(done.errors) == 1 and "masks/0.png: a coloured mask" in str(done.errors[0])


def test_masks_in_colours_in_a_folder_for_each_structure_are_mentioned(
    tmp_path: Path, through: Callable[..., Any]
) -> None:
    for number in range(6):
        save(tmp_path / f"d/images/{number}.png", picture(number))
        for place, label, color in (("left", NERVE, (255, 0, 0)), ("right", VESSEL, (0, 0, 255))):
            shown = np.array([(0, 0, 0), color], np.uint8)[(truth(number) == label).astype(np.uint8)]
            save(tmp_path / f"d/{place}/{number}.png", shown)
    done = through(tmp_path / "d")
    assert "left or right: several masks in colours for the same images, of which those of one are used" in done.text


def test_several_masks_are_united_and_named(tmp_path: Path, through: Callable[..., Any]) -> None:
    busi(tmp_path / "d")
    done = through(tmp_path / "d")
    assert done.task.class_names == ["STRUCTURE"], "values 1 and 255 are one structure"
    assert np.array_equal(done.masks["benign (4)"]["STRUCTURE"], truth(3) > 0)
    assert np.array_equal(done.masks["benign (5)"]["STRUCTURE"], truth(4) == NERVE)
    assert not done.masks["normal (1)"]["STRUCTURE"].any()
    assert "* is benign, malignant, normal" in done.text and "which are united" in done.text


def test_numbered_masks_of_most_images_are_structures(tmp_path: Path, through: Callable[..., Any]) -> None:
    for number in range(8):
        save(tmp_path / "d" / f"p{number}.png", picture(number))
        save(tmp_path / "d" / f"p{number}_m1.png", lesion(number))
        save(tmp_path / "d" / f"p{number}_m2.png", second(number))
    done = through(tmp_path / "d")
    assert len(done.task.class_names) == 2 and not done.task.annotations.unite


def test_pixel_size_and_names_of_nifti(tmp_path: Path, through: Callable[..., Any]) -> None:
    camus(tmp_path / "d")
    done = through(tmp_path / "d")
    assert all(one.spacing == pytest.approx((0.15, 0.3)) for one in done.meta.values())
    assert "patient0001_2CH_ED" in done.masks and {"1", "0001", "patient0001"} & {
        one.patient for one in done.meta.values()
    }


def test_equal_names_in_two_folders_are_two_images(tmp_path: Path, through: Callable[..., Any]) -> None:
    splits(tmp_path / "d")
    (tmp_path / "d" / "metadata.csv").write_text("image,row_mm,col_mm\ntrain/0.png,0.1,0.2\n1,0.3,0.3\n")
    done = through(tmp_path / "d")
    assert {"train_0", "val_0", "test_0"} <= set(done.masks)
    assert np.array_equal(done.masks["val_0"]["STRUCTURE"], truth(6) == NERVE)
    spacing = {name: one.spacing for name, one in done.meta.items()}
    assert spacing["train_0"] == (0.1, 0.2)
    assert spacing["val_1"] is None and spacing["train_1"] is None, "a name without its folder may mean either"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("labels/0.txt", "0 0.1 0.1 0.5 0.1 0.5 0.5\n", "labels/0.txt is a text file of YOLO, which is not read"),
        ("0.xml", "<case><mark><svg>[]</svg></mark></case>", "as of DDTI, are not read; draw the outlines"),
        ("VolumeTracings.csv", "FileName,X1\n", "of EchoNet-Dynamic is not read"),
    ],
)
def test_forms_that_are_not_read_are_named(
    name: str, text: str, said: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    for number in range(3):
        save(tmp_path / "d" / "images" / f"{number}.png", picture(number))
    (tmp_path / "d" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "d" / name).write_text(text)
    assert said in refused(tmp_path / "d")
