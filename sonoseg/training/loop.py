"""One epoch of training and one of validation, written out; `training.py` calls them in turn."""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from sonoseg.errors import ModelError, UsageError
from sonoseg.evaluation.metrics import batch_dice
from sonoseg.models.determinism import set_deterministic
from sonoseg.models.networks.heads import activate, target_of
from sonoseg.postprocess.class_map import class_map
from sonoseg.schema.task import Task
from sonoseg.training.checkpoint import UnderWay
from sonoseg.training.datasets import Batch, Loader
from sonoseg.training.losses import SegmentationLoss
from sonoseg.training.processes import everyones
from sonoseg.training.stopping import Check

Advance = Callable[[], None]


def nothing() -> None:
    pass


def start_fabric(device: str, devices: int, precision: Any, deterministic: bool = False) -> Fabric:
    """Return a launched Fabric: the plain loop's hands on one CPU, one GPU, or several processes under torchrun.

    With `deterministic` all that follows in this process gives the same bits every time, or is refused. Raises
    UsageError when CUDA is asked for and is not there, or numbers that only a GPU has.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is available here; use --device cpu")
    if precision == "16-mixed" and (device == "cpu" or not torch.cuda.is_available()):
        raise UsageError("--precision 16-mixed needs a CUDA device; use auto, bf16-mixed or 32-true on a CPU")
    if precision == "auto":
        precision = "bf16-mixed" if _has_bf16(device) else "32-true"
    set_deterministic(deterministic)
    nodes = max(1, int(os.environ.get("WORLD_SIZE", 1)) // int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
    try:
        fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, precision=precision)
        fabric.launch()
    except (ValueError, RuntimeError) as error:  # more devices than there are, a notebook, a mismatch with torchrun
        raise UsageError(f"--device {device} --devices {devices}: {error}") from error
    return fabric


def _has_bf16(device: str) -> bool:
    """Tell whether 16-bit brain floats are faster here than 32 bits: elsewhere they are emulated, and slow."""
    if device != "cpu" and torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    abilities = torch.cpu.get_capabilities()
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def train_epoch(
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: SegmentationLoss,
    batches: Loader,
    task: Task,
    epoch: int,
    rates: Sequence[float],
    advance: Advance = nothing,
    under_way: UnderWay | None = None,
    check: Check = nothing,
) -> dict[str, float]:
    """Run one epoch (from 0), a batch at each of the learning rates; return the scalars to log.

    `advance` is called after each step. `under_way` says which steps have been done before, and is kept up to date.

    Raises ModelError when the loss is no longer a finite number; what `check` raises, after a whole step.
    """
    network.train()
    done = under_way or UnderWay()
    batches.dataset.with_squares = loss.weight(epoch) > 0 and task.output_size == task.input.size
    coming = batches.after(done.step)
    for rate in rates[done.step :]:
        asked = time.perf_counter()
        batch = next(coming)
        done.waited_s += time.perf_counter() - asked

        for group in optimizer.param_groups:
            group["lr"] = rate

        optimizer.zero_grad()
        # Of several processes each has its part of the batch; the loss is of all of it.
        logits = everyones(fabric, network(fabric.to_device(batch.images)))
        labels = target_of(everyones(fabric, fabric.to_device(batch.labels)), logits, task.network)
        squares = None if batch.squares is None else everyones(fabric, fabric.to_device(batch.squares))
        terms = loss(logits, labels, epoch, squares)
        fabric.backward(terms["total"] * fabric.world_size)
        optimizer.step()

        for name, term in terms.items():
            done.sums[name] = done.sums.get(name, 0.0) + float(term.detach())
        done.step, done.images = done.step + 1, done.images + len(logits)
        done.seconds += time.perf_counter() - asked
        if not torch.isfinite(terms["total"].detach()):
            raise ModelError(
                f"the loss became {float(terms['total'].detach())} in epoch {epoch + 1}, step {done.step}; "
                "lower training.optimizer.learning_rate in the task file"
            )
        advance()
        check()
    scalars = {f"loss/{name}": total / len(rates) for name, total in done.sums.items()}
    scalars["schedule/learning_rate"] = rates[-1]
    scalars["schedule/hausdorff_weight"] = loss.weight(epoch)
    scalars["time/images_per_second"] = done.images / done.seconds
    scalars["time/data"] = done.waited_s / done.seconds
    return scalars


@torch.inference_mode()
def validate(
    fabric: Fabric,
    network: nn.Module,
    loss: SegmentationLoss,
    batches: Iterable[Batch],
    task: Task,
    epoch: int,
    limit: int | None = None,
    check: Check = nothing,
) -> dict[str, float]:
    """Return the validation loss, and Dice and IoU per class and on average, at the size of the network's output.

    Raises what `check` raises, after any batch: nothing has changed that a second validation would not do again.
    """
    network.eval()
    losses: list[float] = []
    dice_rows, iou_rows = [], []
    for batch in islice(batches, limit):
        logits = network(fabric.to_device(batch.images))
        labels = target_of(fabric.to_device(batch.labels), logits, task.network)
        losses += [float(loss(logits, labels, epoch)["total"])] * len(labels)
        probabilities = activate(logits).cpu().numpy()
        maps = [class_map(image, task.postprocessing.threshold) for image in probabilities]
        predicted = torch.from_numpy(np.stack(maps)).to(labels.device)
        dice, iou = batch_dice(predicted, labels, len(task.structures))
        dice_rows.append(dice)
        iou_rows.append(iou)
        check()
    mean_dice, mean_iou = torch.cat(dice_rows).mean(dim=0), torch.cat(iou_rows).mean(dim=0)
    scalars = {"loss/validation": sum(losses) / len(losses), "dice/mean": float(mean_dice.mean())}
    for index, name in enumerate(task.class_names):
        scalars[f"dice/{name}"] = float(mean_dice[index])
        scalars[f"iou/{name}"] = float(mean_iou[index])
    return scalars
