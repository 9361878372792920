"""Shared by the checks: a workspace in which all four stages have run, and a model that segments bright pixels."""

import csv
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import inference
from sonoseg.schema.task import Task
from sonoseg.types import Pixels
from tests.conftest import changed
from tests.models.members import always_load, member
from tests.small import NETWORKS

SIZE = (96, 144)
"""Height and width of the scene."""


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Path:
    """A copy of a workspace in which all stages have run, for tests that damage it."""
    return Path(shutil.copytree(trained, tmp_path / "workspace"))


def bright_network(batch: torch.Tensor) -> torch.Tensor:
    """Return the logits of a network that segments pixels brighter than half."""
    found = batch[:, 0] > 0.5
    return torch.stack([~found, found], dim=1).float() * 8


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch, fetal_head: Task) -> Task:
    """Replace every model by one that segments pixels brighter than half as a head; return its task.

    Its masks are the network's, which tests compare with the scene.
    """
    size: dict[str, Any] = {"input": {"size": SIZE, "fit": "letterbox"}, "postprocessing": {"shape_mask": False}}
    size["postprocessing"] |= {"fill_gaps": False, "min_area_fraction": 0.002}
    task = changed(fetal_head, network=NETWORKS["unet"], **size)
    always_load(monkeypatch, member(bright_network, task, "model", "f" * 64))
    return task


Segmented = Callable[..., tuple[int, dict[str, dict[str, str]]]]


@pytest.fixture
def segmented(bright: Task) -> Segmented:
    """Return a function that runs stage 4 on a folder: its exit code, and the rows of `results.csv` by image."""

    def segment(images: Path, output: Path, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
        flags = ["--task", "fetal_head", "--images", str(images), "--output", str(output), "--jobs", "2", *more]
        code = inference.main(flags)
        return code, {row["image"]: row for row in rows_of(output / "results.csv")}

    return segment


@pytest.fixture
def scene() -> Pixels:
    """A bright rotated ellipse in the upper left of a dark picture with texture: no symmetry of any kind."""
    rng = np.random.default_rng(17)
    picture = rng.integers(10, 90, SIZE, dtype=np.uint8)
    inside = np.zeros(SIZE, np.uint8)
    cv2.ellipse(inside, (58, 44), (44, 34), 20, 0, 360, 1, -1)
    picture[inside == 1] = rng.integers(170, 240, int(inside.sum()), dtype=np.uint8)
    return picture


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return a table's rows as their bare text."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def put_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def everything(folder: Path) -> dict[str, bytes]:
    """Return every file below a folder with its bytes, and folders and links with none."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        for path in folder.rglob("*")
    }
