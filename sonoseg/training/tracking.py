"""What a run tells TensorBoard."""

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import Tensor, nn
from torch.utils.tensorboard import summary

from sonoseg.io.files import name_in_errors
from sonoseg.models.networks.heads import class_map, predict
from sonoseg.reporting.drawing import tint
from sonoseg.schema.task import Task
from sonoseg.training.datasets import Batch


class Tracker:
    """Scalars, a few validation pictures over time, and the task as text, in one folder per run.

    `finished` epochs of an interrupted run stay; what it logged after them is hidden by what is logged again. Its
    methods raise OSError that names the log when it cannot be written.
    """

    def __init__(self, folder: Path, task: Task, finished: int = 0):
        self._task = task
        self._log = EventLog(folder)
        if finished:
            self._log.add(finished + 1, session_log=SessionLog(status=SessionLog.START))
        text = yaml.safe_dump(task.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        self._log.add(0, summary=summary.text("task", "    " + text.replace("\n", "\n    ")))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Log one value per name at `epoch` (from 1)."""
        for name, value in values.items():
            self._log.add(epoch, summary=summary.scalar(name, value))

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
            self._log.add(epoch, summary=summary.image(name, np.concatenate(row, axis=1), dataformats="HWC"))

    def close(self) -> None:
        self._log.close()


class EventLog:
    """A file of TensorBoard's events, written event by event.

    TensorBoard's own writer has a thread do it: a full disk is then noticed late, and told as a traceback.
    """

    def __init__(self, folder: Path):
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        with name_in_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        self._records = RecordWriter(self)
        self.add(0, file_version="brain.Event:2")

    def add(self, step: int, **content: Any) -> None:
        """Add an event: its `summary`, `session_log` or `file_version`. Raises OSError that names the file."""
        self._records.write(Event(wall_time=time.time(), step=step, **content).SerializeToString())

    def write(self, data: bytes) -> None:
        """What the records are written with."""
        with name_in_errors(self.path):
            while data:
                data = data[os.write(self._handle, data) :]

    def close(self) -> None:
        with name_in_errors(self.path):
            os.close(self._handle)


def _to_grey(image: Tensor) -> np.ndarray:
    """Stretch a normalised image (h, w) to 0..255 for display."""
    low, high = image.min(), image.max()
    return ((image - low) / (high - low).clamp(min=1e-6) * 255).round().byte().cpu().numpy()
