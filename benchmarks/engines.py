"""One forward pass of one image by each engine, batch 1."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.compare import Figure, compare, matrix_product_rate
from benchmarks.samples import phantoms, trained
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.installed import installed
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import read_header
from sonoseg.models.networks.heads import predict
from sonoseg.models.summary import summarise_network
from sonoseg.schema.task import Task

TASKS = (("fetal_head", "head"), ("spine", "spine"), ("spine_realtime", "spine"))


def run(root: Path) -> Iterator[Figure]:
    """Yield, for three networks and each installed engine, its time compared with plain eager torch."""
    ceilings = {dtype: matrix_product_rate(dtype=dtype) for dtype in ("float32", "bfloat16")}
    for name, kind in TASKS:
        header = read_header(trained(root, name, phantoms(root, kind)))
        images = np.random.default_rng(0).random((1, 1, *header.task.input.size), dtype=np.float32)
        operations = 2 * summarise_network(header.task).total_mult_adds
        eager = partial(run_eagerly, load_network(header), torch.from_numpy(images), header.task)
        for engine_name in ("torch", *installed()):
            engine = load_engine(header, EngineOptions(engine_name, "cpu"))
            floor = operations / ceilings["bfloat16" if "bf16" in engine_name else "float32"]
            before, after, ratio = compare(eager, partial(engine.run, images))
            yield Figure(
                name=f"`{name}`, {engine.name}",
                unit="forward pass",
                before=before,
                after=after,
                ratio=ratio,
                before_is="torch, eager, contiguous memory",
                after_is=f"--engine {engine.name}",
                floor=f"{floor * 1000:.0f} ms",
                remains=remains(engine.agreement, operations / after / 1e9),
            )


def remains(agreement: float | None, rate: float) -> str:
    """Return a sentence on the network's rate of operations and the engine's agreement with torch."""
    agrees = f" Agrees with torch on {agreement:.3%} of the pixels." if agreement else ""
    return f"{rate:.0f} GFLOP/s.{agrees}"


@torch.inference_mode()
def run_eagerly(network: nn.Module, images: Tensor, task: Task) -> None:
    """Run a network without optimisation: eager, contiguous in memory."""
    predict(network.to(memory_format=torch.contiguous_format), images, task.network)  # type: ignore[call-overload]
