"""Networks by name. Each takes `(B, 1, h, w)` float and returns logits `(B, 1 + classes, h, w)`."""

from collections.abc import Callable

from monai.networks.nets import UNet
from torch import nn

from sonoseg.core.errors import TaskError, choices
from sonoseg.core.task import Network, Task


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
    """Return the task's network with fresh weights. Raises TaskError for an unknown name, listing the choices."""
    if task.network.name not in NETWORKS:
        raise TaskError(f"network.name: {task.network.name!r} is unknown; expected {choices(sorted(NETWORKS))}")
    return NETWORKS[task.network.name](task.network, 1 + len(task.structures))
