"""Tracing of a network for conversion: `predict` as a whole, with activation and tiles."""

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sonoseg.models.networks.heads import predict
from sonoseg.schema.network import AnyNetwork
from sonoseg.sizes import Size


def trace(network: nn.Module, settings: AnyNetwork, size: Size) -> torch.jit.ScriptModule:
    """Return `predict` of a network on the CPU, traced for one image of `size`, with activation and tiles.

    Raises what torch raises for a network that cannot be traced.
    """
    whole = exportable(network, settings)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of sizes that become constants, as they should
        return torch.jit.trace(whole, torch.zeros(1, 1, *size), check_trace=False, strict=False)


def exportable(network: nn.Module, settings: AnyNetwork) -> nn.Module:
    """Return `predict` of a network as a module, in layers that engines support: images `(1, 1, h, w)` of the input
    size -> probabilities `(1, 1 + K, h, w)`.
    """
    return _Predict(network, settings).eval()


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
        free, positions = torch.ones_like(largest), []
        for corner in corners:  # of equal values torch takes the first
            positions.append((corner == largest).to(maps.dtype) * free)
            free = free - positions[-1]
        pairs = torch.stack(positions[:2], dim=-1), torch.stack(positions[2:], dim=-1)
        return largest, torch.stack(pairs, dim=-3)


class _Unpool(nn.Module):
    """Max-unpooling to the positions of the maxima that `_Pool` returns."""

    def forward(self, maps: Tensor, positions: Tensor, output_size: tuple[int, ...]) -> Tensor:
        return (maps[..., :, None, :, None] * positions).flatten(4, 5).flatten(2, 3)


class _SubPixel(nn.Module):
    """A transposed 3x3 convolution of stride 2 as a convolution with four times the channels, which are interleaved.

    Output pixel 2i + p takes from input pixels i and i + 1 (Shi et al. 2016): of the three weights per side, an even
    one takes the middle one at i, an odd one the last at i and the first at i + 1.
    """

    def __init__(self, transposed: nn.ConvTranspose2d):
        super().__init__()
        weight, bias = transposed.weight.detach(), transposed.bias  # (in, out, 3, 3), (out,)
        taps = weight.new_zeros(2, 2, 3)  # parity, input pixel, weight
        taps[0, 0, 1] = taps[1, 0, 2] = taps[1, 1, 0] = 1
        spread = torch.einsum("ioyx,pty,qsx->opqits", weight, taps, taps)
        self.convolution = nn.Conv2d(transposed.in_channels, 4 * transposed.out_channels, kernel_size=2)
        self.convolution.weight.data = spread.flatten(0, 2)
        assert self.convolution.bias is not None
        bias = weight.new_zeros(transposed.out_channels) if bias is None else bias.detach()
        self.convolution.bias.data = bias.repeat_interleave(4)

    def forward(self, maps: Tensor) -> Tensor:
        return functional.pixel_shuffle(self.convolution(functional.pad(maps, (0, 1, 0, 1))), 2)


_MAX_CHANNELS = 4
"""Up to so many output channels a transposed convolution takes engines longer than `_SubPixel`."""


def exportable_layer(layer: nn.Module) -> nn.Module | None:
    """Return an equivalent of a layer that engines do not support, or run slowly; None for all other layers."""
    replace = _REPLACEMENTS.get(type(layer))
    return replace(layer) if replace else None


def _sub_pixel(layer: nn.ConvTranspose2d) -> nn.Module | None:
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.dilation, layer.groups)
    fits = layer.out_channels <= _MAX_CHANNELS and shape == ((3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1)
    return _SubPixel(layer) if fits else None


_REPLACEMENTS: dict[type[nn.Module], Callable[[Any], nn.Module | None]] = {
    nn.MaxPool2d: lambda layer: _Pool(),
    nn.MaxUnpool2d: lambda layer: _Unpool(),
    nn.ConvTranspose2d: _sub_pixel,
}
"""Type of a layer -> its equivalent, None when the layer can stay as it is."""


def _exportable(network: nn.Module) -> nn.Module:
    """Return a copy of the network in which layers are replaced by their `exportable_layer`."""
    network = copy.deepcopy(network)
    unpools = any(isinstance(layer, nn.MaxUnpool2d) for layer in network.modules())
    for layer in list(network.modules()):
        for name, child in layer.named_children():
            replacement = exportable_layer(child)
            if replacement is not None and (unpools or not isinstance(replacement, _Pool)):  # for `_Unpool` only
                setattr(layer, name, replacement)
    return network
