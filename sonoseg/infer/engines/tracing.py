"""A network recorded for the engines: what they convert is `predict` as a whole, activation and tiles included."""

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

from sonoseg.core.task import Task
from sonoseg.train.networks.heads import predict


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


class _Pool(nn.Module):
    """Max-pooling of 2x2 windows; where the maximum was is told by four maps `(B, C, h, 2, w, 2)` of 0 and 1."""

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        upper, lower = maps[..., 0::2, :], maps[..., 1::2, :]
        corners = [upper[..., 0::2], upper[..., 1::2], lower[..., 0::2], lower[..., 1::2]]
        largest = functional.max_pool2d(maps, 2)
        free, places = torch.ones_like(largest), []
        for corner in corners:  # of equal ones torch takes the first
            places.append((corner == largest).to(maps.dtype) * free)
            free = free - places[-1]
        pairs = torch.stack(places[:2], dim=-1), torch.stack(places[2:], dim=-1)
        return largest, torch.stack(pairs, dim=-3)


class _Unpool(nn.Module):
    """Max-unpooling to where `_Pool` found the maxima."""

    def forward(self, maps: Tensor, places: Tensor, output_size: tuple[int, ...]) -> Tensor:
        return (maps[..., :, None, :, None] * places).flatten(4, 5).flatten(2, 3)


_IN_OTHER_WORDS: dict[type[nn.Module], type[nn.Module]] = {nn.MaxPool2d: _Pool, nn.MaxUnpool2d: _Unpool}
"""Steps of SegNet that engines do not know, or only know slowly, and the same in steps that they know."""


def _convertible(network: nn.Module) -> nn.Module:
    """Return the network, or, when it unpools, a copy in other words."""
    if not any(isinstance(layer, nn.MaxUnpool2d) for layer in network.modules()):
        return network
    network = copy.deepcopy(network)
    for layer in list(network.modules()):
        for name, child in layer.named_children():
            if type(child) in _IN_OTHER_WORDS:
                setattr(layer, name, _IN_OTHER_WORDS[type(child)]())
    return network
