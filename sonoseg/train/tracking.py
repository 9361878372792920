"""What a run tells TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from sonoseg.core.drawing import tint
from sonoseg.core.task import Task
from sonoseg.train.datasets import Batch
from sonoseg.train.networks.heads import class_map, predict


class Tracker:
    """Scalars, a few validation pictures over time, and the task as text, in one folder per run.

    `finished` epochs of an interrupted run stay; what it logged after them is hidden by what is logged again.
    """

    def __init__(self, folder: Path, task: Task, finished: int = 0):
        self._task = task
        self._writer = SummaryWriter(str(folder), purge_step=finished + 1 if finished else None)
        text = yaml.safe_dump(task.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        self._writer.add_text("task", "    " + text.replace("\n", "\n    "))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Log one value per name at `epoch` (from 1)."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    @torch.inference_mode()
    def overlays(self, network: nn.Module, batch: Batch, epoch: int, count: int = 4) -> None:
        """Log image, reference and prediction side by side for the first `count` items of a batch.

        `network` is the plain one: wrapped for several processes it would wait for the others.
        """
        network.eval()
        images = batch.images[:count].to(next(network.parameters()).device)
        labels = class_map(predict(network, images, self._task), self._task.postprocessing.threshold)
        predicted = labels.cpu().numpy().astype(np.uint8)
        for index, (image, reference, labels) in enumerate(zip(images, batch.labels, predicted, strict=False)):
            grey = _to_grey(image[0])
            row = [
                np.repeat(grey[..., None], 3, axis=2),
                tint(grey, reference[0].cpu().numpy().astype(np.uint8), self._task.colors),
                tint(grey, labels, self._task.colors),
            ]
            name = f"validation {index + 1}: image, reference, prediction"
            self._writer.add_image(name, np.concatenate(row, axis=1), epoch, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()


def _to_grey(image: Tensor) -> np.ndarray:
    """Stretch a normalised image (h, w) to 0..255 for display."""
    low, high = image.min(), image.max()
    return ((image - low) / (high - low).clamp(min=1e-6) * 255).round().byte().cpu().numpy()
