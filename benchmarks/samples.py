"""Simulated images and prepared workspaces that the benchmarks share; made once per workspace."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import image_preprocessing
import train_test_data_preparation
import training
from sonoseg.errors import SonoSegError
from sonoseg.io.png import write_image
from sonoseg.io.readers import list_images
from sonoseg.models.model_header import read_header
from sonoseg.models.registry import model_for_task
from sonoseg.phantom.__main__ import main as make_phantoms
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task


def quietly(main: Callable[[list[str]], int], arguments: list[str]) -> None:
    """Run a script without its output. Raises SonoSegError with its output when it fails."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(arguments)
    if code != 0:
        raise SonoSegError(f"{' '.join(arguments)}: exit code {code}; {output.getvalue().strip()}")


def phantoms(workspace: Path, kind: str = "spine", images: int = 24) -> Path:
    """Return a folder of simulated images of one kind, at their full size."""
    folder = workspace / f"{kind}_{images}"
    if not folder.is_dir():
        quietly(make_phantoms, ["--kind", kind, "--out", str(folder), "--images", str(images), "--seed", "1"])
    return folder


def split(workspace: Path, task: str, data: Path) -> list[str]:
    """Run stage 1 on `data`, unless it has run; return the flags that name task and workspace."""
    flags = ["--task", task, "--workspace", str(workspace)]
    if not Workspace(workspace, load_task(task).name).split_table("train").is_file():
        quietly(train_test_data_preparation.main, [*flags, "--data", str(data)])
    return flags


def prepared(workspace: Path, task: str, data: Path, *more: str) -> list[str]:
    """Run stages 1 and 2; return the flags."""
    flags = split(workspace, task, data)
    quietly(image_preprocessing.main, [*flags, *more])
    return flags


def pictures(folder: Path) -> list[Path]:
    """Return the images of a folder of phantoms, without the masks among them."""
    inside = next(path for path in (folder / "images", folder / "training_set") if path.is_dir())
    return [path for path in list_images(inside) if not path.stem.endswith("_Annotation")]


HEADS = r"""
extends: fetal_head
name: many_heads
metadata: null
patients: {pattern: '^(\d+)'}
annotations: {format: mask_folder, images: images, masks: images, mask_suffix: _mask, fill_outlines: false}
input: {size: [64, 96]}
network: {channels: [8, 16, 32], strides: [2, 2], residual_units: 1, deep_supervision: []}
augmentation: {copies: 0, online: false}
measurements: []
review: null
"""


def many_heads(root: Path, count: int) -> tuple[Path, Path]:
    """Make `count` different pictures, 240x320, each with a bright ellipse; return their folder and a small task.

    Drawn, not simulated, to get thousands of different images in a minute.
    """
    folder, task = root / f"heads_{count}", root / "many_heads.yaml"
    task.parent.mkdir(parents=True, exist_ok=True)
    task.write_text(HEADS)
    if not (folder / "images").is_dir():
        for number in range(count):
            rng = np.random.default_rng(number)
            tissue = cv2.resize(
                rng.uniform(20, 120, (6, 8)).astype(np.float32), (320, 240), interpolation=cv2.INTER_CUBIC
            )
            mask = np.zeros((240, 320), np.uint8)
            centre, axes = tuple(rng.integers(90, 150, 2).tolist()), tuple(rng.integers(35, 80, 2).tolist())
            cv2.ellipse(mask, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, cv2.FILLED)
            image = (tissue + 60 * (mask > 0)) * rng.rayleigh(0.8, mask.shape)
            write_image(folder / "images" / f"{number:05d}.png", np.clip(image, 0, 255).astype(np.uint8), sync=False)
            write_image(folder / "images" / f"{number:05d}_mask.png", mask, sync=False)
    return folder, task


def _is_of(model: Path, task: Task) -> bool:
    found = read_header(model).task
    return (found.network, found.input) == (task.network, task.input)


EPOCHS = 20
"""After so many, `spine` finds most structures of the images that it was trained on."""


def trained(root: Path, task: str, data: Path) -> Path:
    """Return a model file of a task: the one that comes with SonoSeg, or one that is trained for some epochs on `data`.

    It is trained because the masks of an untrained network have many components, which take far longer to measure, and
    more reasons to be written. A model of another network or input size than the task has today is not used, or trained
    anew.
    """
    wanted = load_task(task)
    shipped = model_for_task(wanted)
    if shipped and _is_of(shipped.path, wanted):
        return shipped.path
    model = Workspace(root, wanted.name).best_model
    if not model.is_file() or not _is_of(model, wanted):
        flags = [*prepared(root, task, data), "--epochs", str(EPOCHS), "--precision", "bf16-mixed"]
        quietly(training.main, [*flags, "--device", "cpu", "--run", "benchmark"])
    return model
