"""ONNX and OpenVINO: a model as one graph from the image to the label map, with everything between inside."""

import warnings
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from sonoseg.errors import UsageError
from sonoseg.export.facts import facts_of
from sonoseg.models.engines.base import Conversion
from sonoseg.models.engines.openvino_engine import files_of, openvino_core
from sonoseg.models.engines.tracing import exportable
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader
from sonoseg.models.networks.whole_image import WholeImage

OPSET = 20
_HEIGHT, _WIDTH = "height", "width"


def whole_image(model: ModelHeader) -> WholeImage:
    """Return the model between the fit of an image and its inverse, on the CPU, in layers that can be exported."""
    task = model.task
    network = exportable(load_network(model), task.network)
    threshold = task.postprocessing.threshold
    return WholeImage(
        network, task.input.size, task.input.fit, task.input.intensity, threshold, task.input.square_px or 0
    ).eval()


def onnx_file(model: ModelHeader) -> bytes:
    """Return the model as an ONNX file.

    Input `image` `(height, width)` uint8; outputs `mask` `(height, width)` uint8 and `probabilities`
    `(1 + K, height, width)` float32. The facts are its `metadata_props`. Raises UsageError where onnx is not installed,
    and what torch raises for a network that cannot be traced.
    """
    _require("onnx", "onnxruntime")
    import onnx

    sizes = {0: _HEIGHT, 1: _WIDTH}
    with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of sizes that become constants: those of the network's input should
        file = Path(folder) / "model.onnx"
        # The newer exporter needs one more package, and its graphs of these networks are not faster.
        torch.onnx.export(
            whole_image(model),
            (torch.zeros(400, 501, dtype=torch.uint8),),
            file,
            opset_version=OPSET,
            dynamo=False,
            input_names=["image"],
            output_names=["mask", "probabilities"],
            dynamic_axes={"image": sizes, "mask": sizes, "probabilities": {1: _HEIGHT, 2: _WIDTH}},
        )
        graph = onnx.load(file)
    onnx.helper.set_model_props(graph, facts_of(model))
    onnx.checker.check_model(graph)
    return graph.SerializeToString(deterministic=True)


def openvino_files(model: ModelHeader) -> Conversion:
    """Return the model for OpenVINO, suffix -> content of `.xml` and `.bin`; inputs and outputs are those of ONNX.

    The facts are the runtime information `sonoseg` of the file. Raises as `onnx_file` does.
    """
    graph = openvino_core().read_model(onnx_file(model))
    for name, text in facts_of(model).items():
        graph.set_rt_info(text, ["sonoseg", name])
    return files_of(graph)


def _require(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise UsageError(f"the export needs {' and '.join(missing)}; run pip install {' '.join(packages)}")
