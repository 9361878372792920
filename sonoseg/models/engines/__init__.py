"""What a network runs on: torch, or an engine that runs a conversion of it in less time. One file per engine."""

NAMES = ("torch", "openvino", "onnxruntime", "openvino_bf16")
"""What `--engine` takes besides `auto`; the parts of each are in `kinds`."""
