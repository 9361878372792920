"""torch: runs every network, on the CPU and on CUDA, and is what the other engines are converted from."""

import copy
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sonoseg.core.task import Task
from sonoseg.infer.engines.base import Engine, Maps, Run
from sonoseg.train.networks.heads import predict


def torch_engine(network: Callable[[Tensor], Tensor], task: Task, device: str = "cpu") -> Engine:
    """Return the engine of a network that is on `device`, ready to predict."""
    return Engine(runner(network, task, device), "torch", torch.__version__)


def runner(network: Callable[[Tensor], Tensor], task: Task, device: str = "cpu") -> Run:
    def run(images: Maps) -> Maps:
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(device, memory_format=torch.channels_last)
            return predict(network, batch, task).cpu().numpy()  # type: ignore[arg-type]  # any callable will do

    return run


def trace(network: nn.Module, task: Task) -> torch.jit.ScriptModule:
    """Return `predict` of a network on the CPU, recorded for one image of the task's size: activation and tiles too.

    Raises what torch raises for a network whose steps depend on its values.
    """
    whole = _Whole(network, task).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # sizes become constants, which is what is wanted here
        return torch.jit.trace(whole, torch.zeros(1, 1, *task.input.size), check_trace=False, strict=False)


class _Whole(nn.Module):
    def __init__(self, network: nn.Module, task: Task):
        super().__init__()
        self.network, self.task = _convertible(network), task

    def forward(self, images: Tensor) -> Tensor:
        return predict(self.network, images, self.task)


class _UnpoolByPlace(nn.Module):
    """Max-unpooling of 2x2 windows in steps that engines know: each value goes to all four places and stays at one."""

    def forward(self, maps: Tensor, indices: Tensor, output_size: tuple[int, ...]) -> Tensor:
        height, width = int(output_size[-2]), int(output_size[-1])
        places = torch.arange(height * width).view(1, 1, height, width)
        return _fourfold(maps) * (_fourfold(indices) == places).to(maps.dtype)


def _fourfold(maps: Tensor) -> Tensor:
    return maps.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)


def _convertible(network: nn.Module) -> nn.Module:
    """Return the network, or a copy in which steps that no engine knows are put in other words."""
    if not any(isinstance(layer, nn.MaxUnpool2d) for layer in network.modules()):
        return network
    network = copy.deepcopy(network)
    for layer in list(network.modules()):
        for name, child in layer.named_children():
            if isinstance(child, nn.MaxUnpool2d):
                setattr(layer, name, _UnpoolByPlace())
    return network
