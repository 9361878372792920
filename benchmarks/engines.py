"""One forward pass of one image by each engine, batch 1."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.compare import Figure, compare, matrix_product_rate, seconds_of
from benchmarks.samples import phantoms, trained
from sonoseg.models.engines import QUANTIZED
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.engines.installed import installed
from sonoseg.models.engines.quantized import read_quantized
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader, read_header
from sonoseg.models.networks.heads import predict
from sonoseg.models.registry import registered_models
from sonoseg.models.summary import summarise_network
from sonoseg.schema.task import Task

TASKS = (("fetal_head", "head"), ("spine", "spine"), ("spine_realtime", "spine"))


def run(root: Path) -> Iterator[Figure]:
    """Yield, for three networks and each installed engine, its time compared with plain eager torch.

    The model that comes with SonoSeg is the only one with a conversion to 8 bits.
    """
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
    if "openvino" in installed():
        yield in_8_bits()


def in_8_bits() -> Figure:
    """Compare the conversion of the shipped `fetal_head` to 8 bits with plain eager torch."""
    header = shipped_header("fetal_head")
    images = np.random.default_rng(0).random((1, 1, *header.task.input.size), dtype=np.float32)
    operations = 2 * summarise_network(header.task).total_mult_adds
    eager = partial(run_eagerly, load_network(header), torch.from_numpy(images), header.task)
    before, after, ratio = compare(eager, partial(load_engine(header, EngineOptions(QUANTIZED, "cpu")).run, images))
    return Figure(
        name=f"`fetal_head` as it comes with SonoSeg, {QUANTIZED}",
        unit="forward pass",
        before=before,
        after=after,
        ratio=ratio,
        before_is="torch, eager, contiguous memory",
        after_is=f"--engine {QUANTIZED}",
        floor=f"{operations / integer_product_rate() * 1000:.1f} ms",
        remains=f"{operations / after / 1e9:.0f} G operations a second. {scores_in_8_bits(header)}",
    )


def shipped_header(name: str) -> ModelHeader:
    """Return the header of a model that comes with SonoSeg."""
    return read_header(next(entry.path for entry in registered_models() if entry.name == name))


def scores_in_8_bits(header: ModelHeader) -> str:
    """Return a sentence on what the record of a conversion to 8 bits states: Dice and errors of both networks."""
    record, _ = read_quantized(header)
    dice = [f"Dice of {name} {before:.4f} and {after:.4f}" for name, (before, after) in record.dice.items()]
    errors = [f"error of {name} {before:.3f} and {after:.3f}" for name, (before, after) in record.errors.items()]
    return f"In 32 and in 8 bits, on {record.scored_on} validation images: {', '.join(dice + errors)}."


def integer_product_rate(size: int = 2048) -> float:
    """Return the machine's maximal rate: operations per second of a square matrix product of 8-bit integers."""
    matrix = torch.randint(-128, 127, (size, size), dtype=torch.int8)
    best = min(seconds_of(lambda: torch._int_mm(matrix, matrix)) for _ in range(30))
    return float(2 * size**3 / best)


def remains(agreement: float | None, rate: float) -> str:
    """Return a sentence on the network's rate of operations and the engine's agreement with torch."""
    agrees = f" Agrees with torch on {agreement:.3%} of the pixels." if agreement else ""
    return f"{rate:.0f} GFLOP/s.{agrees}"


@torch.inference_mode()
def run_eagerly(network: nn.Module, images: Tensor, task: Task) -> None:
    """Run a network without optimisation: eager, contiguous in memory."""
    predict(network.to(memory_format=torch.contiguous_format), images, task.network)  # type: ignore[call-overload]
