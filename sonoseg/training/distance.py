"""Exact distances to the boundary of a mask: by OpenCV on a CPU, by tensor operations on other devices."""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 2**25
"""Size in elements of the largest temporary tensor on a device: 128 MB."""


def squared_distances(inside: Tensor) -> Tensor:
    """Return each pixel's squared distance to the nearest pixel of the other value, `(..., h, w)` float32, in pixels.

    `inside` is bool `(..., h, w)`, on any device; the result is on the same device. An empty or full mask has no
    boundary: 0 everywhere. Squared distances between pixels are whole numbers, so all devices give equal values.
    """
    maps = inside.reshape(-1, *inside.shape[-2:])
    if inside.device.type == "cpu":
        squares = [torch.from_numpy(squared_distance_to_boundary(mask)) for mask in maps.to(torch.uint8).numpy()]
        return torch.stack(squares).view(inside.shape)
    return _on_device(maps).view(inside.shape)


def squared_distance_to_boundary(mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return `squared_distances` of a single mask `(h, w)` of 0 and 1, by OpenCV's exact transform."""
    if not mask.any() or mask.all():
        return np.zeros(mask.shape, np.float32)
    distance = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    distance += cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # OpenCV's last bit depends on the address of the mask in memory, which would make a resumed training differ. The
    # square of a distance between pixels is a whole number, so rounding removes the difference.
    np.multiply(distance, distance, out=distance)
    return np.rint(distance, out=distance)


def _on_device(inside: Tensor) -> Tensor:
    """Return squared distances of bool maps `(N, h, w)`: along each row first, then the minimum over the rows.

    The separable transform of Felzenszwalb and Huttenlocher (2012). The second pass compares all pairs of rows: more
    operations than their algorithm, but all of them in parallel.
    """
    height, width = inside.shape[-2:]
    has_boundary = (inside.flatten(1).any(dim=1) & ~inside.flatten(1).all(dim=1)).view(-1, 1, 1)
    along = torch.where(inside, _along_rows(~inside), 0) + torch.where(inside, 0, _along_rows(inside))
    squares = torch.zeros(inside.shape, device=inside.device)
    for side in (inside, ~inside):  # the pixels of each side use the distances to the other side
        nearest = torch.where(side, along, 0.0)
        squares += torch.where(side, _over_rows(nearest, CHUNK // max(1, len(inside) * height * width)), 0.0)
    return torch.where(has_boundary, squares, 0.0)


def _along_rows(target: Tensor) -> Tensor:
    """Return each pixel's squared distance to the nearest target in its own row; (h + w)^2 where there is none.

    `target` is bool `(N, h, w)`.
    """
    height, width = target.shape[-2:]
    far = float(height + width)
    at = torch.arange(width, device=target.device, dtype=torch.float32).expand(target.shape)
    before = torch.where(target, at, -far).cummax(dim=-1).values
    after = torch.where(target, at, 2 * far).flip(-1).cummin(dim=-1).values.flip(-1)
    return torch.minimum(at - before, after - at).clamp(max=far) ** 2


def _over_rows(squares: Tensor, rows: int) -> Tensor:
    """Return min over k of squares[k, j] + (i - k)^2 for `(N, h, w)`, computed for `rows` rows i at a time."""
    height = squares.shape[1]
    at = torch.arange(height, device=squares.device, dtype=torch.float32)
    minima = []
    for chunk in at.split(max(1, rows)):
        vertical = (chunk[:, None] - at[None, :]) ** 2
        minima.append((squares[:, None] + vertical[None, :, :, None]).amin(dim=2))
    return torch.cat(minima, dim=1)
