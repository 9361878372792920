"""Agreement of two label maps, per class, with empty masks treated the same way everywhere.

Both empty: Dice 1, IoU 1, distance 0. One empty: Dice 0, IoU 0, distance the image's diagonal. So a missed structure
always makes an average worse, and no value is ever silently undefined.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoseg.core.geometry import scale_of
from sonoseg.core.manifest import Spacing

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """One class of one image. Distances are in mm when the spacing is known, else in pixels."""

    dice: float
    iou: float
    hd95: float
    reference_empty: bool
    missed: bool
    false_alarm: bool


def agreement(prediction: Mask, reference: Mask, spacing: Spacing | None) -> Agreement:
    """Compare two `(H, W)` bool masks."""
    common = int(np.count_nonzero(prediction & reference))
    predicted, present = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    total = predicted + present
    return Agreement(
        dice=2 * common / total if total else 1.0,
        iou=common / (total - common) if total else 1.0,
        hd95=hausdorff95(prediction, reference, spacing),
        reference_empty=present == 0,
        missed=present > 0 and predicted == 0,
        false_alarm=present == 0 and predicted > 0,
    )


def hausdorff95(prediction: Mask, reference: Mask, spacing: Spacing | None) -> float:
    """Return the larger of the two directed 95th percentiles of surface distances.

    A surface is the mask's pixels with a 4-neighbour outside it, or outside the image.
    """
    if not prediction.any() and not reference.any():
        return 0.0
    if not prediction.any() or not reference.any():
        return float(np.hypot(*(np.array(prediction.shape[::-1]) * scale_of(spacing))))
    one, other = surface_points(prediction) * scale_of(spacing), surface_points(reference) * scale_of(spacing)
    return max(float(np.percentile(_nearest(one, other), 95)), float(np.percentile(_nearest(other, one), 95)))


def surface_points(mask: Mask) -> NDArray[np.float64]:
    """Return the surface pixels of `mask` as (N, 2) points (x, y)."""
    inner = cv2.erode(
        mask.astype(np.uint8),
        cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    rows, cols = np.nonzero(mask & (inner == 0))
    return np.stack([cols, rows], axis=1).astype(np.float64)


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree  # imported when a distance is asked for: it takes a while

    return cKDTree(others).query(points)[0]


def batch_dice(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return per-case, per-class (Dice, IoU) of the argmax, each `(B, K)` float64 on the CPU, at the network's size.

    `logits` (B, 1 + K, h, w), `labels` (B, 1, h, w) int64. This is what chooses the epoch; the final evaluation
    compares in the original geometry.
    """
    predicted = logits.argmax(dim=1)
    pairs = []
    for index in range(1, logits.shape[1]):
        ours, theirs = predicted == index, labels[:, 0] == index
        common = (ours & theirs).sum(dim=(1, 2)).double()
        pairs.append((common, ours.sum(dim=(1, 2)).double() + theirs.sum(dim=(1, 2)).double()))
    common, total = (torch.stack(parts, dim=1).cpu() for parts in zip(*pairs, strict=True))
    empty = total == 0
    dice = torch.where(empty, 1.0, 2 * common / total.clamp(min=1))
    iou = torch.where(empty, 1.0, common / (total - common).clamp(min=1))
    return dice, iou
