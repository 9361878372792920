"""Check 19: `a.png` and `a.jpg`, `A.png` and `a.png`: in no stage does one image's result replace the other's."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import train_test_data_preparation as stage1
from sonoseg.io.masks import read_mask
from tests.trust.conftest import SIZE, Segmented, everything

NFC, NFD = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
PAIRS = {
    "two formats": ("a.png", "a.jpg"),
    "upper and lower case": ("A.png", "a.png"),
    "case of the extension": ("a.PNG", "a.jpg"),
    "two forms of one letter": (f"{NFC}.png", f"{NFD}.png"),
    "a space at the end": ("a.png", "a .png"),
}


def picture(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 90, SIZE, dtype=np.uint8)
    pixels[20 : 50 + number, 30:90] = 255
    Image.fromarray(pixels).save(path, "JPEG" if path.suffix == ".jpg" else "PNG")


def shapes_data(root: Path, names: tuple[str, str]) -> list[str]:
    (root / "task.yaml").write_text(yaml.safe_dump({"extends": "spine", "name": "pair"}))
    shape = [["VTB", "rect", [[30, 20], [89, 50]]]]
    for number, name in enumerate([*names, "x.png", "y.png"]):
        picture(root / "data" / "images" / name, number)
    (root / "data" / "annotations.json").write_text(json.dumps(dict.fromkeys([*names, "x.png", "y.png"], shape)))
    return ["--task", str(root / "task.yaml"), "--workspace", str(root), "--data", str(root / "data"), "--folds", "2"]


@pytest.mark.parametrize("pair", PAIRS)
def test_stage_1_refuses_both_and_writes_nothing(pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = shapes_data(tmp_path, PAIRS[pair])
    before = everything(tmp_path)
    assert stage1.main(flags) == 2
    said = capsys.readouterr().err
    assert "has the same id as" in said and "rename one" in said
    assert all(name in said for name in PAIRS[pair])
    assert everything(tmp_path) == before


@pytest.mark.parametrize("pair", PAIRS)
def test_stage_1_refuses_them_in_a_folder_of_masks_too(
    pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = {"format": "mask_folder", "images": "images", "masks": "masks", "mask_suffix": "_mask"}
    fields = {"extends": "fetal_tumor", "name": "pair", "annotations": layout}
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(fields))
    for number, name in enumerate([*PAIRS[pair], "x.png", "y.png"]):
        picture(tmp_path / "data" / "images" / name, number)
        mask = np.zeros(SIZE, np.uint8)
        mask[20:50, 30:90] = 255
        masks = tmp_path / "data" / "masks"
        masks.mkdir(exist_ok=True)
        Image.fromarray(mask).save(masks / f"{Path(name).stem}_mask.png")
    before = everything(tmp_path)
    flags = ["--task", str(tmp_path / "task.yaml"), "--workspace", str(tmp_path), "--data", str(tmp_path / "data")]
    assert stage1.main([*flags, "--folds", "2"]) == 2
    assert "has the same id as" in capsys.readouterr().err
    assert everything(tmp_path) == before


def test_stage_4_gives_each_its_own_files(segmented: Segmented, tmp_path: Path) -> None:
    names = sorted({name for pair in PAIRS.values() for name in pair} | {"a_png.png", "run.png", "results.png"})
    for number, name in enumerate(names):
        picture(tmp_path / "new" / name, number)
    code, rows = segmented(tmp_path / "new", tmp_path / "out")
    assert code == 0 and sorted(rows) == names and "failed" not in {row["status"] for row in rows.values()}
    results = [row["name"] for row in rows.values()]
    assert len({name.casefold() for name in results}) == len(names)
    for number, name in enumerate(names):
        mask = read_mask(tmp_path / "out" / f"{rows[name]['name']}_mask.png")
        assert abs(int((mask == 1).sum()) - 60 * (30 + number)) < 60, f"{name} has its own mask"
        record = json.loads((tmp_path / "out" / f"{rows[name]['name']}.json").read_text())
        assert record["image"] == name
    assert json.loads((tmp_path / "out" / "run.json").read_text())["counts"]["inputs"] == len(names)

    once = everything(tmp_path / "out")
    segmented(tmp_path / "new", tmp_path / "out")
    again = everything(tmp_path / "out")
    changed = [name for name in once if once[name] != again[name]]
    assert once.keys() == again.keys() and set(changed) <= {"run.json", "stage4.sha256"}, "the same names each time"
