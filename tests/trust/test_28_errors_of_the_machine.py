"""Check 28: memory, open files or disk run out: results of earlier images stay, and no image is blamed for it."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import inference
import sonoseg.inference.process_image as processing
import train_test_data_preparation as stage1
from sonoseg.errors import DataError, is_machine_error, machine_error
from sonoseg.io.readers import read_image
from sonoseg.models.model_file import save_model
from sonoseg.models.networks import build_network
from sonoseg.preprocess import plan
from sonoseg.schema.task import Task
from sonoseg.types import Pixels
from tests.conftest import REPOSITORY
from tests.inference.test_batch import small
from tests.trust.conftest import Segmented, everything, rows_of
from tests.trust.runs import flags, make

NAMES = ("a", "b", "c", "d")
MACHINE = {
    "memory": MemoryError(),
    "OpenCV": cv2.error("OpenCV(4) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 9 bytes"),
    "torch": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    "OpenVINO": RuntimeError("Exception from src/inference: std::bad_alloc"),
    "threads": RuntimeError("can't start new thread"),
    "open files": OSError(errno.EMFILE, "Too many open files"),
    "a device": OSError(errno.EIO, "Input/output error"),
}


@pytest.fixture
def images(tmp_path: Path, scene: Pixels) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.fromarray(np.roll(scene, number, axis=1)).save(folder / f"{name}.png")
    return folder


def failing(times: int, error: BaseException, function: Callable[..., object], only: str = "") -> Callable[..., object]:
    """Return `function`, which at first raises an error so many times, of images whose path has `only` in it."""
    left, lock = [times], threading.Lock()

    def wrapped(*arguments: object, **more: object) -> object:
        with lock:
            fails = left[0] > 0 and only in str(arguments)
            left[0] -= fails
        if fails:
            raise error
        return function(*arguments, **more)

    return wrapped


@pytest.mark.parametrize("what", MACHINE)
def test_an_image_is_processed_again_alone(
    what: str, images: Path, segmented: Segmented, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    assert segmented(images, tmp_path / "undisturbed")[0] == 0
    capsys.readouterr()
    monkeypatch.setattr(processing, "read_image", failing(1, MACHINE[what], read_image, "b.png"))
    code, rows = segmented(images, tmp_path / "out")
    assert code == 0 and [row["status"] for row in rows.values()] == ["ok"] * 4
    assert "1 of them processed a second time, alone" in capsys.readouterr().out
    first, second = (everything(tmp_path / name) for name in ("undisturbed", "out"))
    assert all(first[name] == second[name] for name in first if name not in ("run.json", "stage4.sha256"))


@pytest.mark.parametrize("place", ["read_image", "check_image", "render", "describe", "read_reusable", "read_file"])
def test_earlier_results_stay_and_the_batch_stops(
    place: str, images: Path, segmented: Segmented, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    assert segmented(images, out)[0] == 0
    before = everything(out)
    monkeypatch.setattr(processing, place, failing(9, MemoryError(), getattr(processing, place)))
    paths = ["--images", str(images), "--output", str(out)]
    assert inference.main(["--task", "fetal_head", *paths, "--jobs", "2", "--heatmap"]) == 2, "nothing can be reused"
    said = capsys.readouterr().err
    assert "the memory is exhausted" in said and "run the same command again" in said
    assert "fewer images at once" in said and "0 of 4 images are complete" in said
    after = everything(out)
    assert [name for name in before if name.startswith(NAMES) and after.get(name) != before[name]] == []
    assert not {"run.json", "stage4.sha256"} & after.keys(), "a list would say that the run is complete"


def test_a_thread_that_cannot_be_started_stops_nothing(
    images: Path, segmented: Segmented, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        "sonoseg.inference.batch.ThreadPoolExecutor.submit",
        lambda *_: (_ for _ in ()).throw(RuntimeError("can't start new thread")),
    )
    assert segmented(images, tmp_path / "out")[0] == 0


LIMITED = """
import resource, sys
import inference
from sonoseg.inference import process_image
real, used = process_image.read_file, int(open('/proc/self/statm').read().split()[0])
def read_file(*arguments):
    pages = int(open('/proc/self/statm').read().split()[0])  # all libraries are loaded now
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**20, resource.RLIM_INFINITY))
    return real(*arguments)
process_image.read_file = read_file
code = inference.main(sys.argv[1:])
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
sys.exit(code)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_AS")
def test_four_finished_images_survive_a_real_shortage(fetal_head: Task, images: Path, tmp_path: Path) -> None:
    """As under `ulimit -v`: 1 MiB above what the process has when the first image is read."""
    task, out = small(fetal_head), tmp_path / "out"
    save_model(tmp_path / "m.safetensors", build_network(task).state_dict(), task, {})
    command = ["--images", images, "--output", out, "--model", tmp_path / "m.safetensors", "--engine", "torch"]
    arguments = [str(part) for part in (*command, "--device", "cpu", "--jobs", "1")]
    assert inference.main(arguments) == 0
    before = everything(out)
    for path in images.glob("*.png"):  # other images of 9 million pixels, so nothing is reused
        Image.fromarray(np.random.default_rng(3).integers(0, 256, (3000, 3000), dtype=np.uint8)).save(path)
    run = [sys.executable, "-c", LIMITED, *arguments]
    done = subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "the memory is exhausted" in done.stderr, done.stderr + done.stdout
    after = everything(out)
    assert [name for name in before if name.startswith(NAMES) and after.get(name) != before[name]] == []


def test_stage_1_blames_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    make(tmp_path, 6)
    for error in (MemoryError(), OSError(errno.EMFILE, "Too many open files")):
        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", failing(1, error, Image.Image.load))
        assert stage1.main(flags(stage1, tmp_path)) == 2
        said = capsys.readouterr().err
        assert "run the same command again" in said and "damaged" not in said and "fault" not in said
    assert not (tmp_path / "Train_Test_Dataset").exists() or not rows_exist(tmp_path)


def rows_exist(root: Path) -> bool:
    return any(rows_of(path) for path in root.rglob("*_split.csv"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_NOFILE")
def test_a_reader_does_not_call_a_file_damaged_when_no_more_can_be_opened(images: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(int(name) for name in os.listdir("/proc/self/fd")), before[1]))
    held = []
    try:
        with pytest.raises(OSError, match="Too many open files") as caught:
            while True:
                held.append(open(images / "a.png", "rb"))  # noqa: SIM115
        with pytest.raises(OSError, match="Too many open files"):
            read_image(images / "a.png")
    finally:
        for stream in held:
            stream.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert is_machine_error(caught.value)


def test_a_worker_of_stage_2_that_the_system_ends(prepared: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    root = Path(shutil.copytree(prepared, tmp_path / "w"))
    monkeypatch.setattr(plan, "_start_worker", os.abort)
    import image_preprocessing as stage2

    code = stage2.main([*flags(stage2, root)[:4], "--jobs", "2", "--copies", "2"])
    said = capsys.readouterr().err
    assert code == 2 and "ended by the system" in said and "run the same command again" in said


def test_what_is_an_error_of_the_machine() -> None:
    for error in MACHINE.values():
        assert is_machine_error(error) and "run the same command again" in str(machine_error(error))
    wrapped = DataError("damaged")
    wrapped.__cause__ = MemoryError()
    assert is_machine_error(wrapped)
    hostile = [ValueError("out of memory"), DataError("bad_alloc.png: out of memory"), OSError("cannot identify")]
    assert not any(is_machine_error(error) for error in [*hostile, OSError(errno.ENOENT, "No such file")])
