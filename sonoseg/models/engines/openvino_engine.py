"""OpenVINO, the fastest engine on the CPUs on which SonoSeg was measured."""

import sys
from collections import deque
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sonoseg.models.engines.base import Conversion, EngineType, NetworkFunction
from sonoseg.models.probe import TOLERANCE_FEW_BITS
from sonoseg.types import Maps

_SETTINGS = {
    # Its threads share the cores with the threads that decode and write images.
    "ENABLE_CPU_PINNING": False,
}


def convert(traced: Any, size: tuple[int, int]) -> Conversion:
    """Return `.xml` and `.bin` of a traced network, weights in float32. Raises what OpenVINO raises."""
    import torch

    openvino = openvino_library()
    return files_of(openvino.convert_model(traced, example_input=torch.zeros(1, 1, *size), input=[1, 1, *size]))


def files_of(model: Any) -> Conversion:
    """Return `.xml` and `.bin` of an OpenVINO model; equal networks give equal bytes."""
    # Names count all layers of the process; with these, equal networks give equal bytes.
    model.set_friendly_name("network")
    for number, layer in enumerate(model.get_ordered_ops()):
        layer.set_friendly_name(f"{layer.get_type_name()}_{number}")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "network.xml"
        openvino_library().save_model(model, file, compress_to_fp16=False)
        return {suffix: file.with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin")}


def start(files: Conversion, num_threads: int, precision: str = "f32") -> NetworkFunction:
    """Return the network, ready to run on the CPU; see `EngineType.start`.

    OpenVINO initialises its NumPy binding at the first call, and two first calls at the same time end in a deadlock.
    `precision` is always set: the default of OpenVINO is bfloat16 on some CPUs and float32 on others.
    """
    core = openvino_core()
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
        except IndexError:  # there are as many requests as there were calls at the same time
            request = compiled.create_infer_request()
        maps = [request.infer({0: image[None]}, share_inputs=True)[0] for image in np.ascontiguousarray(images)]
        idle.append(request)
        return maps[0] if len(maps) == 1 else np.concatenate(maps)

    return run


@cache
def openvino_core() -> Any:
    """Return the only `Core` of the process, which is never destroyed.

    Each core installs an alternate signal stack and unmaps it when it is destroyed, without restoring the earlier one.
    Where Python's faulthandler is enabled (`-X dev`, pytest), the next signal would crash the process.
    """
    return openvino_library().Core()


def openvino_library() -> Any:
    """Import OpenVINO without its telemetry, which would send a report over the network at each import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None prevents the import
    import openvino

    return openvino


OPENVINO = EngineType("openvino", "openvino", convert, start)
OPENVINO_BF16 = EngineType(
    "openvino",
    "openvino",
    convert,
    partial(start, precision="bf16"),
    explicit_only=True,
    tolerance=0.25,
    probe_tolerance=TOLERANCE_FEW_BITS,
)
