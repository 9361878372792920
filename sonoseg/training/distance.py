"""Exact distances to the boundary of a mask: by OpenCV on a CPU, by whole tensors on another device."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 2**25
"""Numbers that the transform on a device holds at a time: 128 MB."""


def squared_distances(inside: Tensor) -> Tensor:
    """Return each pixel's squared distance to the nearest pixel of the other value, `(..., h, w)` float32, in pixels.

    `inside` is bool `(..., h, w)`, on any device; nothing leaves it unless it is the CPU. An empty or full mask has no
    boundary: 0 everywhere. Squares of distances between pixels are whole numbers, so both ways give equal values.
    """
    maps = inside.reshape(-1, *inside.shape[-2:])
    if inside.device.type == "cpu":
        found = [torch.from_numpy(squared_distance_to_boundary(mask)) for mask in maps.to(torch.uint8).numpy()]
        return torch.stack(found).view(inside.shape)
    return _on_device(maps).view(inside.shape)


def squared_distance_to_boundary(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the same of one mask `(h, w)` of 0 and 1, by OpenCV's exact transform."""
    if not mask.any() or mask.all():
        return np.zeros(mask.shape, np.float32)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance += cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV's last bit depends on where the mask lies in memory, and a resumed training would not be the same one. The
    # square of a distance between pixels is a whole number, which leaves no doubt.
    np.multiply(distance, distance, out=distance)
    return np.rint(distance, out=distance)


def _on_device(inside: Tensor) -> Tensor:
    """Return squared distances of bool maps `(N, h, w)`: along each row first, then the best over the rows.

    The separable transform of Felzenszwalb and Huttenlocher (2012), whose second pass is done here by comparing all
    rows with all: more work than on a CPU, and none of it waits.
    """
    height, width = inside.shape[-2:]
    has_boundary = (inside.flatten(1).any(dim=1) & ~inside.flatten(1).all(dim=1)).view(-1, 1, 1)
    along = torch.where(inside, _along_rows(~inside), 0) + torch.where(inside, 0, _along_rows(inside))
    found = torch.zeros(inside.shape, device=inside.device)
    for own in (inside, ~inside):  # a row counts for the pixels of one side with its distances to the other side
        nearest = torch.where(own, along, 0.0)
        found += torch.where(own, _over_rows(nearest, CHUNK // max(1, len(inside) * height * width)), 0.0)
    return torch.where(has_boundary, found, 0.0)


def _along_rows(target: Tensor) -> Tensor:
    """Return each pixel's squared distance to the nearest target in its own row; beyond the image where there is none.

    `target` is bool `(N, h, w)`.
    """
    height, width = target.shape[-2:]
    far = float(height + width)
    at = torch.arange(width, device=target.device, dtype=torch.float32).expand(target.shape)
    before = torch.where(target, at, -far).cummax(dim=-1).values
    after = torch.where(target, at, 2 * far).flip(-1).cummin(dim=-1).values.flip(-1)
    return torch.minimum(at - before, after - at).clamp(max=far) ** 2


def _over_rows(squares: Tensor, rows: int) -> Tensor:
    """Return min over k of squares[k, j] + (i - k)^2 for `(N, h, w)`, as many rows i at a time as fit."""
    height = squares.shape[1]
    at = torch.arange(height, device=squares.device, dtype=torch.float32)
    parts = []
    for some in at.split(max(1, rows)):
        lift = (some[:, None] - at[None, :]) ** 2
        parts.append((squares[:, None] + lift[None, :, :, None]).amin(dim=2))
    return torch.cat(parts, dim=1)
