"""How long a training step takes on this machine."""

import statistics
import time

import torch

from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task
from sonoseg.training.losses import SegmentationLoss
from sonoseg.training.optimizer import build_optimizer
from sonoseg.training.processes import start_fabric

WARM_UP, TIMED = 3, 20
"""Steps before the clock starts, and those that are timed."""


def has_gpu() -> bool:
    """Return whether a training would run on a GPU here."""
    return torch.cuda.is_available()


def seconds_per_step(task: Task) -> float:
    """Return the median time of a training step of the task's network on random images, in seconds.

    It leaves the state of PyTorch's random numbers as it was.
    """
    fabric = start_fabric("auto", 1, "auto")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(task)
        network, optimizer = fabric.setup(network, build_optimizer(task.training.optimizer, network.parameters()))
        loss = SegmentationLoss(task.training.loss, task.is_binary, coarser_weights=task.network.coarser_weights)
        images = fabric.to_device(torch.randn(task.training.batch_size, 1, *task.input.size))
        labels = fabric.to_device(torch.randint(0, 2, (task.training.batch_size, 1, *task.output_size)))
        network.train()
        times = []
        for _ in range(WARM_UP + TIMED):
            began = time.perf_counter()
            optimizer.zero_grad()
            outputs = network(images)
            first, *coarser = [outputs] if isinstance(outputs, torch.Tensor) else outputs
            total = loss(first, labels, 0, coarser=coarser)["total"]
            fabric.backward(total)
            optimizer.step()
            total.item()  # waits for a GPU
            times.append(time.perf_counter() - began)
    return statistics.median(times[WARM_UP:])
