"""Real images give the same results from a DICOM file as from a PNG file with a table, to the last digit."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import inference
from tests.dicom.objects import dciodvfy
from tests.dicom_files import region_item, write_dicom

TABLE = "training_set_pixel_size_and_HC.csv"
OF_THE_FILE = ("image", "spacing_from", "made_from", "files", "sha256")


def results(folder: Path, *flags: str) -> Path:
    out = folder.parent / f"{folder.name}_results"
    arguments = ["--task", "fetal_head", "--images", str(folder), "--output", str(out), "--engine", "torch", *flags]
    assert inference.main(arguments) == 0
    return out


def rounded(value: Any) -> Any:
    """Return the value with all its numbers at 10 significant digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.10g}") if isinstance(value, float) else value


def test_the_same_masks_and_millimetres(tmp_path: Path, hc18: Path) -> None:
    folders = {name: tmp_path / name for name in ("png", "spacing", "region")}
    for folder in folders.values():
        folder.mkdir()
    with (hc18 / TABLE).open(encoding="utf-8", newline="") as stream:
        rows = {row["filename"]: row for row in csv.DictReader(stream)}
    shutil.copy(hc18 / TABLE, folders["png"] / TABLE)
    names = sorted(path.stem for path in (hc18 / "training_set").glob("*_HC.png"))[::300][:3]
    assert len(names) == 3
    for name in names:
        path = hc18 / "training_set" / f"{name}.png"
        shutil.copy(path, folders["png"])
        pixels = np.array(Image.open(path).convert("L"))
        mm = float(rows[path.name]["pixel size(mm)"])
        region = region_item(0, 0, pixels.shape[1] - 1, pixels.shape[0] - 1, (mm, mm))
        write_dicom(folders["spacing"] / f"{name}.dcm", pixels, PixelSpacing=[str(mm), str(mm)])
        write_dicom(folders["region"] / f"{name}.dcm", pixels, [region])
    png, spacing, region_results = (
        results(folders["png"]),
        results(folders["spacing"], "--dicom"),
        results(folders["region"]),
    )
    for name in names:
        masks = [(out / f"{name}_mask.png").read_bytes() for out in (png, spacing, region_results)]
        assert masks[0] == masks[1] == masks[2]
        first, second, third = (
            json.loads((out / f"{name}.json").read_text()) for out in (png, spacing, region_results)
        )
        for key in first:
            if key not in OF_THE_FILE:
                assert first[key] == second[key], key
        assert first["measurements"]["hc_mm"] is not None
        # A region is in centimetres: millimetres divided and multiplied by 10 may differ in the last bit of a number.
        for key in ("measurements", "intervals", "shapes", "quality", "status"):
            assert rounded(first[key]) == rounded(third[key]), key
        assert all(dciodvfy(spacing / f"{name}_{kind}.dcm") == [] for kind in ("seg", "sr", "capture"))
