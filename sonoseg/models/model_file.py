"""The trained model as one file: written whole, and read back into a network. See `models.model_header`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from sonoseg.errors import ModelError
from sonoseg.io.files import write_bytes
from sonoseg.models.model_header import KEY, ModelHeader, header_text
from sonoseg.models.networks import build_network
from sonoseg.schema.task import Task


def save_model(path: Path, state: Mapping[str, Tensor], task: Task, info: Mapping[str, Any]) -> str:
    """Write the model atomically, read it back before it replaces an earlier one, and return the file's SHA-256.

    `info` consists of JSON values: versions, data hashes, the chosen epoch. Raises OSError.
    """
    data = model_bytes(state, task, info)
    write_bytes(path, data, reread=True)
    return hashlib.sha256(data).hexdigest()


def model_bytes(state: Mapping[str, Tensor], task: Task, info: Mapping[str, Any]) -> bytes:
    """Return the model as the bytes of a safetensors file; see `save_model`."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return safetensors.torch.save(tensors, metadata={KEY: header_text(task, info)})


def load_network(header: ModelHeader, device: str | torch.device = "cpu") -> nn.Module:
    """Return the trained network of a model file on `device`, ready to predict.

    Raises ModelError when the weights are not those of the network that the header describes.
    """
    network = build_network(header.task)
    try:
        network.load_state_dict(safetensors.torch.load_file(header.path))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"{header.path}: its weights do not fit its own network settings; train the model again"
        ) from error
    return network.to(torch.device(device)).eval()
