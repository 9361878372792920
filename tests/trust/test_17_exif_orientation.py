"""Check 17: in all eight orientations of EXIF, image, annotation, mask and result lie on one another."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import image_preprocessing
import train_test_data_preparation
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image, read_image_header
from sonoseg.runs.split_tables import read_index, read_split
from sonoseg.types import Pixels
from tests.io.test_decoding import STORED
from tests.small import NETWORKS
from tests.test_chance import TASK
from tests.trust.conftest import Segmented

FORMS = ["png", "jpg", "lzw.tif", "tif"]


def write_turned(path: Path, picture: Pixels, orientation: int) -> None:
    """Store a picture so that its EXIF entry has to be followed to see it as it is."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](picture)))
    path.parent.mkdir(parents=True, exist_ok=True)
    lzw = "tiff_lzw" if "lzw" in path.name else None
    options: dict[str, dict[str, Any]] = {".jpg": {"quality": 98}, ".tif": {"compression": lzw}}
    stored.save(path, exif=exif, **options.get(path.suffix, {}))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Return the intersection of two bool masks over their union; 0 for masks of different shapes."""
    return np.count_nonzero(one & other) / np.count_nonzero(one | other) if one.shape == other.shape else 0.0


def scenes(form: str) -> dict[str, Pixels]:
    """Return name -> a bright box on dark texture, in another place for each of the 8 orientations."""
    rng, found = np.random.default_rng(17), {}
    for orientation in STORED:
        picture = rng.integers(10, 90, (96, 144), dtype=np.uint8)
        top, left = 8 + 3 * orientation, 12 + 5 * orientation
        picture[top : top + 40, left : left + 60] = rng.integers(190, 240, (40, 60), dtype=np.uint8)
        found[f"{orientation}.{form}"] = picture
    return found


def box_of(picture: Pixels) -> list[list[int]]:
    rows, columns = np.nonzero(picture > 150)
    return [[int(columns.min()), int(rows.min())], [int(columns.max()), int(rows.max())]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["shapes", "masks", "masks that are turned too"])
def test_stages_1_and_2(tmp_path: Path, kind: str, form: str) -> None:
    data, pictures = tmp_path / "data", scenes(form)
    for name, picture in pictures.items():
        orientation = int(name[0])
        write_turned(data / "images" / name, picture, orientation)
        mask = (picture > 150).astype(np.uint8) * 255
        write_turned(data / "masks" / f"{Path(name).stem}_mask.png", mask, orientation if kind.endswith("too") else 1)
    shapes = {name: [["DISC", "rect", box_of(picture)]] for name, picture in pictures.items()}
    (data / "annotations.json").write_text(json.dumps(shapes))
    task = TASK | {"patients": {"pattern": "^(.+)$"}, "input": {"size": [96, 144], "fit": "letterbox"}}
    if kind == "shapes":
        box = {**TASK["structures"][0], "shape": "rectangle"}  # type: ignore[index]
        task |= {"annotations": {"format": "shapes_json"}, "structures": [box]}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(task | {"network": NETWORKS["unet"]}))
    where = ["--task", str(tmp_path / "t.yaml"), "--workspace", str(tmp_path)]
    assert train_test_data_preparation.main([*where, "--data", str(data)]) == 0
    assert image_preprocessing.main([*where, "--jobs", "1"]) == 0
    split = tmp_path / "Train_Test_Dataset" / "chance"
    seen = 0
    for part in ("train", "test"):
        for sample in read_split(split / f"{part}_split.csv", ["DISC"], tmp_path):
            image, mask = sample.image.path, read_mask(sample.mask)
            expected = pictures[image.name] > 150
            assert overlap(mask == 1, expected) >= 0.99, image.name
            assert overlap(read_image(image).pixels > 150, expected) >= 0.99, image.name
            assert expected.shape == (sample.height, sample.width), image.name
            seen += 1
        for row in read_index(split / part / "index.csv", tmp_path):
            bright = read_image(row.image_path).pixels > 150
            assert overlap(read_mask(row.mask_path) == 1, bright) >= 0.99, row.id
    assert seen == len(pictures)


@pytest.mark.parametrize("form", FORMS)
def test_sizes_from_the_header(scene: Pixels, tmp_path: Path, form: str) -> None:
    for orientation in STORED:
        write_turned(tmp_path / f"{orientation}.{form}", scene, orientation)
        assert read_image_header(tmp_path / f"{orientation}.{form}").size == scene.shape


@pytest.mark.parametrize("form", FORMS)
def test_stage_4(segmented: Segmented, scene: Pixels, tmp_path: Path, form: str) -> None:
    images, output = tmp_path / "new", tmp_path / "out"
    for orientation in STORED:
        write_turned(images / f"{orientation}.{form}", scene, orientation)
    code, rows = segmented(images, output)
    assert code == 0 and len(rows) == 8
    for name, row in rows.items():
        mask = read_mask(output / f"{row['name']}_mask.png")
        assert overlap(mask == 1, scene > 128) >= 0.99, name
        assert read_image_header(output / f"{row['name']}_overlay.png").size == scene.shape, name
        assert (int(row["height"]), int(row["width"])) == scene.shape, name
