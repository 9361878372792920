"""OpenVINO: the fastest on the CPUs that SonoSeg was measured on."""

import sys
from collections import deque
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sonoseg.models.engines.base import EngineType, Files, Run
from sonoseg.types import Maps

_SETTINGS = {
    # Its threads share the cores with those that decode and write: none of them should be tied to one.
    "ENABLE_CPU_PINNING": False,
}


def convert(traced: Any, size: tuple[int, int]) -> Files:
    """Return `.xml` and `.bin` of a traced network, weights in float32. Raises what OpenVINO raises."""
    import torch

    openvino = _openvino()
    model = openvino.convert_model(traced, example_input=torch.zeros(1, 1, *size), input=[1, 1, *size])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "network.xml"
        openvino.save_model(model, file, compress_to_fp16=False)
        return {suffix: file.with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin")}


def start(files: Files, num_threads: int, precision: str = "f32") -> Run:
    """Return the network, ready to run on the CPU. `precision` is never left to OpenVINO, which would take bfloat16 on
    one machine and float32 on another: their results would differ."""
    core = _core()
    model = core.read_model(files[".xml"], files[".bin"])
    share = (
        {"NUM_STREAMS": num_threads, "INFERENCE_NUM_THREADS": num_threads}
        if num_threads
        else {"PERFORMANCE_HINT": "LATENCY"}
    )
    compiled = core.compile_model(model, "CPU", {**_SETTINGS, **share, "INFERENCE_PRECISION_HINT": precision})
    idle: deque[Any] = deque()

    def run(images: Maps) -> Maps:
        try:
            request = idle.pop()
        except IndexError:  # as many requests as there have been num_threads at once
            request = compiled.create_infer_request()
        maps = [request.infer({0: one[None]}, share_inputs=True)[0] for one in np.ascontiguousarray(images)]
        idle.append(request)
        return maps[0] if len(maps) == 1 else np.concatenate(maps)

    # OpenVINO's binding to NumPy sets itself up at the first use, and two threads that are first at once wait for each
    # other for ever: so the first use is here.
    run(np.zeros(compiled.input(0).shape, np.float32))
    return run


@cache
def _core() -> Any:
    """Return the process's only OpenVINO, kept to its end.

    Where Python's faulthandler is on (`-X dev`, pytest), each one puts a stack of its own in the place of the one that
    signals are handled on, and unmaps it at its end without putting the other back: the next Ctrl-C would be a crash.
    """
    return _openvino().Core()


def _openvino() -> Any:
    """Import OpenVINO without the package through which it reports each import to its makers over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: not to be imported
    import openvino

    return openvino


OPENVINO = EngineType("openvino", "openvino", convert, start)
OPENVINO_BF16 = EngineType(
    "openvino", "openvino", convert, partial(start, precision="bf16"), explicit_only=True, tolerance=0.25
)
