"""Whether weights are those of a network: names, shapes, types, finite values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def weights_problem(state: Mapping[str, Any], expected: Mapping[str, Tensor]) -> str:
    """Return what makes weights unfit for a network whose own are `expected` (on any device); empty when they fit."""
    if not state:
        return "there are none"
    for kind, names in (("missing", expected.keys() - state.keys()), ("unknown", state.keys() - expected.keys())):
        if names:
            return f"{len(names)} {kind}, such as {min(map(str, names))}"
    for name, tensor in state.items():
        problem = tensor_problem(tensor, expected[name])
        if problem:
            return f"{name} {problem}"
    return ""


def tensor_problem(tensor: Any, expected: Tensor) -> str:
    """Return what makes a value unfit in place of a tensor: its type, shape or content; empty when it fits."""
    if not isinstance(tensor, Tensor):
        return f"is {type(tensor).__name__}, expected a tensor"
    if (tensor.shape, tensor.dtype, tensor.layout) != (expected.shape, expected.dtype, torch.strided):
        found, wanted = (f"{list(one.shape)} {one.dtype}".replace("torch.", "") for one in (tensor, expected))
        return f"is {found}, expected {wanted}"
    return "" if torch.isfinite(tensor).all() else "has values that are not finite"
