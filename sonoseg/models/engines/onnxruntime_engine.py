"""ONNX Runtime: an optional extra, for machines on which OpenVINO is not available or not the fastest."""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from sonoseg.models.engines.base import Conversion, EngineType, NetworkFunction
from sonoseg.types import Maps

_OPSET = 17


def convert(traced: Any, size: tuple[int, int]) -> Conversion:
    """Return the `.onnx` file of a traced network. Raises what torch's exporter raises."""
    import torch

    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the arguments of a trace have no names
        file = Path(folder) / "network.onnx"
        # The newer exporter needs the network itself, and cannot take a trace.
        torch.onnx.export(traced, (torch.zeros(1, 1, *size),), file, opset_version=_OPSET, dynamo=False)
        return {".onnx": file.read_bytes()}


def start(files: Conversion, num_threads: int) -> NetworkFunction:
    """Return the network, ready to run on the CPU; see `EngineType.start`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: warnings are about the graph, and the results are compared anyway
    options.intra_op_num_threads = 1 if num_threads else 0
    session = onnxruntime.InferenceSession(files[".onnx"], options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Maps) -> Maps:
        maps = [session.run(None, {name: image[None]})[0] for image in np.ascontiguousarray(images)]
        return maps[0] if len(maps) == 1 else np.concatenate(maps)

    return run


ONNXRUNTIME = EngineType("onnxruntime", "onnxruntime onnx", convert, start)
