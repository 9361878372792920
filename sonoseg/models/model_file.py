"""The trained model as one file: written whole, and read back into a network. See `models.model_header`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from sonoseg.errors import ModelError
from sonoseg.io.files import write_bytes
from sonoseg.io.reading import read_regular
from sonoseg.models.engines.torch_engine import network_function
from sonoseg.models.model_header import KEY, MAX_BYTES, ModelHeader, header_text
from sonoseg.models.networks import build_network
from sonoseg.models.probe import TOLERANCE, TOLERANCE_FEW_BITS, Probe, probe_input
from sonoseg.models.weights import weights_problem
from sonoseg.quality.model import QualityModel
from sonoseg.schema.task import Task


def save_model(
    path: Path, state: Mapping[str, Tensor], task: Task, info: Mapping[str, Any], quality: QualityModel | None = None
) -> str:
    """Write the model atomically, read it back before it replaces an earlier one, and return the file's SHA-256.

    `info` consists of JSON values: versions, data hashes, the chosen epoch. Raises OSError, and ModelError as
    `model_bytes` does; then nothing is written.
    """
    data = model_bytes(state, task, info, quality)
    write_bytes(path, data, reread=True)
    return hashlib.sha256(data).hexdigest()


def model_bytes(
    state: Mapping[str, Tensor], task: Task, info: Mapping[str, Any], quality: QualityModel | None = None
) -> bytes:
    """Return the model as the bytes of a safetensors file, with the output of the network on the probe image.

    Raises ModelError for weights that are not those of the task's network, or not finite.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with torch.random.fork_rng(devices=[]):  # the initial weights of the network that is built draw numbers
        network, problem = _network_of(task, tensors)
    if not problem:
        output = network_function(network, task.network)(probe_input(task.input))
        problem = "" if np.isfinite(output).all() else "they give an output that is not finite"
    if problem:
        raise ModelError(
            f"weights of task {task.name}: not saved, and an earlier model is kept ({problem}); train again, with a "
            "lower training.optimizer.learning_rate where values are not finite"
        )
    return safetensors.torch.save(tensors, metadata={KEY: header_text(task, info, Probe.of(output), quality)})


def load_network(header: ModelHeader, device: str | torch.device = "cpu") -> nn.Module:
    """Return the trained network of a model file on `device`, ready to predict; it has run once, on the probe image.

    Raises ModelError when the file has changed since its header was read, the weights are not those of the network that
    the header describes, or do not give the output that was stored with them.
    """
    data = read_regular(header.path, MAX_BYTES, follow_link=True)
    if hashlib.sha256(data).hexdigest() != header.sha256:
        raise ModelError(f"{header.path}: changed while it was being read; run the same command again")
    network, problem = _network_of(header.task, _in_32_bits(safetensors.torch.load(data)))
    if problem:
        raise ModelError(
            f"{header.path}: its weights do not fit its own network settings ({problem}); train the model again"
        )
    network = network.to(torch.device(device))
    _check_output(network, header, str(device))
    return network


def torch_probe(header: ModelHeader) -> Probe:
    """Return the output of a model's network in torch on the CPU. Raises ModelError as `load_network` does."""
    run = network_function(load_network(header), header.task.network)
    return Probe.of(run(probe_input(header.task.input)))


def compact_model(header: ModelHeader, quality: QualityModel | None = None) -> bytes:
    """Return a model file whose convolutions have weights of 16 bits; the network still computes in 32 bits.

    quality: in place of the file's own. The output on the probe image is that of the rounded weights. Raises ModelError
    when it differs from the file's by more than the tolerance, and as `load_network` does.
    """
    rounded = {name: _in_16_bits(tensor) for name, tensor in load_network(header).state_dict().items()}
    network, _ = _network_of(header.task, _in_32_bits(rounded))
    output = network_function(network, header.task.network)(probe_input(header.task.input))
    _check_output(network, header, "cpu")
    text = header_text(header.task, header.info, Probe.of(output), quality or header.quality)
    return safetensors.torch.save(rounded, metadata={KEY: text})


def _in_16_bits(tensor: Tensor) -> Tensor:
    """Return the weights of a convolution in 16 bits, contiguous; biases, statistics of a norm and counts as they are.

    Those take little room, and a running variance can be larger than any number of 16 bits.
    """
    return (tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor).contiguous()


def _in_32_bits(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a file, those of 16 bits as 32 bits."""
    return {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in state.items()}


def initial_state(network: nn.Module, header: ModelHeader) -> tuple[dict[str, Tensor], list[str]]:
    """Return the network's weights with those of a model file where name and shape fit, and the names that do not.

    Raises ModelError when no tensor fits.
    """
    own = network.state_dict()
    given = _in_32_bits(safetensors.torch.load(read_regular(header.path, MAX_BYTES, follow_link=True)))
    fitting = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise ModelError(
            f"{header.path}: none of its weights fits the network of this task; expected a model of the same kind of "
            "network (network.init); leave network.init out, or choose another model"
        )
    return own | fitting, sorted(own.keys() - fitting.keys())


def _network_of(task: Task, state: Mapping[str, Tensor]) -> tuple[nn.Module, str]:
    """Return the task's network with these weights, in evaluation mode, and what is wrong with them; often nothing."""
    with torch.device("meta"):  # no memory is taken for a network that other weights belong to
        network = build_network(task)
    problem = weights_problem(state, network.state_dict())
    if not problem:
        network = build_network(task)
        network.load_state_dict(state)
    return network.eval(), problem


def _check_output(network: nn.Module, header: ModelHeader, device: str) -> None:
    """Raise ModelError unless a network gives the output that its model file states."""
    output = network_function(network, header.task.network, device)(probe_input(header.task.input))
    tolerance = TOLERANCE if device == "cpu" else TOLERANCE_FEW_BITS
    if header.probe and header.probe.difference(output) > tolerance:
        raise ModelError(
            f"{header.path}: the weights do not give the output stored when it was saved (difference "
            f"{header.probe.difference(output):.3f}, at most {tolerance:g}); the file is damaged or was edited; "
            "restore it from a copy, or train again"
        )
