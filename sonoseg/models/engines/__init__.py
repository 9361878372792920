"""Inference engines: torch, and engines that run a conversion of the network. A module per library."""

CONVERTED = {
    "openvino": "openvino_engine.OPENVINO",
    "onnxruntime": "onnxruntime_engine.ONNXRUNTIME",
    "openvino_bf16": "openvino_engine.OPENVINO_BF16",
}
"""Engines that run a conversion: name -> module and name of its `EngineType`, which `installed` imports."""

QUANTIZED = "openvino_int8"
"""The engine that runs a conversion to 8 bits, see `quantized`."""

ENGINE_NAMES = ("torch", *CONVERTED, QUANTIZED)
"""Names of all engines; `auto` stands for the fastest that agrees with torch."""
