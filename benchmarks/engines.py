"""One forward pass of one image by each engine, batch 1."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.compare import Figure, compare
from benchmarks.samples import phantoms, trained
from sonoseg.core.model_header import read_header
from sonoseg.core.task import Task
from sonoseg.infer.engines.choose import Wish, engine_of
from sonoseg.infer.engines.kinds import installed
from sonoseg.train.model_file import load_network
from sonoseg.train.networks.heads import predict

TASKS = (("fetal_head", "head"), ("spine", "spine"), ("spine_realtime", "spine"))


def run(root: Path) -> Iterator[Figure]:
    """Yield, for three networks and each engine that is installed, its time against eager torch as one writes it."""
    for name, kind in TASKS:
        header = read_header(trained(root, name, phantoms(root, kind)))
        images = np.random.default_rng(0).random((1, 1, *header.task.input.size), dtype=np.float32)
        eager = partial(plainly, load_network(header), torch.from_numpy(images), header.task)
        for name_of_engine in ("torch", *installed()):
            engine = engine_of(header, Wish(name_of_engine, "cpu"))
            before, after, ratio = compare(eager, partial(engine.run, images))
            yield Figure(
                name=f"`{name}`, {engine.name}",
                unit="forward pass",
                before=before,
                after=after,
                ratio=ratio,
                before_is="torch, eager, contiguous memory",
                after_is=f"--engine {engine.name}",
                remains=f"Agrees with torch on {engine.agreement:.3%} of the pixels." if engine.agreement else "",
            )


@torch.inference_mode()
def plainly(network: nn.Module, images: Tensor, task: Task) -> None:
    """Run a network as it was before it is made fast: eager, contiguous in memory."""
    predict(network.to(memory_format=torch.contiguous_format), images, task)  # type: ignore[call-overload]
