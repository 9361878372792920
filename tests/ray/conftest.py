"""A small model, an archive of small images, and a Ray cluster of several nodes on this machine."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sonoseg.io.png import write_image
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from tests.conftest import REPOSITORY, changed

IMAGES = 240
PROCESSORS = 1
"""Of each node. All nodes are on this machine; they are processes of their own, as on several."""


@pytest.fixture(scope="session")
def ray() -> Iterator[Any]:
    """Ray, whose processes find the tests too, and listen on the loopback address only."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed here: `make test-ray` has an environment of its own")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(REPOSITORY)
    from sonoseg.archive.libraries import ray_library

    yield ray_library(local=True)
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def model(ray: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of a network so small that an image takes milliseconds, converted for OpenVINO."""
    import torch

    from sonoseg.inference.segmenter import Segmenter
    from sonoseg.models.model_file import save_model
    from sonoseg.models.networks import build_network

    fetal_head: Task = load_task("fetal_head")
    network = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 0}
    task = changed(fetal_head, network=network, input={"size": (32, 48)})
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    torch.manual_seed(0)
    save_model(path, build_network(task).state_dict(), task, {})
    Segmenter.load(path, "cpu", "openvino", 1)
    return path


def picture(seed: int) -> np.ndarray:
    """Noise with a bright disc `(H, W)` uint8, another for every seed."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :60]
    disc = (rows - 20) ** 2 + (columns - 30) ** 2 < 100 + seed % 50
    return np.where(disc, 200, 20).astype(np.uint8) + rng.integers(0, 30, (40, 60), dtype=np.uint8)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sub-folders, as archives have them; one image fails."""
    root = tmp_path_factory.mktemp("archive")
    for index in range(IMAGES):
        write_image(root / f"{index // 60:03d}" / f"{index:05d}.png", picture(index), sync=False)
    (root / "001" / "broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def cluster(ray: Any) -> Iterator[Callable[[int], Any]]:
    """Return a function that gives a cluster its number of nodes besides the head, which has no processors."""
    from ray.cluster_utils import Cluster

    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes: list[Any] = []

    def resize(count: int) -> Any:
        nodes[:] = [node for node in nodes if node in started.worker_nodes]
        while len(nodes) > count:
            started.remove_node(nodes.pop())
        while len(nodes) < count:
            nodes.append(started.add_node(num_cpus=PROCESSORS))
        return started

    yield resize
    if ray.is_initialized():
        ray.shutdown()
    started.shutdown()


@contextmanager
def driver(ray: Any, address: str) -> Iterator[None]:
    """Connect this process to a cluster until the block ends."""
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
