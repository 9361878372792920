"""The log of a training for TensorBoard: scalars, overlays of validation images, and the task as text."""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch import nn
from torch.utils.tensorboard import summary

from sonoseg.evaluation.folds import FoldData
from sonoseg.io.files import name_in_errors, open_in_place
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.predictor import NetworkInput, prepare
from sonoseg.postprocess.class_map import class_map
from sonoseg.reporting.drawing import tint
from sonoseg.schema.images import Enhancement, Input
from sonoseg.schema.task import Task
from sonoseg.types import Pixels

EXAMPLES = 4
"""Validation images that are shown after each epoch."""


@dataclass(frozen=True)
class Example:
    """A validation image `(H, W)` uint8, its reference label map `(H, W)` uint8, and the network's input, made once."""

    image: Pixels
    reference: Pixels
    prepared: NetworkInput


def read_examples(data: FoldData, enhancement: Enhancement, settings: Input) -> list[Example]:
    """Return the first images of the validation fold, at most `EXAMPLES`, in their original geometry."""
    examples = []
    for sample in data.validation_samples[:EXAMPLES]:
        image, reference = read_image(sample.image, data.limits).pixels, read_mask(sample.mask, data.limits)
        examples.append(Example(image, reference, prepare(image, enhancement, settings)))
    return examples


class Tracker:
    """Logs scalars, overlays of a few validation images, and the task as text; a folder per run.

    The `finished` epochs of a resumed run stay; TensorBoard hides what was logged after them. Methods raise OSError
    that names the log when it cannot be written.
    """

    def __init__(self, folder: Path, task: Task, finished: int = 0, examples: Sequence[Example] = ()):
        self._task, self._examples = task, examples
        self._log = EventLog(folder)
        if finished:
            self._log.add(finished + 1, session_log=SessionLog(status=SessionLog.START))
        text = yaml.safe_dump(task.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        self._log.add(0, summary=summary.text("task", "    " + text.replace("\n", "\n    ")))

    def scalars(self, values: Mapping[str, float], epoch: int) -> None:
        """Log one value per name at `epoch` (from 1)."""
        for name, value in values.items():
            self._log.add(epoch, summary=summary.scalar(name, value))

    def overlays(self, network: nn.Module, epoch: int) -> None:
        """Log image, reference and prediction of each example side by side, in its own geometry, at `epoch` (from 1).

        `network` is the plain module: Fabric's wrapper would wait for the other processes.
        """
        task, device = self._task, next(network.parameters()).device
        predictor = torch_predictor(network.eval(), task.network, task.enhancement, task.input, device)
        for number, example in enumerate(self._examples, start=1):
            probabilities = predictor.predict(example.prepared)
            labels = class_map(probabilities, task.postprocessing.threshold)
            pictures = [tint(example.image, maps, task.colors) for maps in (example.reference, labels)]
            row = np.concatenate([np.repeat(example.image[..., None], 3, axis=2), *pictures], axis=1)
            name = f"validation {number}: image, reference, prediction"
            self._log.add(epoch, summary=summary.image(name, row, dataformats="HWC"))

    def close(self) -> None:
        self._log.close()


class EventLog:
    """A file of TensorBoard events, written event by event.

    TensorBoard's own writer writes in a thread, which reports a full disk late and as a traceback.
    """

    def __init__(self, folder: Path):
        self.path = folder / f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        with name_in_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = open_in_place(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._records = RecordWriter(self)
        self.add(0, file_version="brain.Event:2")

    def add(self, step: int, **content: Any) -> None:
        """Add an event: its `summary`, `session_log` or `file_version`. Raises OSError that names the file."""
        self._records.write(Event(wall_time=time.time(), step=step, **content).SerializeToString())

    def write(self, data: bytes) -> None:
        """Append bytes to the file; called by the RecordWriter. Raises OSError that names the file."""
        with name_in_errors(self.path):
            while data:
                data = data[os.write(self._handle, data) :]

    def close(self) -> None:
        with name_in_errors(self.path):
            os.close(self._handle)
