"""torch: runs every network, on the CPU and on CUDA; the reference with which other engines are compared."""

from collections.abc import Callable

import torch
from torch import Tensor

from sonoseg.models.engines.base import Engine, NetworkFunction
from sonoseg.models.networks.heads import predict
from sonoseg.models.predictor import Predictor
from sonoseg.schema.images import Enhancement, Input
from sonoseg.schema.network import AnyNetwork
from sonoseg.types import Maps


def torch_engine(
    network: Callable[[Tensor], Tensor], settings: AnyNetwork, device: str = "cpu", sha256: str = ""
) -> Engine:
    """Return the engine of a network in evaluation mode that is on `device`; `sha256` of its model file."""
    return Engine(network_function(network, settings, device), "torch", torch.__version__, sha256)


def network_function(network: Callable[[Tensor], Tensor], settings: AnyNetwork, device: str = "cpu") -> NetworkFunction:
    """Return the function from images to probabilities of a network in evaluation mode that is on `device`."""

    def run(images: Maps) -> Maps:
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            return predict(network, batch, settings).cpu().numpy()  # type: ignore[arg-type]  # a plain function is a network too

    return run


def torch_predictor(
    network: Callable[[Tensor], Tensor],
    settings: AnyNetwork,
    enhancement: Enhancement,
    fit: Input,
    device: torch.device | str = "cpu",
) -> Predictor:
    """Return the predictor of a network in evaluation mode that is on `device`."""
    return Predictor(network_function(network, settings, str(device)), enhancement, fit)
