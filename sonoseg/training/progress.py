"""How far a training is: totals of the epoch in progress, and the epochs that are complete."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class TrainingTotals:
    """Totals over the steps of an epoch so far. A checkpoint contains them, so that an epoch resumes at its next step.

    step: steps done. sums: term of the loss -> its sum over these steps. images: of all processes together. seconds:
    time of the steps, of which `waited_s` were spent waiting for batches.
    """

    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    images: int = 0
    seconds: float = 0.0
    waited_s: float = 0.0

    def scalars(self) -> dict[str, float]:
        """Return the means of the terms of the loss, and the speed, of at least one step."""
        return {
            **{f"loss/{name}": total / self.step for name, total in self.sums.items()},
            "time/images_per_second": self.images / self.seconds,
            "time/data": self.waited_s / self.seconds,
        }


def scored_classes(class_names: Sequence[str], absent: Sequence[str]) -> list[str]:
    """Return the classes whose mean Dice chooses the epoch: those that the validation images show, or else all."""
    return [name for name in class_names if name not in absent] or list(class_names)


@dataclass
class ValidationTotals:
    """Scores of the validation images so far: the loss of each, and Dice and IoU `(B, K)` of each batch.

    Empty when no image validates, as in a refit. absent: classes that no validation image shows. A rightly empty
    prediction of them counts 1, so they are left out of the mean that chooses the epoch, unless all are absent.
    """

    class_names: Sequence[str]
    absent: Sequence[str] = ()
    losses: list[float] = field(default_factory=list)
    dice: list[Tensor] = field(default_factory=list)
    iou: list[Tensor] = field(default_factory=list)

    def scalars(self) -> dict[str, float]:
        """Return the mean loss, mean Dice and IoU per class, and mean Dice over the classes; nothing without images."""
        if not self.losses:
            return {}
        dice, iou = torch.cat(self.dice).mean(dim=0), torch.cat(self.iou).mean(dim=0)
        scored = scored_classes(self.class_names, self.absent)
        mean = float(dice[[index for index, name in enumerate(self.class_names) if name in scored]].mean())
        scalars = {"loss/validation": sum(self.losses) / len(self.losses), "dice/mean": mean}
        for index, name in enumerate(self.class_names):
            scalars[f"dice/{name}"] = float(dice[index])
            scalars[f"iou/{name}"] = float(iou[index])
        return scalars


@dataclass
class Progress:
    """The state of a training between two steps, apart from network and optimizer.

    run: name of its TensorBoard folder. epoch: number of complete epochs; `history` has the scalars of each.
    best_epoch: counted from 0, -1 before the first; `best_state` are its weights on the CPU. Without validation it is
    the last one, and `best_dice` stays -1.
    """

    run: str = ""
    epoch: int = 0
    best_dice: float = -1.0
    best_epoch: int = -1
    best_state: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    current_epoch: TrainingTotals = field(default_factory=TrainingTotals)

    def has_stalled(self, patience: int | None) -> bool:
        """Return whether `patience` epochs have passed since the best one; never for None."""
        return patience is not None and self.epoch > 0 and self.epoch - 1 - self.best_epoch >= patience

    @property
    def validation_losses(self) -> list[float]:
        return [row["loss/validation"] for row in self.history if "loss/validation" in row]

    def finish_epoch(self, network: nn.Module, scalars: dict[str, float]) -> bool:
        """Count an epoch and return whether its validation Dice is the best so far; then its weights are kept."""
        dice = scalars.get("dice/mean")
        is_best = dice is None or dice > self.best_dice
        if is_best:
            self.best_dice, self.best_epoch = self.best_dice if dice is None else dice, self.epoch
            self.best_state = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
        self.history.append(scalars)
        self.epoch += 1
        self.current_epoch = TrainingTotals()
        return is_best
