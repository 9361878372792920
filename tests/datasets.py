"""Small datasets to build and break."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task, parse_task

LINE = ["MID", "line", [[20, 5], [20, 40]]]
RECT = ["VTB", "rect", [[10, 30], [30, 38]]]
EPI = ["EPI", "line", [[10, 20], [30, 20]]]


@pytest.fixture
def write_picture() -> Callable[..., Path]:
    """Return a function that writes a picture of noise, another for every seed."""

    def write(path: Path, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
        Image.fromarray(noise).save(path)
        return path

    return write


@pytest.fixture
def spine_data(tmp_path: Path, write_picture: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that writes a valid spine dataset of `count` images, two per patient, and gives its folder."""

    def build(count: int = 6, annotations: dict[str, Any] | None = None, table: str | None = None) -> Path:
        data = tmp_path / "Datasets" / "spine"
        (data / "images").mkdir(parents=True, exist_ok=True)
        names = [f"i{index:02}" for index in range(count)]
        for index, name in enumerate(names):
            write_picture(data / "images" / f"{name}.png", seed=index)
        if annotations is None:
            annotations = {name: [LINE, RECT, EPI] for name in names}
        (data / "annotations.json").write_text(json.dumps(annotations))
        if table is None:
            rows = [f"{name}.png,P{index // 2},0.1,0.2" for index, name in enumerate(names)]
            table = "\n".join(["image,patient,row_mm,col_mm", *rows]) + "\n"
        (data / "metadata.csv").write_text(table)
        return data

    return build


def task_with(classes: list[dict[str, Any]], **annotations: Any) -> Task:
    """Return a minimal task with these classes and a mask folder."""
    colors = ("#ff0000", "#00ff00", "#0000ff", "#ffffff")
    fields = {
        "name": "tiny",
        "title": "Tiny",
        "structures": [{"color": color, **structure} for color, structure in zip(colors, classes, strict=False)],
        "annotations": {"format": "mask_folder", **annotations},
        "patients": {"pattern": r"^([^_]+)"},
        "input": {"size": [32, 32]},
        "network": {"name": "unet", "channels": [4, 8], "strides": [2]},
        "training": load_task("spine").training.model_dump(),
    }
    return parse_task(fields, source="test")


@pytest.fixture
def make_task() -> Callable[..., Task]:
    return task_with
