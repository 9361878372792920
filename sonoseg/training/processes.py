"""Devices and processes of a training; several processes train as one: same batch, same statistics, same loss."""

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

from sonoseg.errors import UsageError
from sonoseg.models.determinism import set_deterministic


def start_fabric(device: str, devices: int, precision: Any, deterministic: bool = False) -> Fabric:
    """Return a launched Fabric: it runs the plain loop on a CPU, a GPU, or several processes under torchrun.

    device: `auto`, `cpu` or `cuda`. precision: `auto` (bf16 where the hardware supports it), `32-true`, `bf16-mixed` or
    `16-mixed`. deterministic: use deterministic kernels in this process from now on; an operation without one raises.

    Raises UsageError when device or precision are not available here.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda: no CUDA device is available here; use device cpu")
    if precision == "16-mixed" and (device == "cpu" or not torch.cuda.is_available()):
        raise UsageError("precision 16-mixed needs a CUDA device; use auto, bf16-mixed or 32-true on a CPU")
    if precision == "auto":
        precision = "bf16-mixed" if _has_bf16(device) else "32-true"
    set_deterministic(deterministic)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it prints the precision of its own accord
    nodes = max(1, int(os.environ.get("WORLD_SIZE", 1)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    try:
        fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, precision=precision)
        fabric.launch()
    except (ValueError, RuntimeError) as error:  # more devices than there are, a notebook, a mismatch with torchrun
        raise UsageError(f"device {device}, {devices} devices or processes: {error}") from error
    return fabric


@contextmanager
def process_group() -> Iterator[None]:
    """Leave the process group at the end of the block, whose networks have gone out of scope by then.

    The threads of gloo release the tensors of the last exchange, for which they need Python. Where they still run when
    the interpreter ends, the process is aborted (SIGABRT). They end with the last reference to the group, which a
    network's DistributedDataParallel holds.
    """
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
            gc.collect()


def _has_bf16(device: str) -> bool:
    """Return whether bfloat16 has hardware support here; where it is emulated, it is slower than 32 bits."""
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def all_gather_batch(fabric: Fabric, share: Tensor) -> Tensor:
    """Return the shares of all processes, concatenated along the batch dimension in the order of their ranks.

    Only this process's `share` has a gradient, so that a loss over the whole batch has the same value in every process
    and the gradient of this share. Fabric averages the gradients over the processes: the loss multiplied by their
    number has the gradient of the whole batch.
    """
    if fabric.world_size == 1:
        return share
    shares = list(fabric.all_gather(share.detach()))
    shares[fabric.global_rank] = share
    return torch.cat(shares)


def synchronise_batch_norm(network: nn.Module, world: int) -> nn.Module:
    """Make the batch norms of a network use the statistics of all processes, in place; unchanged for a single one."""
    if world > 1:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = SynchronisedBatchNorm
    return network


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the images of all processes. PyTorch's SyncBatchNorm does not run on CPUs."""

    def forward(self, input: Tensor) -> Tensor:
        """`input` (B, C, h, w), the same size in every process."""
        if not self.training:
            return super().forward(input)
        values, world = input.float(), torch.distributed.get_world_size()
        mean = all_reduce(values.mean(dim=(0, 2, 3))) / world
        centred = values - mean.view(1, -1, 1, 1)
        variance = all_reduce((centred**2).mean(dim=(0, 2, 3))) / world
        self._update_running_statistics(mean.detach(), variance.detach(), values.numel() // values.shape[1] * world)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(input.dtype)

    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        momentum = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / max(1, count - 1), momentum)
