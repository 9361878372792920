"""Agreement of two label maps, per class, with empty masks treated the same way everywhere.

Both empty: Dice, IoU and surface Dice 1, distance 0. One empty: Dice, IoU and surface Dice 0, distance the image's
diagonal. A missed structure thus makes these averages worse, and no value is undefined.

A surface is the mask's pixels with a 4-neighbour outside it, or outside the image.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoseg.geometry.points import scale_of
from sonoseg.sizes import Spacing
from sonoseg.types import Mask

Distances = NDArray[np.float64]

_ROUNDING = 1 + 1e-9
"""Tolerance of comparisons: three pixels of 0.1 mm are within 0.3 mm, although the product is larger in binary."""


@dataclass(frozen=True)
class Agreement:
    """One class of one image. Distances are in mm when the spacing is given, else in pixels; shares from 0 to 1.

    `pixel_accuracy` is the share of the image's pixels that have the class in both masks or in neither. It is high for
    small structures whatever the prediction, and higher for an empty one than for one in the wrong place.
    """

    dice: float
    iou: float
    surface_dice: float
    hd95: float
    hausdorff: float
    pixel_accuracy: float
    reference_empty: bool
    missed: bool
    false_alarm: bool


def agreement(prediction: Mask, reference: Mask, spacing: Spacing | None, tolerance: float = 1.0) -> Agreement:
    """Compare two `(H, W)` bool masks; `tolerance`, of the surface Dice, is in the unit of the distances."""
    common = int(np.count_nonzero(prediction & reference))
    predicted, present = int(np.count_nonzero(prediction)), int(np.count_nonzero(reference))
    total = predicted + present
    if predicted and present:
        distances = surface_distances(prediction, reference, spacing)
        within, hd95, farthest = surface_dice(*distances, tolerance), hausdorff(*distances, 95), hausdorff(*distances)
    else:
        within = 0.0 if total else 1.0
        hd95 = farthest = diagonal(prediction.shape, spacing) if total else 0.0
    return Agreement(
        dice=2 * common / total if total else 1.0,
        iou=common / (total - common) if total else 1.0,
        surface_dice=within,
        hd95=hd95,
        hausdorff=farthest,
        pixel_accuracy=1 - (total - 2 * common) / prediction.size,
        reference_empty=present == 0,
        missed=present > 0 and predicted == 0,
        false_alarm=present == 0 and predicted > 0,
    )


def surface_distances(prediction: Mask, reference: Mask, spacing: Spacing | None) -> tuple[Distances, Distances]:
    """Return how far each surface pixel of one mask lies from the nearest of the other: prediction's, reference's.

    Both masks `(H, W)` bool have at least one pixel. Distances are (N,) and (M,) float64, in mm with a spacing, else in
    pixels.
    """
    from scipy.spatial import cKDTree  # imported at the first distance: it is slow

    scale = scale_of(spacing)
    # Neither mask has a pixel outside this box, so a surface looks the same in it.
    left, top, width, height = cv2.boundingRect((prediction | reference).astype(np.uint8))
    box = slice(top, top + height), slice(left, left + width)
    predicted, expected = surface_points(prediction[box]) * scale, surface_points(reference[box]) * scale
    return cKDTree(expected).query(predicted)[0], cKDTree(predicted).query(expected)[0]


def surface_dice(predicted: Distances, reference: Distances, tolerance: float) -> float:
    """Return the share of both surfaces, 0 to 1, that lies within `tolerance` of the other surface.

    `predicted` (N,) and `reference` (M,) float64 are the distances of `surface_distances`, at least one each;
    `tolerance` is in their unit.

    Surface Dice, also normalised surface distance (NSD), of Nikolov et al. 2018, arXiv:1809.04430: there a
    surface's elements are weighted by their size. Here each surface pixel counts once. Where pixels are oblong, the
    sides along which they are short weigh more than their length; for the square or nearly square pixels of ultrasound
    images the difference is negligible.
    """
    near = sum(np.count_nonzero(distances <= tolerance * _ROUNDING) for distances in (predicted, reference))
    return float(near / (len(predicted) + len(reference)))


def hausdorff(predicted: Distances, reference: Distances, percentile: float = 100) -> float:
    """Return the larger of the two directed percentiles of surface distances; at 100 the Hausdorff distance.

    `predicted` (N,) and `reference` (M,) float64 are the distances of `surface_distances`, at least one each; the
    result is in their unit.
    """
    return max(float(np.percentile(distances, percentile)) for distances in (predicted, reference))


def diagonal(shape: tuple[int, ...], spacing: Spacing | None) -> float:
    """Return the diagonal of an image of this (H, W), in mm with a spacing, else in pixels: no distance is larger."""
    return float(np.hypot(*(np.array(shape[::-1]) * scale_of(spacing))))


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


def batch_dice(predicted: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return per-case, per-class (Dice, IoU), each `(B, K)` float64 on the CPU, at the network's size.

    `predicted` (B, h, w) and `labels` (B, 1, h, w) int64 class indices. It chooses the epoch; the final
    evaluation is in the geometry of the original image.
    """
    pairs = []
    for index in range(1, 1 + classes):
        prediction, reference = predicted == index, labels[:, 0] == index
        common = (prediction & reference).sum(dim=(1, 2)).double()
        pairs.append((common, prediction.sum(dim=(1, 2)).double() + reference.sum(dim=(1, 2)).double()))
    common, total = (torch.stack(parts, dim=1).cpu() for parts in zip(*pairs, strict=True))
    empty = total == 0
    dice = torch.where(empty, 1.0, 2 * common / total.clamp(min=1))
    iou = torch.where(empty, 1.0, common / (total - common).clamp(min=1))
    return dice, iou
