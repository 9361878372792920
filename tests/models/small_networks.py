"""Small networks of every kind, with their tasks, model files and conversions."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sonoseg.models.engines import choose
from sonoseg.models.engines.base import Conversion
from sonoseg.models.engines.installed import ENGINE_TYPES, installed
from sonoseg.models.engines.tracing import trace
from sonoseg.models.model_file import save_model
from sonoseg.models.model_header import ModelHeader
from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task
from tests.conftest import changed

UNET = {"name": "unet", "channels": [4, 8], "strides": [2], "residual_units": 1}
UNPADDED = {"name": "unet2015", "channels": [4, 8, 16], "padding": "valid", "target": "cropped"}
SEGNET = {"name": "segnet", "channels": [4, 8, 8], "convolutions": [1, 1, 1]}
SEGRESNET = {
    "name": "segresnet",
    "arguments": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
}
NETWORKS: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "unet": (UNET, (32, 48)),
    "segnet": (SEGNET, (32, 48)),
    "segnet with skip": ({**SEGNET, "skip": True}, (32, 48)),
    "unet2015": ({"name": "unet2015", "channels": [4, 8, 16]}, (32, 48)),
    "unet2015 in tiles": (UNPADDED, (92, 100)),
    "unet2015 scaled": ({**UNPADDED, "target": "resized"}, (92, 100)),
    "attention_unet": ({"name": "attention_unet", "arguments": {"channels": [4, 8], "strides": [2]}}, (32, 48)),
    "segresnet": (SEGRESNET, (32, 48)),
}


def small(task: Task, name: str = "unet") -> Task:
    network, size = NETWORKS[name]
    return changed(task, network=network, input={"size": size}, enhancement={})


def saved(path: Path, task: Task, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    save_model(path, build_network(task).state_dict(), task, {})
    return path


def converted(engine: str, task: Task, network: nn.Module) -> Conversion:
    size = task.input.size
    return ENGINE_TYPES[engine].convert(trace(network.eval(), task.network, size), size)


_tried: dict[tuple[str, ...], Any] = {}


def trying_once(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Equal models have equal conversions, so those of the first trial are used again: a trial takes seconds.

    Returns the model files whose engines were tried; grows with each.
    """
    trials: list[Path] = []
    try_all = choose._try_all

    def once(model: ModelHeader) -> Any:
        trials.append(model.path)
        key = (model.sha256, *installed())
        if key not in _tried:
            _tried[key] = try_all(model)
        return copy.deepcopy(_tried[key])

    monkeypatch.setattr(choose, "_try_all", once)
    return trials
