"""What training minimises: a region term, and a boundary term that comes in after a warm-up."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from monai.losses import DiceCELoss, DiceFocalLoss
from numpy.typing import NDArray
from torch import Tensor, nn

from sonoseg.core.training_sections import HausdorffSchedule, Loss
from sonoseg.train.networks.heads import foreground


def dice_ce(settings: Loss, binary: bool) -> nn.Module:
    """Dice plus cross-entropy: of one class, Dice plus binary cross-entropy on the logits."""
    return DiceCELoss(**_dice_arguments(settings, binary), lambda_ce=settings.cross_entropy_weight)


def dice_focal(settings: Loss, binary: bool) -> nn.Module:
    """Dice plus focal loss (Lin et al. 2017): cross-entropy in which pixels that are right already weigh little."""
    return DiceFocalLoss(**_dice_arguments(settings, binary), lambda_focal=settings.cross_entropy_weight)


def bce(settings: Loss, binary: bool) -> nn.Module:
    """Binary cross-entropy on the logits, the mean over all pixels."""
    return nn.BCEWithLogitsLoss(reduction="mean")


REGION_LOSSES: dict[str, Callable[[Loss, bool], nn.Module]] = {
    "dice_ce": dice_ce,
    "dice_focal": dice_focal,
    "bce_dice": dice_ce,  # its name when there is one class
    "bce": bce,
}


def _dice_arguments(settings: Loss, binary: bool) -> dict[str, Any]:
    return {
        "include_background": binary or settings.include_background,  # one channel is the class itself
        "to_onehot_y": not binary,
        "sigmoid": binary,
        "softmax": not binary,
        "reduction": "mean",
        # Per image, a class that is absent has Dice 0 for the least trace of it, and thin classes are never learnt.
        "batch": settings.batch_dice,
    }


class SegmentationLoss(nn.Module):
    """Region loss plus the scheduled Hausdorff term of a task; `binary` for logits of one channel."""

    def __init__(self, settings: Loss, binary: bool = False, warm_up: bool = True):
        """Without `warm_up` the boundary term has its full weight from the first epoch: what a quick check wants."""
        super().__init__()
        self.name: str = settings.name
        self._binary = binary
        self.region = REGION_LOSSES[settings.name](settings, binary)
        self._schedule, self._warm_up = settings.hausdorff, warm_up
        self.boundary = HausdorffDTLoss(settings.hausdorff.alpha) if settings.hausdorff else None

    def forward(self, logits: Tensor, labels: Tensor, epoch: int) -> dict[str, Tensor]:
        """Return the terms: `total` with gradient, and the weighted parts that add up to it.

        `logits` (B, C, h, w); `labels` (B, 1, h, w) int64 class indices; `epoch` counts from 0.
        """
        terms = {self.name: self.region(logits, labels.to(logits.dtype) if self._binary else labels)}
        weight = self.weight(epoch)
        total = terms[self.name]
        if self.boundary is not None and weight > 0:
            terms["hausdorff"] = weight * self.boundary(logits, labels)
            total = total + terms["hausdorff"]
        return {"total": total, **terms}

    def weight(self, epoch: int) -> float:
        """Return the boundary term's weight in an epoch (from 0)."""
        if self._schedule is not None and not self._warm_up:
            return self._schedule.max_weight
        return hausdorff_weight(self._schedule, epoch)


def hausdorff_weight(schedule: HausdorffSchedule | None, epoch: int) -> float:
    """Return the boundary term's weight in an epoch (from 0): 0 in the warm-up, a straight ramp, then the maximum.

    The first epoch of the ramp already weighs 1/ramp_epochs of the maximum. No schedule: always 0.
    """
    if schedule is None:
        return 0.0
    return schedule.max_weight * min(1.0, max(0, epoch - schedule.start_epoch + 1) / schedule.ramp_epochs)


class HausdorffDTLoss(nn.Module):
    """Hausdorff distance-transform loss of Karimi and Salcudean (2019), equation 8, over the foreground classes.

    mean over pixels of (p - g)^2 (D_p^alpha + D_g^alpha), D being the distance to the boundary of the thresholded
    prediction and of the reference, in percent of the image's diagonal, so that the value does not grow with the image:
    with alpha 2 and weight 1, an error one percent of the diagonal off weighs about as much as in cross-entropy.
    Apart from that scale it equals MONAI's loss of the same name (include_background=False, softmax=True,
    reduction="mean"; sigmoid for one channel), with OpenCV's exact distance transform, which is several times faster
    than SciPy's.
    """

    def __init__(self, alpha: float = 2.0):
        super().__init__()
        self.alpha = alpha

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """`logits` (B, C, h, w), `labels` (B, 1, h, w) int64. Returns a scalar with gradient."""
        probabilities = foreground(logits)
        classes = torch.arange(1, 1 + probabilities.shape[1], device=labels.device).view(1, -1, 1, 1)
        reference = (labels == classes).to(probabilities.dtype)
        percent = float(np.hypot(*logits.shape[2:])) / 100
        distance = (self._field(probabilities.detach()) / percent) ** self.alpha
        distance += (self._field(reference) / percent) ** self.alpha
        return ((probabilities - reference) ** 2 * distance).mean()

    @staticmethod
    def _field(maps: Tensor) -> Tensor:
        """Return the distance of each pixel to the boundary of `maps` > 0.5, in pixels; 0 for an empty map."""
        inside = (maps > 0.5).to("cpu", torch.uint8).numpy()
        fields = np.stack([distance_to_boundary(mask) for mask in inside.reshape(-1, *inside.shape[-2:])])
        return torch.from_numpy(fields).view(maps.shape).to(maps.device)


def distance_to_boundary(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return, for `mask` (h, w) of 0 and 1, each pixel's distance to the nearest pixel of the other value.

    An empty or full mask has no boundary: 0 everywhere.
    """
    if not mask.any() or mask.all():
        return np.zeros(mask.shape, np.float32)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance += cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV's last bit depends on where the mask lies in memory, and a resumed training would not be the same one. The
    # square of a distance between pixels is a whole number, which leaves no doubt.
    return np.sqrt(np.rint(distance * distance))
