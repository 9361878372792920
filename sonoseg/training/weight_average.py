"""The exponential moving average of a network's weights, which is less noisy than the weights of any one step."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Update = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


def averaged(network: nn.Module, decay: float, device: torch.device) -> AveragedModel:
    """Return the average of a network's weights and statistics on `device`, to be updated after each step.

    Its first update copies the network. The decay rises from 0.18 to `decay` in the course of the steps, so that the
    initial weights are soon forgotten; the module with the averaged weights is `.module`.
    """
    return AveragedModel(network, device, multi_avg_fn=_moving_average(decay), use_buffers=True)


def _moving_average(decay: float) -> Update:
    @torch.no_grad()
    def update(averages: Sequence[Tensor], values: Sequence[Tensor], count: Tensor | int) -> None:
        rising = min(decay, (1 + int(count)) / (10 + int(count)))  # the warm-up of TensorFlow's moving average
        if averages[0].is_floating_point():
            torch._foreach_lerp_(list(averages), list(values), 1 - rising)
        else:  # numbers of batches
            for average, value in zip(averages, values, strict=True):
                average.copy_(value)

    return update
