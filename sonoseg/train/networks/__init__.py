"""Networks by name. Each takes `(B, 1, h, w)` float and returns logits `(B, outputs, h', w')`, see `heads`."""

from collections.abc import Callable
from typing import Any

import torch
from monai.networks import nets
from torch import nn

from sonoseg.core.errors import TaskError
from sonoseg.core.task import Task
from sonoseg.core.training_sections import MonaiNetwork, UNet
from sonoseg.train.networks.heads import outputs_of
from sonoseg.train.networks.segnet import SegNetNetwork
from sonoseg.train.networks.unet2015 import UNet2015Network


def unet(settings: UNet, outputs: int) -> nn.Module:
    """MONAI's UNet: strided residual units down, transposed convolutions up (Kerfoot et al. 2018)."""
    return nets.UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=outputs,
        channels=settings.channels,
        strides=settings.strides,
        num_res_units=settings.residual_units,
        norm=settings.norm,
        dropout=settings.dropout,
    )


def from_monai(kind: type[nn.Module]) -> Callable[[MonaiNetwork, int], nn.Module]:
    """Return a builder for a network of MONAI, which takes its arguments from the task as they stand."""

    def build(settings: MonaiNetwork, outputs: int) -> nn.Module:
        try:
            return kind(spatial_dims=2, in_channels=1, out_channels=outputs, **settings.arguments)
        except (TypeError, ValueError, AssertionError) as problem:
            raise TaskError(
                f"network.arguments: MONAI's {kind.__name__} does not take {settings.arguments}: {problem}"
            ) from problem

    return build


NETWORKS: dict[str, Callable[[Any, int], nn.Module]] = {
    "unet": unet,
    "unet2015": UNet2015Network,
    "segnet": SegNetNetwork,
    "attention_unet": from_monai(nets.AttentionUnet),  # Oktay et al. 2018
    "segresnet": from_monai(nets.SegResNet),  # residual units throughout, Myronenko 2018
}


def build_network(task: Task) -> nn.Module:
    """Return the task's network with fresh weights, in the memory layout in which convolutions are fastest.

    Raises TaskError for arguments that a network of MONAI does not take.
    """
    network = NETWORKS[task.network.name](task.network, outputs_of(task))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own types
