"""Registry of networks. Each takes `(B, 1, h, w)` float and returns logits `(B, outputs, h', w')`; see `heads`.

With deep supervision a network in training mode returns a list: these logits, and those of its coarser outputs.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from monai.networks import nets
from torch import nn

from sonoseg.errors import TaskError
from sonoseg.models.networks.deep_supervision import DeeplySupervisedUNet
from sonoseg.models.networks.heads import output_channels
from sonoseg.models.networks.segnet import SegNetNetwork
from sonoseg.models.networks.unet2015 import UNet2015Network
from sonoseg.schema.network import MONAI_NETWORKS, MonaiNetwork, UNet
from sonoseg.schema.task import Task
from sonoseg.sizes import Size


def unet(settings: UNet, outputs: int) -> nn.Module:
    """MONAI's UNet: strided residual units down, transposed convolutions up (Kerfoot et al. 2018)."""
    arguments: dict[str, Any] = {
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": outputs,
        "channels": settings.channels,
        "strides": settings.strides,
        "num_res_units": settings.residual_units,
        "norm": settings.norm,
        "dropout": settings.dropout,
    }
    if settings.deep_supervision:
        return DeeplySupervisedUNet(len(settings.deep_supervision), **arguments)
    return nets.UNet(**arguments)


def from_monai(kind: type[nn.Module]) -> Callable[[MonaiNetwork, int], nn.Module]:
    """Return a function that builds a network of MONAI with the arguments that the task file gives."""

    def build(settings: MonaiNetwork, outputs: int) -> nn.Module:
        try:
            return kind(spatial_dims=2, in_channels=1, out_channels=outputs, **settings.arguments)
        except Exception as problem:  # what MONAI and PyTorch raise depends on the argument
            raise TaskError(
                f"network.arguments: MONAI's {kind.__name__} does not take {settings.arguments}: {problem}"
            ) from problem

    return build


NETWORKS: dict[str, Callable[[Any, int], nn.Module]] = {
    "unet": unet,
    "unet2015": UNet2015Network,
    "segnet": SegNetNetwork,
    **{name: from_monai(getattr(nets, kind)) for name, kind in MONAI_NETWORKS.items()},
}


def build_network(task: Task) -> nn.Module:
    """Return the task's network with fresh weights, in the memory layout in which convolutions are fastest.

    Raises TaskError for arguments, or an input size, that a network of MONAI does not accept.
    """
    network = NETWORKS[task.network.name](task.network, output_channels(len(task.structures)))
    if isinstance(task.network, MonaiNetwork):
        _check_size(network, task.network.name, task.input.size)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own types


def _check_size(network: nn.Module, name: str, size: Size) -> None:
    """Raise TaskError unless the output has the size of the input, on the meta device, which computes no values."""
    image = torch.empty(1, 1, *size, device="meta")
    try:
        with torch.inference_mode():
            found = tuple(copy.deepcopy(network).to("meta").eval()(image).shape[2:])
        problem = "" if found == size else f"its output has {found[0]}x{found[1]}"
    except (RuntimeError, ValueError, IndexError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        raise TaskError(
            f"input.size: {name} with these arguments does not take {size[0]}x{size[1]} pixels ({problem}); choose "
            "sides that its strides divide, and set network.multiple_of accordingly"
        )
