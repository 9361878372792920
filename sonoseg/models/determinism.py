"""Deterministic kernels: equal runs give equal bytes, on a GPU as well."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sonoseg.errors import UsageError


def set_deterministic(enabled: bool) -> None:
    """Use deterministic kernels only, or leave the choice to PyTorch; call it before any operation has run."""
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
        torch.backends.cudnn.benchmark = False  # benchmarking may choose another kernel in each run
    torch.backends.cudnn.deterministic = enabled
    torch.use_deterministic_algorithms(enabled)


@contextmanager
def allow_nondeterministic() -> Iterator[None]:
    """Allow an operation that PyTorch refuses because its scatter indices may repeat; only for indices that do not."""
    enabled = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled)


@contextmanager
def name_nondeterministic_operation() -> Iterator[None]:
    """Raise a UsageError that names the operation when PyTorch has no deterministic kernel for it."""
    try:
        yield
    except RuntimeError as error:
        operation, separator, _ = str(error).partition(" does not have a deterministic implementation")
        if not separator:
            raise
        raise UsageError(
            f"the operation {operation.split()[-1]} of this task has no deterministic kernel on this device; train "
            "without deterministic kernels, or on a CPU, where equal runs give equal bytes anyway"
        ) from error
