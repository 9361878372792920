"""Start-up: `--help` of every script, and the first result of stage 4."""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.compare import ROUNDS, Figure, seconds_of
from benchmarks.samples import phantoms, pictures, trained
from sonoseg.runs.workspace import INFERENCE_RECORD

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = ("train_test_data_preparation.py", "image_preprocessing.py", "training.py", "inference.py")


def run(root: Path) -> Iterator[Figure]:
    """Yield the slowest `--help` and an empty Python; the first result with torch and with a cached engine."""
    seconds = {name: median_of([sys.executable, str(REPOSITORY / name), "--help"]) for name in SCRIPTS}
    bare = median_of([sys.executable, "-c", "pass"])
    slowest = max(seconds, key=lambda name: seconds[name])
    yield Figure(
        name=f"{slowest} --help, the slowest of the four",
        unit="per start",
        before=bare,
        after=seconds[slowest],
        ratio=bare / seconds[slowest],
        before_is="Python that does nothing",
        after_is="the script",
        floor=f"{bare * 1000:.0f} ms",
        target="500 ms",
        reached=max(seconds.values()) < 0.5,
        more={name: f"{value * 1000:.0f} ms" for name, value in seconds.items()},
    )
    for task, kind in (("fetal_head", "head"), ("spine", "spine")):
        yield first_result(root, task, kind)


def first_result(root: Path, name: str, kind: str) -> Figure:
    """Time `inference.py` from its command to the first image's record on the disk."""
    data = phantoms(root, kind)
    model, folder = trained(root, name, data), root / f"one_{kind}"
    folder.mkdir(exist_ok=True)
    shutil.copy(pictures(data)[0], folder)
    seconds: dict[str, list[float]] = {"torch": [], "openvino": []}
    for number in range(1 + ROUNDS):
        for engine, times in seconds.items():
            took = until_first_result(root, folder, model, engine)
            if number:  # at the first start the engine is converted
                times.append(took)
    before, after = (statistics.median(times) for times in seconds.values())
    floor = median_of([sys.executable, "-c", "import cv2, numpy, PIL.Image, pydantic, openvino"])
    return Figure(
        name=f"first result of `{name}`",
        unit="from the command",
        before=before,
        after=after,
        ratio=statistics.median(a / b for a, b in zip(*seconds.values(), strict=True)),
        before_is="`--engine torch`",
        after_is="a cached OpenVINO engine, neither torch nor MONAI imported",
        floor=f"{floor * 1000:.0f} ms",
        remains="The floor is to import OpenVINO, OpenCV, NumPy, Pillow and pydantic, and nothing else.",
        target="1.5 s",
        reached=after < 1.5,
    )


def until_first_result(root: Path, images: Path, model: Path, engine: str) -> float:
    """Return the seconds until the first record appears in an empty folder of results."""
    output = root / "first"
    shutil.rmtree(output, ignore_errors=True)
    command = [sys.executable, str(REPOSITORY / "inference.py"), "--images", str(images), "--model", str(model)]
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.time()
    subprocess.run(
        [*command, "--output", str(output), "--engine", engine], env=compiled, check=True, capture_output=True
    )
    return min(path.stat().st_mtime for path in output.glob("*.json") if path.name != INFERENCE_RECORD) - started


def median_of(command: list[str]) -> float:
    def start() -> None:
        subprocess.run(command, check=True, capture_output=True)

    return statistics.median(seconds_of(start) for _ in range(ROUNDS))
