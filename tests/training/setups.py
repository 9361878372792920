"""A training setup of any network, without images."""

from typing import Any

import torch
from lightning_fabric import Fabric

from sonoseg.training.setup import TrainingOptions, TrainingSetup


def setup_of(network: torch.nn.Module, fabric: Fabric) -> TrainingSetup:
    """Return a setup of a network and its optimizer, which is all that a checkpoint is about."""
    nothing: Any = None
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    return TrainingSetup(nothing, fabric, TrainingOptions(), 1, network, optimizer, nothing, nothing, nothing)
