"""The scalars of each epoch of a training, as its checkpoint keeps them."""

from pathlib import Path

import torch


def read_history(path: Path) -> list[dict[str, float]]:
    """Return the scalars of each epoch from a checkpoint; empty when there is none that can be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)["progress"]["history"]
    except Exception:  # a damaged archive fails in many ways; a picture without curves is all that comes of it
        return []
