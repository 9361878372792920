"""Networks by name. Each takes `(B, 1, h, w)` float and returns logits `(B, 1 + classes, h, w)`."""

from collections.abc import Callable

import torch
from monai.networks.nets import UNet
from torch import Tensor, nn

from sonoseg.core.task import Task
from sonoseg.core.task_sections import Network


def unet(settings: Network, outputs: int) -> nn.Module:
    """MONAI's UNet: strided residual units down, transposed convolutions up (Kerfoot et al. 2018)."""
    return UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=outputs,
        channels=settings.channels,
        strides=settings.strides,
        num_res_units=settings.residual_units,
        norm=settings.norm,
        dropout=settings.dropout,
    )


NETWORKS: dict[str, Callable[[Network, int], nn.Module]] = {"unet": unet}


def build_network(task: Task) -> nn.Module:
    """Return the task's network with fresh weights, in the memory layout in which convolutions are fastest."""
    network = NETWORKS[task.network.name](task.network, 1 + len(task.structures))
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's own types


def activate(logits: Tensor) -> Tensor:
    """Turn logits `(B, 1 + K, h, w)` into probabilities that sum to 1 over the classes, background included."""
    return torch.softmax(logits.float(), dim=1)
