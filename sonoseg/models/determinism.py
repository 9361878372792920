"""`--deterministic`: the same bytes every time, on a GPU too."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from sonoseg.errors import UsageError


def be_deterministic(wanted: bool) -> None:
    """Choose operations that give the same bits every time, or let PyTorch take its own choice; before any has run."""
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
        torch.backends.cudnn.benchmark = False  # it would take whichever was fastest this time
    torch.backends.cudnn.deterministic = wanted
    torch.use_deterministic_algorithms(wanted)


@contextmanager
def writing_no_place_twice() -> Iterator[None]:
    """Let an operation pass that PyTorch refuses since it may write a place twice, where it is known that it won't."""
    held = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(held)


@contextmanager
def named_when_impossible() -> Iterator[None]:
    """Turn PyTorch's refusal of an operation that has no deterministic form into a UsageError that names it."""
    try:
        yield
    except RuntimeError as error:
        operation, found, _ = str(error).partition(" does not have a deterministic implementation")
        if not found:
            raise
        raise UsageError(
            f"--deterministic: the operation {operation.split()[-1]} of this task has no deterministic form on this "
            "device; leave the flag out; on a CPU a run gives the same bytes without it"
        ) from error
