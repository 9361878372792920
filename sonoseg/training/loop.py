"""One epoch of training and one of validation, step by step, and its scalars; `training.py` iterates over them."""

import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sonoseg.errors import ModelError
from sonoseg.evaluation.metrics import batch_dice
from sonoseg.models.networks.heads import target_of
from sonoseg.models.networks.whole_image import activate
from sonoseg.postprocess.class_map import class_map
from sonoseg.schema.training import ProgressiveResizing
from sonoseg.sizes import Size
from sonoseg.training.processes import all_gather_batch
from sonoseg.training.progress import Progress, TrainingTotals, ValidationTotals
from sonoseg.training.setup import TrainingSetup


def train_epoch(
    setup: TrainingSetup, epoch: int, rates: Sequence[float], totals: TrainingTotals | None = None
) -> Iterator[TrainingTotals]:
    """Train for one epoch (from 0), a step at each of the learning rates; yield the totals after each step.

    totals: those of the steps of this epoch that were done before, which are not repeated; updated in place.

    Raises ModelError when the loss is no longer a finite number.
    """
    totals = TrainingTotals() if totals is None else totals
    task, fabric, loss = setup.task, setup.fabric, setup.loss
    setup.network.train()
    setup.training.dataset.size = size_in(task.training.progressive_resizing, epoch, setup.epochs) or task.input.size
    setup.training.dataset.with_squared_distances = loss.weight(epoch) > 0 and task.output_size == task.input.size
    batches = setup.training.epoch(epoch, skip=totals.step)
    for rate in rates[totals.step :]:
        began = time.perf_counter()
        batch = next(batches)
        totals.waited_s += time.perf_counter() - began

        for group in setup.optimizer.param_groups:
            group["lr"] = rate

        setup.optimizer.zero_grad()
        # Each of several processes has its share of the batch; the loss is that of the whole batch.
        outputs = setup.network(fabric.to_device(batch.images))
        outputs = [outputs] if isinstance(outputs, Tensor) else outputs
        logits, *coarser = [all_gather_batch(fabric, output) for output in outputs]
        labels = target_of(all_gather_batch(fabric, fabric.to_device(batch.labels)), logits, task.network)
        distances = batch.squared_distances
        if distances is not None:
            distances = all_gather_batch(fabric, fabric.to_device(distances))
        terms = loss(logits, labels, epoch, distances, coarser)
        fabric.backward(terms["total"] * fabric.world_size)
        if task.training.gradient_clipping:
            fabric.clip_gradients(
                setup.network, setup.optimizer, max_norm=task.training.gradient_clipping, error_if_nonfinite=False
            )
        setup.optimizer.step()
        if setup.average:
            setup.average.update_parameters(setup.network.module)

        for name, term in terms.items():
            totals.sums[name] = totals.sums.get(name, 0.0) + float(term.detach())
        totals.step, totals.images = totals.step + 1, totals.images + len(logits)
        totals.seconds += time.perf_counter() - began
        check_finite(float(terms["total"].detach()), f"epoch {epoch + 1}, step {totals.step}")
        yield totals


def size_in(resizing: ProgressiveResizing | None, epoch: int, epochs: int) -> Size | None:
    """Return the size of the training images in an epoch (from 0) of `epochs`; None for the full size."""
    return resizing.size if resizing and epoch < round(resizing.fraction * epochs) else None


def check_finite(loss: float, where: str) -> None:
    """Raise ModelError for a loss that is not a finite number; the last checkpoint and an earlier model stay."""
    if not math.isfinite(loss):
        raise ModelError(
            f"the loss became {loss} in {where}; lower training.optimizer.learning_rate in the task file, or use the "
            "precision 32-true, and train again"
        )


def validate(setup: TrainingSetup, epoch: int, totals: ValidationTotals | None = None) -> Iterator[ValidationTotals]:
    """Score the validation images after an epoch (from 0), at the network's output size; yield totals after each batch.

    The average of the weights is scored where there is one.
    totals: without images; updated in place. It may be ended after any batch: a second validation gives the same.

    Raises ModelError when the loss is no longer a finite number.
    """
    task, fabric = setup.task, setup.fabric
    totals = ValidationTotals(task.class_names, setup.absent) if totals is None else totals
    network = setup.validated.eval()
    for batch in setup.validation:
        with torch.inference_mode(), fabric.autocast():
            logits = network(fabric.to_device(batch.images)).float()
            labels = target_of(fabric.to_device(batch.labels), logits, task.network)
            loss = float(setup.loss(logits, labels, epoch)["total"])
            check_finite(loss, f"the validation of epoch {epoch + 1}")
            probabilities = activate(logits).cpu().numpy()
            maps = [class_map(image, task.postprocessing.threshold) for image in probabilities]
            predicted = torch.from_numpy(np.stack(maps)).to(labels.device)
            dice, iou = batch_dice(predicted, labels, len(task.structures))
        totals.losses += [loss] * len(labels)
        totals.dice.append(dice)
        totals.iou.append(iou)
        yield totals


def epoch_scalars(
    setup: TrainingSetup, progress: Progress, scores: ValidationTotals, learning_rate: float
) -> dict[str, float]:
    """Return what is logged of the epoch in progress: means of the loss, Dice and IoU, learning rate and weights.

    learning_rate: of its last step. The values are those of the first process, so that all of them keep the same best
    epoch and stop at the same one.
    """
    scalars = {**progress.current_epoch.scalars(), **scores.scalars()}
    weight = setup.loss.weight(progress.epoch)
    scalars |= {"schedule/learning_rate": learning_rate, "schedule/hausdorff_weight": weight}
    return setup.fabric.broadcast(scalars)
