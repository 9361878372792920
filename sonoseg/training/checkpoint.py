"""Everything a run needs to go on where it stopped: `last.ckpt`, written after every epoch and when it is stopped."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from sonoseg.errors import ModelError
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import CHECKPOINT


@dataclass
class UnderWay:
    """How far the epoch is that is not finished yet: steps done, and what its scalars are made of.

    `sums` are of each term of the loss over the steps; `waited_s` is the part of `seconds` spent waiting for batches.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0


@dataclass
class Progress:
    """How far a run is. `run` names its TensorBoard folder; `epoch` counts finished epochs, with a row of scalars each
    in `history`."""

    run: str = ""
    epoch: int = 0
    best_dice: float = -1.0
    best_epoch: int = -1
    best_state: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    under_way: UnderWay = field(default_factory=UnderWay)

    def has_stalled(self, patience: int | None) -> bool:
        """Tell whether `patience` epochs have passed since the best one; None waits for ever."""
        return patience is not None and self.epoch > 0 and self.epoch - 1 - self.best_epoch >= patience

    @property
    def validation_losses(self) -> list[float]:
        return [row["loss/validation"] for row in self.history]

    def finish_epoch(self, network: nn.Module, scalars: dict[str, float]) -> bool:
        """Count an epoch, keep its weights when its validation Dice is the best so far, and say whether it is."""
        is_best = scalars["dice/mean"] > self.best_dice
        if is_best:
            self.best_dice, self.best_epoch = scalars["dice/mean"], self.epoch
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        self.history.append(scalars)
        self.epoch += 1
        self.under_way = UnderWay()
        return is_best


def save_checkpoint(
    output: OutputFolder,
    fabric: Fabric,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    settings: dict[str, Any],
) -> None:
    """Write the run's state as `last.ckpt`; `settings` (task, fold, seed, data) tell whether a later run may go on."""
    stream = io.BytesIO()
    torch.save(
        {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": fabric.strategy.precision.state_dict(),
            "progress": {**vars(progress), "under_way": vars(progress.under_way)},
            "settings": settings,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all(),
        },
        stream,
    )
    output.write_bytes(CHECKPOINT, stream.getvalue())


def load_checkpoint(
    path: Path, fabric: Fabric, network: nn.Module, optimizer: torch.optim.Optimizer, settings: dict[str, Any]
) -> Progress:
    """Put a saved state into `fabric`, `network` and `optimizer` and return the run's progress.

    Only tensors and plain values are read, nothing in the file is executed. Raises ModelError when the file is missing,
    damaged, or belongs to a run with other settings.
    """
    if not path.is_file():
        raise ModelError(f"{path}: nothing to resume; run training.py without --resume")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        saved = state["settings"]
    except Exception as error:  # a damaged archive fails in many ways, none of which may be read any further
        raise ModelError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); train without --resume"
        ) from error
    changed = sorted(name for name in settings.keys() | saved.keys() if settings.get(name) != saved.get(name))
    if changed:
        raise ModelError(
            f"{path}: made with other settings ({', '.join(changed)}); repeat them, or train without --resume"
        )
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    fabric.strategy.precision.load_state_dict(state["scaler"])
    torch.set_rng_state(state["rng"])
    if len(state["rng_cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["rng_cuda"])
    under_way = UnderWay(**state["progress"].pop("under_way", {}))  # checkpoints of earlier versions have none
    return Progress(**state["progress"], under_way=under_way)
