"""The engines that run a network: torch, or a faster one that runs a conversion of it. One module per engine."""

CONVERTED = {
    "openvino": "openvino_engine.OPENVINO",
    "onnxruntime": "onnxruntime_engine.ONNXRUNTIME",
    "openvino_bf16": "openvino_engine.OPENVINO_BF16",
}
"""Engines that run a conversion: name -> module and name of the EngineType, imported by `installed`."""

NAMES = ("torch", *CONVERTED)
"""All engines by name; `auto` is the fastest of those that agree with torch."""
