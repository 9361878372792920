"""`sonoseg new-task` on DICOM files: masks of a loop, sizes of pixels and patients of the headers."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.dicom_files import region_item, write_dicom

REGION = region_item(20, 10, 99, 69, (0.2, 0.2))


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (80, 120), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def mask(seed: int) -> np.ndarray:
    drawn = np.zeros((80, 120), np.uint8)
    cv2.ellipse(drawn, (55 + seed, 40), (25, 15), 10 * seed, 0, 360, 255, -1)
    return drawn


def stills(folder: Path, patients: int = 3) -> None:
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(6):
        identity = f"HIDDEN-{number % patients}"
        write_dicom(folder / "images" / f"s{number}.dcm", picture(number), [REGION], PatientID=identity)
        Image.fromarray(mask(number)).save(folder / "masks" / f"s{number}_mask.png")


def test_stills_with_masks(tmp_path: Path, through: Callable[..., SimpleNamespace]) -> None:
    stills(tmp_path / "d")
    found = through(tmp_path / "d")
    assert found.errors == [] and len(found.masks) == 6
    assert "# pixel size: from the headers of 6 of 6 files" in found.text
    assert "from the headers, which name 3 patients for 6 of 6 files, as pseudonyms." in found.text
    assert "\npatients: unknown\n" in found.text and "HIDDEN" not in found.text + found.out
    for number in range(6):
        (drawn,) = found.masks[f"s{number}"].values()
        assert np.array_equal(drawn, mask(number)[10:70, 20:100] > 0)
    assert len({entry.patient for entry in found.meta.values()}) == 3


def test_one_patient_for_all_files_is_not_proposed_as_sure(tmp_path: Path, command: Any) -> None:
    stills(tmp_path / "d", patients=1)
    (tmp_path / "d" / "metadata.csv").write_text("image,patient\n" + "".join(f"s{n},P{n // 2}\n" for n in range(6)))
    text = command(tmp_path / "d").file.read_text()
    assert "patients: {column: patient}" in text
    assert "one patient for 6 of 6 files, as pseudonyms; were all given the same identity" in text


@pytest.mark.parametrize("masks", ["loop_frame{:04}_mask.png", "loop_{:04}_mask.png", "loop_mask.tif"])
def test_a_loop_alone(tmp_path: Path, through: Callable[..., SimpleNamespace], masks: str) -> None:
    folder = tmp_path / "d"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    write_dicom(folder / "images" / "loop.dcm", np.stack([picture(number) for number in range(5)]), [REGION])
    if masks.endswith(".tif"):
        pages = [Image.fromarray(mask(number) * (number % 2)) for number in range(5)]
        pages[0].save(folder / "masks" / masks, save_all=True, append_images=pages[1:])
    else:
        for number in (1, 3):
            Image.fromarray(mask(number)).save(folder / "masks" / masks.format(number + 1))
    found = through(folder)
    assert found.errors == [] and list(found.masks) == ["loop_frame0002", "loop_frame0004"]
    for number in (1, 3):
        (drawn,) = found.masks[f"loop_frame000{number + 1}"].values()
        assert np.array_equal(drawn, mask(number)[10:70, 20:100] > 0)


@pytest.mark.parametrize("ends", [("mask",), ("nerve", "vessel")])
def test_masks_of_frames_beside_their_loops(
    tmp_path: Path, through: Callable[..., SimpleNamespace], ends: tuple[str, ...]
) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for loop in range(3):  # without extension, as devices write them
        frames = np.stack([picture(10 * loop + number) for number in range(4)])
        write_dicom(folder / f"IM0000{loop}", frames, [REGION], PatientID=f"P{loop}")
        for number in (2, 4):
            for place, end in enumerate(ends):
                drawn = np.roll(mask(number), 12 * place, axis=1)
                Image.fromarray(drawn).save(folder / f"IM0000{loop}_{number:04}_{end}.png")
    found = through(folder)
    assert found.errors == [] and len(found.masks) == 6
    assert np.array_equal(
        np.any(list(found.masks["IM00001_frame0004"].values()), axis=0)[:, :30],
        np.any([np.roll(mask(4), 12 * place, axis=1) for place in range(len(ends))], axis=0)[10:70, 20:50],
    )


def test_a_loop_in_a_file_of_shapes(tmp_path: Path, through: Callable[..., SimpleNamespace]) -> None:
    folder = tmp_path / "d"
    (folder / "images").mkdir(parents=True)
    write_dicom(folder / "images" / "loop.dcm", np.stack([picture(number) for number in range(5)]), [REGION])
    shapes = {f"loop_frame000{number}": [["A", "rect", [[30, 20], [50, 40 + number]]]] for number in (2, 5)}
    (folder / "annotations.json").write_text(json.dumps(shapes))
    found = through(folder)
    assert found.errors == [] and list(found.masks) == ["loop_frame0002", "loop_frame0005"]
    assert found.masks["loop_frame0002"]["A"][10:33, 10:31].all()
