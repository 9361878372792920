"""Images without any word about patients: how many groups of similar images stage 1 will make of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sonoseg.new_task import similar
from tests.new_task.conftest import NERVE, picture, save, truth

SWEEPS, FRAMES, ALONE = 3, 4, 2


def frame(sweep: int, number: int) -> np.ndarray:
    """Return a frame `(60, 80)` of a sweep: large echoes that move by a pixel a frame, with a little noise."""
    coarse = np.random.default_rng(sweep).integers(20, 220, (6, 8), dtype=np.uint8)
    moved = np.roll(cv2.resize(coarse, (80, 60), interpolation=cv2.INTER_LINEAR), number, axis=1)
    noise = np.random.default_rng(100 * sweep + number).integers(0, 20, moved.shape, dtype=np.uint8)
    return np.asarray(moved + noise)


@pytest.fixture
def sweeps(tmp_path: Path) -> Path:
    """Three sweeps of four frames, and two images of their own, numbered from 000 to 013 throughout."""
    folder = tmp_path / "data"
    shown = [frame(sweep, number) for sweep in range(SWEEPS) for number in range(FRAMES)]
    shown += [picture(90 + number) for number in range(ALONE)]
    for number, pixels in enumerate(shown):
        save(folder / f"images/{number:03}.png", pixels)
        save(folder / f"masks/{number:03}.png", (truth(number) == NERVE).astype(np.uint8) * 255)
    return folder


GROUPS = "5 groups of 14 images, 3 of which are frames of one sweep, or almost equal pictures"


def test_the_groups_are_those_of_stage_1(sweeps: Path, through: Callable[..., Any]) -> None:
    done = through(sweeps)
    patients = [entry.patient for entry in done.meta.values()]
    assert len(set(patients)) == SWEEPS + ALONE and sorted(map(patients.count, set(patients))) == [1, 1, 4, 4, 4]
    said = f"nothing in names or tables says it; similar images are kept together: {GROUPS}"
    assert f"patients: {said}\n" in done.out
    assert f"# Patients, which no split divides: {said}.\npatients: unknown\n" in done.text


def test_the_list_has_the_groups_of_each_candidate(sweeps: Path, command: Callable[..., Any]) -> None:
    rows = [f"{number:03}.png,{number // 7}" for number in range(14)]
    (sweeps / "metadata.csv").write_text("\n".join(["image,patient", *rows]) + "\n")
    rules = json.loads(command(sweeps, "--list").out)["patients"]
    assert [(one["settings"], one["groups"], one["images"]) for one in rules] == [
        ({"column": "patient"}, 2, 14),
        ("unknown", 5, 14),
    ]
    assert GROUPS in rules[1]["reason"]
    text = command(sweeps).file.read_text()
    assert f"# Or unknown: ignores names and tables; similar images are kept together: {GROUPS}.\n" in text


def test_of_many_images_a_sample_is_compared(
    sweeps: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stretches of images one after the other, so that the frames of a sweep stay together."""
    monkeypatch.setattr(similar, "STRETCH", 4)
    monkeypatch.setattr(similar, "MOST_PIXELS", 60 * 80 * 9)
    (rule,) = json.loads(command(sweeps, "--list").out)["patients"]
    assert (rule["groups"], rule["images"]) == (3, 6)  # the first sweep, and the last two images
    assert rule["reason"].endswith("of 14 images, 6 evenly over their names were compared")


def test_images_that_cannot_be_read_are_not_counted(sweeps: Path, command: Callable[..., Any]) -> None:
    (sweeps / "images/013.png").write_bytes((sweeps / "images/013.png").read_bytes()[:200])
    (rule,) = json.loads(command(sweeps, "--list").out)["patients"]
    assert (rule["groups"], rule["images"]) == (4, 13)
