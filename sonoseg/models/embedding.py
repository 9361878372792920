"""Embedding of images: what the deepest layer of a network has computed, averaged over the image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader
from sonoseg.models.predictor import prepare
from sonoseg.types import Pixels

Embedding = NDArray[np.float32]


def embedder(header: ModelHeader, device: str = "cpu") -> Callable[[Pixels], Embedding]:
    """Return the function from a grey image `(H, W)` uint8 to its embedding `(2 C,)` float32.

    The bottleneck is the layer whose output has the fewest pixels, the last of several: its C channels, as mean and
    standard deviation over the image. Raises ModelError as `load_network` does.
    """
    network = load_network(header, device)

    def embed(image: Pixels) -> Embedding:
        values = torch.from_numpy(prepare(image, header.task.enhancement, header.task.input).values).to(device)
        deepest = bottleneck(network, values)
        flat = deepest[0].flatten(1).float()
        both = torch.cat([flat.mean(dim=1), flat.std(dim=1, unbiased=False)])
        return both.cpu().numpy().astype(np.float32)

    return embed


def bottleneck(network: nn.Module, values: Tensor) -> Tensor:
    """Return the output `(1, C, h, w)` with the fewest pixels of all layers, for an input `(1, 1, H, W)`."""
    found: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            size = output.shape[2] * output.shape[3]
            if not found or size <= found[0].shape[2] * found[0].shape[3]:
                found[:] = [output]

    layers = [module for module in network.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        with torch.inference_mode():
            network(values)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0]
