"""The training loss: a region term, and a boundary term that is added after a warm-up."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.losses import DiceCELoss, DiceFocalLoss
from torch import Tensor, nn

from sonoseg.models.networks.heads import foreground, scaled_labels
from sonoseg.schema.training import HausdorffSchedule, Loss
from sonoseg.training.distance import squared_distances


def dice_ce(settings: Loss, binary: bool) -> nn.Module:
    """Dice plus cross-entropy: of one class, Dice plus binary cross-entropy on the logits."""
    loss = DiceCELoss(**_dice_arguments(settings, binary), lambda_ce=settings.cross_entropy_weight)
    loss.cross_entropy = DeterministicCrossEntropy()
    return loss


class DeterministicCrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy with a deterministic kernel on a GPU, where PyTorch has none for images."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """`input` (B, C, h, w) logits, `target` (B, h, w) int64. Returns the mean over all pixels."""
        if input.is_cuda and torch.are_deterministic_algorithms_enabled():
            return self.flattened(input, target)
        return super().forward(input, target)

    def flattened(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the same mean over a flat list of pixels; only the last digits differ."""
        return super().forward(input.movedim(1, -1).flatten(0, 2), target.flatten())


def dice_focal(settings: Loss, binary: bool) -> nn.Module:
    """Dice plus focal loss (Lin et al. 2017): cross-entropy in which well classified pixels have a low weight."""
    return DiceFocalLoss(**_dice_arguments(settings, binary), lambda_focal=settings.cross_entropy_weight)


def bce(settings: Loss, binary: bool) -> nn.Module:
    """Binary cross-entropy on the logits, the mean over all pixels."""
    return nn.BCEWithLogitsLoss(reduction="mean")


REGION_LOSSES: dict[str, Callable[[Loss, bool], nn.Module]] = {
    "dice_ce": dice_ce,
    "dice_focal": dice_focal,
    "bce_dice": dice_ce,  # its usual name for a single class
    "bce": bce,
}


def _dice_arguments(settings: Loss, binary: bool) -> dict[str, Any]:
    return {
        "include_background": binary or settings.include_background,  # one channel is the class itself
        "to_onehot_y": not binary,
        "sigmoid": binary,
        "softmax": not binary,
        "reduction": "mean",
        # Per image, a single false pixel of an absent class gives Dice 0, and thin classes are never learnt.
        "batch": settings.batch_dice,
    }


class SegmentationLoss(nn.Module):
    """Region loss plus the scheduled Hausdorff term of a task; `binary` for logits of one channel."""

    def __init__(
        self, settings: Loss, binary: bool = False, warm_up: bool = True, coarser_weights: Sequence[float] = ()
    ):
        """Without `warm_up` the boundary term has its full weight from the first epoch, as in a sanity check.

        coarser_weights: of the region loss of each further output, see `network.deep_supervision`.
        """
        super().__init__()
        self._coarser_weights = coarser_weights
        self.name: str = settings.name
        self._binary = binary
        self.region = REGION_LOSSES[settings.name](settings, binary)
        self._schedule, self._warm_up = settings.hausdorff, warm_up
        self.boundary = HausdorffDTLoss(settings.hausdorff.alpha) if settings.hausdorff else None

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        epoch: int,
        squares: Tensor | None = None,
        coarser: Sequence[Tensor] = (),
    ) -> dict[str, Tensor]:
        """Return the terms of the loss: `total` with gradient, and the weighted terms that add up to it.

        `logits` (B, C, h, w); `labels` (B, 1, h, w) int64 class indices; `epoch` counts from 0. `squares` as
        HausdorffDTLoss takes them. Logits without gradient, as in validation, have no ratio of gradients: a Hausdorff
        term that is weighted by it is then 0. `coarser`: the logits of deep supervision, (B, C, h/2, w/2) and so on;
        none in validation. Their labels are those of the nearest pixels.
        """
        # A view: the gradient at a network's output itself may only be taken by Fabric's own backward.
        logits = logits.view_as(logits)
        terms = {self.name: self._region(logits, labels)}
        if coarser:
            losses = [
                weight * self._region(output, scaled_labels(labels, output.shape[2:]))
                for weight, output in zip(self._coarser_weights, coarser, strict=True)
            ]
            terms["deep_supervision"] = torch.stack(losses).sum()
        weight = self.weight(epoch)
        if self.boundary is not None and weight > 0:
            boundary = self.boundary(logits, labels, squares)
            if self._schedule is not None and self._schedule.is_ratio:
                weight *= gradient_ratio(terms[self.name], boundary, logits)
            terms["hausdorff"] = weight * boundary
        return {"total": torch.stack(list(terms.values())).sum(), **terms}

    def _region(self, logits: Tensor, labels: Tensor) -> Tensor:
        loss: Tensor = self.region(logits, labels.to(logits.dtype) if self._binary else labels)
        return loss

    def weight(self, epoch: int) -> float:
        """Return the boundary term's weight, or ratio of gradients, in an epoch (from 0)."""
        if self._schedule is not None and not self._warm_up:
            return self._schedule.maximum
        return hausdorff_weight(self._schedule, epoch)


def hausdorff_weight(schedule: HausdorffSchedule | None, epoch: int) -> float:
    """Return the boundary term's weight or ratio in an epoch (from 0): 0 in the warm-up, a straight ramp, the maximum.

    The first epoch of the ramp already weighs 1/ramp_epochs of the maximum. No schedule: always 0.
    """
    if schedule is None:
        return 0.0
    return schedule.maximum * min(1.0, max(0, epoch - schedule.start_epoch + 1) / schedule.ramp_epochs)


def gradient_ratio(region: Tensor, boundary: Tensor, logits: Tensor) -> float:
    """Return the norm of `region`'s gradient at the logits, divided by that of `boundary`.

    Both are scalars computed from `logits`. 0 without a gradient, and where the boundary term has none, as for images
    that show no structure.
    """
    if not logits.requires_grad:
        return 0.0
    norms = [float(torch.autograd.grad(term, logits, retain_graph=True)[0].norm()) for term in (region, boundary)]
    return norms[0] / norms[1] if norms[1] > 0 else 0.0


class HausdorffDTLoss(nn.Module):
    """Hausdorff distance-transform loss of Karimi and Salcudean (2019), equation 8, over the foreground classes.

    mean over pixels of (p - g)^2 (D_p^alpha + D_g^alpha), D being the distance to the boundary of the thresholded
    prediction and of the reference, in percent of the image's diagonal, so that the value does not grow with the image:
    with alpha 2 and weight 1, an error at one percent of the diagonal weighs about as much as in cross-entropy.
    Apart from that scale it equals MONAI's loss of the same name (include_background=False, softmax=True,
    reduction="mean"; sigmoid for one channel), with a faster exact distance transform.
    """

    def __init__(self, alpha: float = 2.0):
        super().__init__()
        self.alpha = alpha

    def forward(self, logits: Tensor, labels: Tensor, squares: Tensor | None = None) -> Tensor:
        """`logits` (B, C, h, w), `labels` (B, 1, h, w) int64. Returns a scalar with gradient.

        `squares` (B, K, h, w) float32 are the squared distances of the reference in pixels; None: they are computed.
        """
        probabilities = foreground(logits)
        classes = class_indices(probabilities.shape[1], labels)
        reference = (labels == classes).to(probabilities.dtype)
        if squares is None:
            squares = squared_distances(labels == classes)
        percent = float(np.hypot(*logits.shape[2:])) / 100
        distance = (squared_distances(probabilities.detach() > 0.5) / percent**2) ** (self.alpha / 2)
        distance += (squares / percent**2) ** (self.alpha / 2)
        return ((probabilities - reference) ** 2 * distance).mean()


def class_indices(count: int, labels: Tensor) -> Tensor:
    """Return the indices of the classes without background, `(1, count, 1, 1)`, for comparison with labels."""
    return torch.arange(1, 1 + count, device=labels.device).view(1, -1, 1, 1)
