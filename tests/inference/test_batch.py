"""Images in parallel give the results of sequential processing; a run that is stopped leaves complete results."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import inference
from sonoseg.inference import batch
from sonoseg.inference.batch import process_images
from sonoseg.inference.process_image import InferenceRun, process_image
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source, from_folder
from sonoseg.io.image_ref import ImageRef
from sonoseg.models.model_file import save_model
from sonoseg.models.networks import build_network
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.task import Task
from tests.conftest import REPOSITORY, changed
from tests.models.members import always_load, member

IMAGES = 11


def small(task: Task) -> Task:
    network = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 1}
    return changed(task, network=network, input={"size": (64, 96), "fit": "letterbox"})


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of several sizes, so that their order of completion differs, and a file that is no image."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        size = (150, 200) if number % 3 else (420, 560)
        picture = random.integers(0, 90, size, dtype=np.uint8)
        cv2.ellipse(picture, (size[1] // 2, size[0] // 2), (size[1] // 4, size[0] // 3), 20, 0, 360, 200, -1)
        Image.fromarray(picture).save(folder / f"{number:02}.png")
    (folder / "05b.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, spine: Task, fetal_head: Task) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    for name, task in {"spine": spine, "fetal_head": fetal_head}.items():
        torch.manual_seed(1)
        save_model(folder / name / "m.safetensors", build_network(small(task)).state_dict(), small(task), {})
    return {name: folder / name / "m.safetensors" for name in ("spine", "fetal_head")}


def contents(folder: Path) -> dict[str, bytes]:
    timed = ("run.json", "stage4.sha256")  # seconds, and the digest of the file that holds them
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in timed}


@pytest.mark.parametrize("engine", ["torch", "openvino"])
@pytest.mark.parametrize("name", ["spine", "fetal_head"])
def test_results_are_the_same_for_any_number_of_jobs(models, pictures, tmp_path, name: str, engine: str) -> None:
    flags = ["--model", models[name], "--images", pictures, "--engine", engine, "--device", "cpu", "--heatmap"]
    for jobs in (1, 3):
        more = ["--jobs", jobs, "--output", tmp_path / str(jobs)]
        assert inference.main([str(flag) for flag in (*flags, *more)]) == 1
    single, parallel = contents(tmp_path / "1"), contents(tmp_path / "3")
    assert len(single) == IMAGES * (5 + (3 if name == "spine" else 1) - 1) + 1
    assert single == parallel
    assert json.loads((tmp_path / "3" / "run.json").read_text())["settings"]["jobs"] == 3


def test_rows_equal_those_of_sequential_processing(models, pictures, tmp_path) -> None:
    segmenter = Segmenter.load(models["fetal_head"], "cpu", "openvino", num_threads=3)
    sources = from_folder(pictures, segmenter.task).sources
    threads = cv2.getNumThreads()
    plain, fast = (InferenceRun(segmenter, OutputFolder(tmp_path / name, "stage4")) for name in ("plain", "fast"))
    rows = [process_image(source, plain) for source in sources]
    assert list(process_images(sources, fast, 3)) == rows
    plain.output.finish()
    fast.output.finish()
    assert contents(tmp_path / "plain") == contents(tmp_path / "fast")
    assert cv2.getNumThreads() == threads
    assert list(process_images([], fast, 3)) == []


def test_few_images_are_in_progress_at_any_time(monkeypatch, tmp_path) -> None:
    begun: list[int] = []
    monkeypatch.setattr(batch, "process_image", lambda source, *_: begun.append(1) or {"name": source.name})
    sources = [Source(ImageRef(tmp_path / "x.png"), str(number)) for number in range(500)]
    for number, row in enumerate(process_images(sources, None, 2)):  # type: ignore[arg-type]
        assert row["name"] == str(number)
        assert len(begun) <= number + 1 + 2 * batch._AHEAD


def test_closing_the_generator_ends_the_work(monkeypatch, tmp_path) -> None:
    begun: list[int] = []
    monkeypatch.setattr(batch, "process_image", lambda *_: begun.append(1) or time.sleep(0.01) or {})
    rows = process_images([Source(ImageRef(tmp_path / "x.png"), "x")] * 500, None, 2)  # type: ignore[arg-type]
    next(rows)
    rows.close()
    count = len(begun)
    time.sleep(0.05)
    assert len(begun) == count <= 1 + 2 * batch._AHEAD


def bright_is_head(images: torch.Tensor) -> torch.Tensor:
    bright = images[:, 0] > 0.5
    return torch.stack([~bright, bright], dim=1).float() * 8


def test_a_full_disk_ends_the_run_at_once(monkeypatch, fetal_head, pictures, tmp_path, capsys) -> None:
    always_load(monkeypatch, member(bright_is_head, small(fetal_head)))
    real, written = os.replace, []

    def fills_up(*arguments: object) -> None:
        written.append(arguments)
        if len(written) > 4:
            raise OSError(28, "No space left on device", "x")
        real(*arguments)

    monkeypatch.setattr("sonoseg.io.files.os.replace", fills_up)
    flags = ["--task", "fetal_head", "--images", pictures, "--output", tmp_path / "out", "--jobs", "2"]
    assert inference.main([str(flag) for flag in flags]) == 2
    assert "No space left" in capsys.readouterr().err
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert not names & {"run.json", "results.csv"} and not [name for name in names if name.endswith(".tmp")]


@pytest.mark.skipif(sys.platform == "win32", reason="an interrupt is no signal to a single process there")
def test_an_interrupt_leaves_complete_results(fetal_head, tmp_path) -> None:
    picture = np.zeros((300, 400), np.uint8)
    cv2.ellipse(picture, (200, 150), (90, 70), 0, 0, 360, 255, -1)
    (tmp_path / "new").mkdir()
    for number in range(400):
        Image.fromarray(picture).save(tmp_path / "new" / f"{number:03}.png")
    task = small(fetal_head)
    save_model(tmp_path / "m.safetensors", build_network(task).state_dict(), task, {})
    flags = ["--images", tmp_path / "new", "--output", tmp_path / "out", "--model", tmp_path / "m.safetensors"]
    command = [sys.executable, "inference.py", *map(str, flags), "--engine", "torch", "--jobs", "2"]
    running = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").glob("*.json"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    assert "interrupted; finished outputs are intact" in running.communicate(timeout=60)[1]
    assert running.returncode == 130
    names = {path.name for path in (tmp_path / "out").iterdir()}
    records = {name.removesuffix(".json") for name in names if name.endswith(".json")}
    assert 5 <= len(records) < 400 and "run.json" not in names
    files = {f"{record}{end}" for record in records for end in (".json", "_mask.png", "_overlay.png")}
    assert names == {".stage4.writing", *files}
