"""Sections of a task file about training: loss, optimiser, schedule, epochs."""

from typing import Literal

from pydantic import Field, model_validator

from sonoseg.schema.images import Side
from sonoseg.schema.section import Epochs, Positive, Section
from sonoseg.sizes import MAX_EPOCHS


class HausdorffSchedule(Section):
    """Weight of the Hausdorff term: 0 before `start_epoch`, then a linear ramp over `ramp_epochs` to its maximum.

    The maximum is a ratio of gradients, which means the same for every task, or a constant factor of the term.
    """

    start_epoch: int = Field(ge=0, le=MAX_EPOCHS)
    ramp_epochs: Epochs
    max_gradient_ratio: float | None = Field(
        None, gt=0, le=10, description="norm of this term's gradient / that of the region loss, at the logits"
    )
    max_weight: Positive | None = Field(None, description="factor of the term; where it is given, there is no ratio")
    alpha: float = Field(2.0, gt=0, le=10)

    @model_validator(mode="after")
    def _one_maximum(self) -> "HausdorffSchedule":
        if not self.max_gradient_ratio and not self.max_weight:
            raise ValueError("expected max_gradient_ratio or max_weight")
        return self

    @property
    def maximum(self) -> float:
        """The ratio or the factor after the ramp."""
        return self.max_weight or self.max_gradient_ratio or 0.0

    @property
    def is_ratio(self) -> bool:
        return self.max_weight is None


class Loss(Section):
    """Region term, and optionally a boundary term. Names that begin with `bce` are for tasks with one class."""

    name: Literal["dice_ce", "dice_focal", "bce_dice", "bce"] = "dice_ce"
    cross_entropy_weight: Positive = Field(1.0, description="of (binary) cross-entropy beside Dice; focal likewise")
    include_background: bool = Field(False, description="Dice of the background as well; without effect for one class")
    batch_dice: bool = Field(True, description="Dice over the batch, as a class may be absent from an image")
    hausdorff: HausdorffSchedule | None = None


class Plateau(Section):
    """The learning rate times `factor` after more than `patience` epochs without a lower validation loss."""

    factor: float = Field(0.5, gt=0, lt=1)
    patience: int = Field(10, ge=0, le=MAX_EPOCHS)


class Optimizer(Section):
    """Optimiser, learning rate and its schedule."""

    name: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float = Field(gt=0, le=10)
    weight_decay: float = Field(0.0, ge=0, le=10)
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd; the other optimisers have their own")
    schedule: Literal["constant", "one_cycle", "cosine", "plateau"] = "constant"
    plateau: Plateau = Plateau()
    warm_up_epochs: float = Field(
        0, ge=0, le=1e6, description="the learning rate rises linearly from 0; then the schedule"
    )

    @model_validator(mode="after")
    def _single_warm_up(self) -> "Optimizer":
        if self.schedule == "one_cycle" and self.warm_up_epochs:
            raise ValueError("one_cycle begins with a warm-up of its own: leave warm_up_epochs out")
        return self


class ProgressiveResizing(Section):
    """Smaller images in the first part of a training, whose steps take less time; validation has the full size."""

    size: tuple[Side, Side]
    fraction: float = Field(0.65, gt=0, lt=1, description="part of the epochs that have this size")


class Training(Section):
    """Length of the training, batch size, loss and optimiser."""

    epochs: Epochs
    batch_size: int = Field(ge=1, le=65536)
    patience: Epochs | None = Field(None, description="epochs without a better validation Dice; null: never stop")
    progressive_resizing: ProgressiveResizing | None = None
    loss: Loss
    optimizer: Optimizer
    gradient_clipping: Positive | None = Field(None, description="largest norm of the gradient of all weights together")
    ema_decay: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="an exponential moving average of the weights is validated and saved in their place",
    )
