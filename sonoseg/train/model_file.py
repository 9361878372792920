"""One file is the whole model: safetensors weights with the task and the facts of its training as JSON in its header.

Nothing in such a file is executed when it is read; any other kind of file is refused.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from sonoseg.core.errors import ModelError, TaskError
from sonoseg.core.files import write_bytes
from sonoseg.core.task import Task
from sonoseg.core.task_files import parse_task

HEADER = "sonoseg"
FORMAT = 1


@dataclass(frozen=True)
class LoadedModel:
    """A model file's content; `sha256` is of the whole file."""

    task: Task
    state: dict[str, Tensor]
    info: dict[str, Any]
    sha256: str


def save_model(path: Path, state: Mapping[str, Tensor], task: Task, info: Mapping[str, Any]) -> str:
    """Write the model atomically and return the file's SHA-256.

    `info` is what JSON can hold: versions, data hashes, the chosen epoch.
    """
    header = {"format": FORMAT, "task": task.model_dump(mode="json"), "info": dict(info)}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    data = safetensors.torch.save(tensors, metadata={HEADER: json.dumps(header, sort_keys=True)})
    write_bytes(path, data)
    return hashlib.sha256(data).hexdigest()


def load_model(path: Path) -> LoadedModel:
    """Read a model file. Raises ModelError when it is missing, not safetensors, or not written by SonoSeg."""
    if not path.is_file():
        raise ModelError(f"{path}: no such model file; run training.py first, or name one with --model")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
    except (safetensors.SafetensorError, KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not a SonoSeg model ({type(error).__name__}); expected a .safetensors file written by training.py"
        ) from error
    if header.get("format") != FORMAT:
        raise ModelError(
            f"{path}: model format {header.get('format')!r}; this version of SonoSeg reads format {FORMAT}"
        )
    try:
        task = parse_task(header["task"], source=str(path))
    except (KeyError, TaskError) as error:
        raise ModelError(f"{path}: the task inside the model cannot be used: {error}") from error
    return LoadedModel(task, state, header.get("info", {}), hashlib.sha256(path.read_bytes()).hexdigest())
