"""Several processes that train as one: the same batch, the same statistics, the same loss."""

import torch
import torch.distributed
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


def everyones(fabric: Fabric, own: Tensor) -> Tensor:
    """Return the tensors of all processes behind one another, in their order; only the `own` one has a gradient.

    A loss over the whole batch is then the same in every process. Each sees the gradient of its own images alone, and
    the processes' gradients are averaged: multiplied by the number of processes the loss has the gradient of one.
    """
    if fabric.world_size == 1:
        return own
    parts = list(fabric.all_gather(own.detach()))
    parts[fabric.global_rank] = own
    return torch.cat(parts)


def share_statistics(network: nn.Module, world: int) -> nn.Module:
    """Make the batch norms of a network count the images of all processes; alone they stay what they are."""
    if world > 1:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = SharedBatchNorm
    return network


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes. PyTorch's own, SyncBatchNorm, does not work on CPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (B, C, h, w), the same size in every process."""
        if not self.training:
            return super().forward(input)
        values, world = input.float(), torch.distributed.get_world_size()
        mean = all_reduce(values.mean(dim=(0, 2, 3))) / world
        centred = values - mean.view(1, -1, 1, 1)
        variance = all_reduce((centred**2).mean(dim=(0, 2, 3))) / world
        self._remember(mean.detach(), variance.detach(), values.numel() // values.shape[1] * world)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / max(1, count - 1), momentum)
