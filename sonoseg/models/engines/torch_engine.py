"""torch: runs every network, on the CPU and on CUDA, and is what the other engines are converted from."""

from collections.abc import Callable

import torch
from torch import Tensor

from sonoseg.models.engines.base import Engine, Run
from sonoseg.models.networks.heads import predict
from sonoseg.models.predictor import Predictor
from sonoseg.schema.network import AnyNetwork
from sonoseg.schema.task import Task
from sonoseg.types import Maps


def torch_engine(network: Callable[[Tensor], Tensor], task: Task, device: str = "cpu") -> Engine:
    """Return the engine of a network that is on `device`, ready to predict."""
    return Engine(runner(network, task.network, device), "torch", torch.__version__)


def runner(network: Callable[[Tensor], Tensor], settings: AnyNetwork, device: str = "cpu") -> Run:
    """Return images `(B, 1, h, w)` float32 -> probabilities `(B, 1 + K, h, w)` of a network on `device`."""

    def run(images: Maps) -> Maps:
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            return predict(network, batch, settings).cpu().numpy()  # type: ignore[arg-type]  # any callable will do

    return run


def torch_predictor(network: Callable[[Tensor], Tensor], task: Task, device: torch.device | str = "cpu") -> Predictor:
    """Return the predictor of a network in evaluation mode that is on `device`."""
    return Predictor(runner(network, task.network, str(device)), task.enhancement, task.input)
