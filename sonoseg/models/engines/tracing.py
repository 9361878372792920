"""Tracing of a network for conversion: `predict` as a whole, with activation and tiles."""

import copy
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional

from sonoseg.models.networks.heads import predict
from sonoseg.schema.network import AnyNetwork
from sonoseg.schema.task import Task


def trace(network: nn.Module, task: Task) -> torch.jit.ScriptModule:
    """Return `predict` of a network on the CPU, recorded for one image of the task's size: activation and tiles too.

    Raises what torch raises for a network whose steps depend on its values.
    """
    whole = _Predict(network, task.network).eval()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # sizes become constants, which is what is wanted here
        return torch.jit.trace(whole, torch.zeros(1, 1, *task.input.size), check_trace=False, strict=False)


class _Predict(nn.Module):
    def __init__(self, network: nn.Module, settings: AnyNetwork):
        super().__init__()
        self.network, self.settings = _exportable(network), settings

    def forward(self, images: Tensor) -> Tensor:
        return predict(self.network, images, self.settings)


class _Pool(nn.Module):
    """Max-pooling of 2x2 windows; the second output `(B, C, h, 2, w, 2)` is 1 at each maximum and 0 elsewhere."""

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


class _SubPixel(nn.Module):
    """A transposed convolution of stride 2 as a plain one with four times the maps, which are then interleaved.

    Output pixel 2i + p takes from input pixels i and i + 1 (Shi et al. 2016): of the three weights per side, an even
    one takes the middle one at i, an odd one the last at i and the first at i + 1.
    """

    def __init__(self, plain: nn.ConvTranspose2d):
        super().__init__()
        weight = plain.weight.detach()  # (in, out, 3, 3)
        taps = weight.new_zeros(2, 2, 3)  # parity, input pixel, weight
        taps[0, 0, 1] = taps[1, 0, 2] = taps[1, 1, 0] = 1
        spread = torch.einsum("ioyx,pty,qsx->opqits", weight, taps, taps)
        self.convolution = nn.Conv2d(plain.in_channels, 4 * plain.out_channels, kernel_size=2)
        self.convolution.weight.data = spread.flatten(0, 2)
        assert self.convolution.bias is not None
        self.convolution.bias.data = (
            weight.new_zeros(4 * plain.out_channels) if plain.bias is None else plain.bias.detach().repeat_interleave(4)
        )

    def forward(self, maps: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.convolution(functional.pad(maps, (0, 1, 0, 1))), 2)


_FEW = 4
"""Maps that come out of a transposed convolution: up to so many, engines take longer for it than for `_SubPixel`."""


def exportable_layer(layer: nn.Module) -> nn.Module | None:
    """Return an equivalent of a layer that engines do not support, or run slowly; None for all other layers."""
    if isinstance(layer, nn.MaxPool2d):
        return _Pool()
    if isinstance(layer, nn.MaxUnpool2d):
        return _Unpool()
    if isinstance(layer, nn.ConvTranspose2d) and layer.out_channels <= _FEW:
        shape = (layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.dilation, layer.groups)
        return _SubPixel(layer) if shape == ((3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1) else None
    return None


def _exportable(network: nn.Module) -> nn.Module:
    """Return a copy of the network in which such layers are replaced by their `exportable_layer`."""
    network = copy.deepcopy(network)
    unpools = any(isinstance(layer, nn.MaxUnpool2d) for layer in network.modules())
    for layer in list(network.modules()):
        for name, child in layer.named_children():
            replacement = exportable_layer(child)
            if replacement is not None and (unpools or not isinstance(replacement, _Pool)):  # for `_Unpool` only
                setattr(layer, name, replacement)
    return network
