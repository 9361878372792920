"""Shared by the tests of `new-task`: small annotated images, the command, and the checks of stage 1."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from sonoseg.__main__ import main
from sonoseg.io.limits import MAX_PIXELS
from sonoseg.io.masks import decode_label_map
from sonoseg.io.pseudonyms import PseudonymKey
from sonoseg.schema.task_files import load_draft, task_of
from train_test_data_preparation import verify_images

SIZE = (60, 80)
NERVE, VESSEL = 1, 2
WITHOUT_OPTIONS = Namespace(max_pixels=MAX_PIXELS, drop_duplicates=False)


def picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(30, 220, SIZE, dtype=np.uint8)
    return cv2.GaussianBlur(noise, (5, 5), 0)


def truth(seed: int) -> np.ndarray:
    """Return a label map: an irregular nerve, and a smaller vessel, apart from it."""
    generator = np.random.default_rng(100 + seed)
    labels = np.zeros(SIZE, np.uint8)
    x, y = (int(value) for value in generator.integers(18, 24, 2))
    corners = [(x - 12, y - 10), (x + 9, y - 12), (x + 3, y), (x + 14, y + 8), (x - 8, y + 12)]
    cv2.fillPoly(labels, [np.array(corners, np.int32)], NERVE)
    cv2.ellipse(labels, (58, 40), (9, 6), 30, 0, 360, VESSEL, -1)
    return labels


def save(path: Path, pixels: np.ndarray, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def palette(labels: np.ndarray, *colors: int) -> Image.Image:
    image = Image.fromarray(labels)
    image.putpalette([0, 0, 0, *colors])
    return image


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., SimpleNamespace]:
    """Return a function that runs `new-task` in a folder of its own, and gives code, out, err and the file."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)

    def run(folder: Path, *flags: str) -> SimpleNamespace:
        code = main(["new-task", str(folder), *flags])
        said = capsys.readouterr()
        files = sorted(work.glob("*.yaml"))
        return SimpleNamespace(code=code, out=said.out, err=said.err, file=files[0] if files else None, work=work)

    return run


@pytest.fixture
def refused(command: Callable[..., SimpleNamespace]) -> Callable[..., str]:
    """Return a function that runs `new-task` on a folder that it has to refuse, and gives the only line it says."""

    def run(folder: Path, *flags: str) -> str:
        done = command(folder, *flags)
        assert done.code == 2 and done.out == "" and "unexpected" not in done.err and "Traceback" not in done.err
        assert done.err.startswith("error: ") and done.err.count("\n") == 1, done.err
        assert not list(done.work.iterdir())
        return str(done.err)

    return run


@pytest.fixture
def through(command: Callable[..., SimpleNamespace]) -> Callable[..., Any]:
    """Return a function that sends a folder through `new-task` and, unedited, through the checks of stage 1.

    It gives the task, label maps by the image's id and the structure, the errors, and the text of the file.
    """

    def run(folder: Path, *flags: str) -> SimpleNamespace:
        done = command(folder, *flags)
        assert done.code == 0, done.err
        text = done.file.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 40
        draft = load_draft(done.file)
        task = task_of(draft)
        verified = verify_images(draft, task, [folder], WITHOUT_OPTIONS, PseudonymKey(folder / "key"))
        masks = {}
        for image in verified.images:
            labels = decode_label_map(image.mask_png)
            masks[image.item.id] = {name: labels == index for index, name in enumerate(task.class_names, start=1)}
        errors = [str(fault) for fault in verified.faults if fault.level == "error"]
        return SimpleNamespace(task=task, masks=masks, errors=errors, text=text, meta=verified.meta, out=done.out)

    return run
