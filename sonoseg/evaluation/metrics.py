"""Agreement of two label maps, per class, with empty masks treated the same way everywhere.

Both empty: Dice, IoU and surface Dice 1, distance 0. One empty: Dice, IoU and surface Dice 0, distance the image's
diagonal. A missed structure thus makes these averages worse, and no value is undefined.

The Hausdorff distances are those of the surface pixels: pixels of the mask with a 4-neighbour outside it, or outside
the image. The surface Dice is that of the contour between the pixels, weighted by its length.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sonoseg.geometry.extent import extent
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
        hd95, farthest = hausdorff(*distances, 95), hausdorff(*distances)
    else:
        hd95 = farthest = diagonal(prediction.shape, spacing) if total else 0.0
    return Agreement(
        dice=2 * common / total if total else 1.0,
        iou=common / (total - common) if total else 1.0,
        surface_dice=surface_dice(prediction, reference, spacing, tolerance),
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
    # Neither mask has a pixel outside this box, so a surface looks the same in it.
    box, scale = extent(prediction | reference), scale_of(spacing)
    return _nearest(surface_points(prediction[box]) * scale, surface_points(reference[box]) * scale)


def surface_dice(prediction: Mask, reference: Mask, spacing: Spacing | None, tolerance: float) -> float:
    """Return the share of both contours' length, 0 to 1, that lies within `tolerance` of the other contour.

    Masks `(H, W)` bool; both empty: 1; one empty: 0. `tolerance` is in mm with a spacing, else in pixels.

    Surface Dice, also normalised surface distance (NSD), of Nikolov et al. 2018, arXiv:1809.04430. Distances are those
    of the elements of `contour` from each other, and each element weighs its length, as in the authors'
    surface-distance 0.1 and in MONAI's `compute_surface_dice(use_subvoxels=True)`.
    """
    if not (prediction.any() and reference.any()):
        return 0.0 if prediction.any() or reference.any() else 1.0
    box = extent(prediction | reference)
    (predicted, predicted_lengths), (expected, lengths) = (
        contour(mask[box], spacing) for mask in (prediction, reference)
    )
    near, total = 0.0, 0.0
    for distances, weights in zip(_nearest(predicted, expected), (predicted_lengths, lengths), strict=True):
        near += float(weights[distances <= tolerance * _ROUNDING].sum())
        total += float(weights.sum())
    return near / total


def contour(mask: Mask, spacing: Spacing | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the elements of a mask's contour: their positions (N, 2) as (x, y) and their lengths (N,), both float64.

    In mm with a spacing, else in pixels; N is 0 for an empty mask `(H, W)` bool. An element is a corner of pixels at
    which the four pixels around it differ; outside the image there is no mask. Position (0, 0) is the outer corner of
    the first pixel. Lengths, also of surface-distance 0.1: the width or the height of a pixel on a straight edge, half
    its diagonal where the contour turns, the whole diagonal where two opposite pixels meet. A curve comes out too long:
    a circle by 5 % with square pixels, by 15 % with pixels of 4 to 1.
    """
    row_mm, col_mm = spacing or (1.0, 1.0)
    half = float(np.hypot(row_mm, col_mm)) / 2
    lengths = np.zeros(16)
    lengths[[1, 2, 4, 7, 8, 11, 13, 14]] = half
    lengths[[3, 12]], lengths[[5, 10]], lengths[[6, 9]] = col_mm, row_mm, 2 * half
    padded = np.pad(mask, 1).astype(np.uint8)
    # One bit for each of the four pixels around a corner: 8 and 4 above it, 2 and 1 below.
    codes = 8 * padded[:-1, :-1] + 4 * padded[:-1, 1:] + 2 * padded[1:, :-1] + padded[1:, 1:]
    rows, cols = np.nonzero(lengths[codes])
    return np.stack([cols, rows], axis=1) * scale_of(spacing), lengths[codes[rows, cols]]


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


def _nearest(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[Distances, Distances]:
    """Return how far each point of (N, 2) lies from the nearest of (M, 2), and the reverse; both have at least one."""
    from scipy.spatial import cKDTree  # imported at the first distance: it is slow

    return cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]


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
