"""One forward pass of one image by each engine, batch 1."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.compare import Figure, compare, matrix_product_rate
from benchmarks.samples import phantoms, trained
from sonoseg.models.engines import QUANTIZED
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.installed import installed
from sonoseg.models.engines.quantized import read_quantized
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader, read_header
from sonoseg.models.networks.heads import predict
from sonoseg.models.summary import summarise_network
from sonoseg.schema.task import Task

TASKS = (("fetal_head", "head"), ("spine", "spine"), ("spine_realtime", "spine"))
IN_8_BITS = ("fetal_head",)
"""Tasks whose model, which comes with SonoSeg, has a conversion to 8 bits."""
DTYPES = {"openvino_bf16": "bfloat16", QUANTIZED: "int8"}
"""Numbers in which an engine computes; all others: in 32 bits."""


def run(root: Path) -> Iterator[Figure]:
    """Yield, for three networks and each engine that runs them, its time compared with plain eager torch."""
    ceilings = {dtype: matrix_product_rate(dtype=dtype) for dtype in ("float32", *DTYPES.values())}
    for name, kind in TASKS:
        header = read_header(trained(root, name, phantoms(root, kind)))
        images = np.random.default_rng(0).random((1, 1, *header.task.input.size), dtype=np.float32)
        operations = 2 * summarise_network(header.task).total_mult_adds
        eager = partial(run_eagerly, load_network(header), torch.from_numpy(images), header.task)
        in_8_bits = [QUANTIZED] if name in IN_8_BITS and "openvino" in installed() else []
        for engine_name in ("torch", *installed(), *in_8_bits):
            engine = load_engine(header, EngineOptions(engine_name, "cpu"))
            before, after, ratio = compare(eager, partial(engine.run, images))
            scores = f" {scores_in_8_bits(header)}" if engine_name == QUANTIZED else ""
            yield Figure(
                name=f"`{name}`, {engine.name}",
                unit="forward pass",
                before=before,
                after=after,
                ratio=ratio,
                before_is="torch, eager, contiguous memory",
                after_is=f"--engine {engine.name}",
                floor=f"{operations / ceilings[DTYPES.get(engine_name, 'float32')] * 1000:.1f} ms",
                remains=remains(engine.agreement, operations / after / 1e9) + scores,
            )


def scores_in_8_bits(header: ModelHeader) -> str:
    """Return a sentence on what the record of a conversion to 8 bits states: Dice and errors of both networks."""
    record, _ = read_quantized(header)
    dice = [f"Dice of {name} {before:.4f} and {after:.4f}" for name, (before, after) in record.dice.items()]
    errors = [f"error of {name} {before:.3f} and {after:.3f}" for name, (before, after) in record.errors.items()]
    return f"In 32 and in 8 bits, on {record.scored_on} validation images: {', '.join(dice + errors)}."


def remains(agreement: float | None, rate: float) -> str:
    """Return a sentence on the network's rate of operations and the engine's agreement with torch."""
    agrees = f" Agrees with torch on {agreement:.3%} of the pixels." if agreement else ""
    return f"{rate:.0f} GFLOP/s.{agrees}"


@torch.inference_mode()
def run_eagerly(network: nn.Module, images: Tensor, task: Task) -> None:
    """Run a network without optimisation: eager, contiguous in memory."""
    predict(network.to(memory_format=torch.contiguous_format), images, task.network)  # type: ignore[call-overload]
