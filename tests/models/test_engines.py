"""Engines: agreement with torch, threads, and the check of a conversion."""

import itertools
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from sonoseg.models.engines import ENGINE_NAMES, QUANTIZED
from sonoseg.models.engines.check import pixel_agreement, sample_images
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.installed import ENGINE_TYPES, installed
from sonoseg.models.engines.torch_engine import network_function
from sonoseg.models.model_header import read_header
from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task
from tests.conftest import REPOSITORY
from tests.models.small_networks import NETWORKS, converted, small

CASES = [("unet", "fetal_head"), *zip(NETWORKS, itertools.cycle(["spine", "fetal_head"]), strict=False)]
"""Every network, with several classes and with one in turn; the first with both."""


def test_every_name_has_an_engine() -> None:
    assert set(ENGINE_NAMES) == {"torch", *ENGINE_TYPES, QUANTIZED}


@pytest.mark.parametrize("engine", ENGINE_TYPES)
@pytest.mark.parametrize(("name", "classes"), CASES)
def test_an_engine_agrees_with_torch(request, engine: str, name: str, classes: str) -> None:
    if engine not in installed():
        pytest.skip(f"{engine} is not installed")
    task = small(request.getfixturevalue(classes), name)
    torch.manual_seed(1)
    network = build_network(task).eval()
    images = sample_images(task.input)
    reference = network_function(network, task.network)(images)
    files = converted(engine, task, network)
    for num_threads in (0, 2) if name == "unet" else (0,):
        maps = ENGINE_TYPES[engine].start(files, num_threads)(images)
        assert maps.dtype == np.float32 and maps.shape == reference.shape == (
            3,
            len(task.structures) + 1,
            *images.shape[2:],
        )
        if ENGINE_TYPES[engine].explicit_only:
            assert np.abs(maps - reference).max() < 0.05, "fewer digits, but the same network"
        else:
            assert np.abs(maps - reference).max() < 1e-5
            assert pixel_agreement(maps, reference, task.postprocessing.threshold) > 0.999


@pytest.mark.parametrize("engine", ENGINE_TYPES)
def test_threads_that_share_an_engine_get_their_own_results(fetal_head: Task, engine: str) -> None:
    if engine not in installed():
        pytest.skip(f"{engine} is not installed")
    task = small(fetal_head)
    files = converted(engine, task, build_network(task))
    images = np.random.default_rng(0).random((40, 1, 1, 32, 48), dtype=np.float32)
    alone = [ENGINE_TYPES[engine].start(files, 1)(image) for image in images]
    run = ENGINE_TYPES[engine].start(files, 4)
    run(images[0])
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(run, images))
    assert all(np.array_equal(maps, expected) for maps, expected in zip(together, alone, strict=True))


def test_openvino_has_run_once_before_threads_share_it(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two first calls of its NumPy binding at the same time end in a deadlock."""
    import openvino

    header, done = read_header(model), []
    load_engine(header, EngineOptions("openvino"))
    real = openvino.InferRequest.infer
    monkeypatch.setattr(openvino.InferRequest, "infer", lambda *args, **more: done.append(1) or real(*args, **more))
    load_engine(header, EngineOptions("openvino", num_threads=2))
    assert len(done) == 1, "on the probe image, and not on an empty one besides"


SIGNAL_AFTER_ENGINES = """
import faulthandler, gc, os, signal, sys
from pathlib import Path
faulthandler.enable()
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.installed import ENGINE_TYPES
files = {suffix: Path("network").with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin")}
first = ENGINE_TYPES["openvino"].start(files, 1)
second = ENGINE_TYPES["openvino"].start(files, 1)
del first, second
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_signal_is_handled_after_engines_were_deleted(model: Path, tmp_path: Path) -> None:
    task = read_header(model).task
    for suffix, content in converted("openvino", task, build_network(task)).items():
        (tmp_path / "network").with_suffix(suffix).write_bytes(content)
    command, environment = [sys.executable, "-c", SIGNAL_AFTER_ENGINES], {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


def test_agreement_by_hand() -> None:
    reference = np.zeros((1, 4, 2, 5), np.float32)
    reference[:, 0], reference[:, 2] = 0.7, 0.3
    assert pixel_agreement(reference, reference, 0.5) == 1
    near = reference.copy()
    near[0, :, 0, 0] = 0.695, 0, 0.305, 0
    assert pixel_agreement(near, reference, 0.5) == 1
    near[0, :, 0, 0] = 0.68, 0, 0.32, 0
    assert pixel_agreement(near, reference, 0.5) == 0.9, "the class is the same, but the probability is far off"
    assert pixel_agreement(near, reference, 0.5, tolerance=0.03) == 1
    other = reference.copy()
    other[0, :, 1, :2] = np.array([[0.3, 0, 0.7, 0]]).T
    assert pixel_agreement(other, reference, 0.5) == pytest.approx(0.8)
    tied = reference.copy()
    tied[:, 0], tied[:, 2] = 0.50001, 0.49999
    assert pixel_agreement(1 - tied[:, [2, 1, 0, 3]] * [[[[1]], [[0]], [[1]], [[0]]]], tied, 0.5) == 0, (
        "no probabilities"
    )
    assert pixel_agreement(tied[:, [2, 1, 0, 3]], tied, 0.5) == 1, "either of two equal classes will do"
    assert pixel_agreement(np.full_like(reference, np.nan), reference, 0.5) == 0
    assert pixel_agreement(reference[..., :4], reference, 0.5) == 0
    inside = np.array([0.2, 0.295, 0.29999, 0.305], np.float32)
    outside = np.array([0.2, 0.302, 0.30001, 0.305], np.float32)
    maps = [np.stack([1 - values, values])[None, :, None] for values in (inside, outside)]
    assert pixel_agreement(*maps, 0.3) == 0.75, "0.295 and 0.302 are on either side of the threshold, not at it"


def test_the_images_of_the_check_have_structure(spine: Task, fetal_head: Task) -> None:
    for task in (spine, fetal_head):
        images = sample_images(task.input)
        assert images.shape == (3, 1, *task.input.size) and images.dtype == np.float32
        assert np.array_equal(images, sample_images(task.input))
        assert all(image.std() > 0.05 for image in images) and not np.array_equal(images[0], images[1])
