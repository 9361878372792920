"""Non-local means (Buades, Coll, Morel 2005), equal to `cv2.fastNlMeansDenoising` byte for byte, and faster.

The weight of two pixels is symmetric, so only half of the search window is compared. All sums are of integers, so that
neither the order nor the number of threads changes the result.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from sonoseg.compiled import compiled
from sonoseg.types import Pixels

IntArray = NDArray[np.int32]

MIN_ROWS = 32
"""Least height of a band with its own thread, because each also compares up to `search / 2` rows above it."""


def denoise(image: Pixels, strength: float, template: int, search: int, threads: int | None = None) -> Pixels:
    """Return `image` (H, W) uint8, each pixel the average of those around it, weighted by the similarity of patches.

    strength: root mean square difference of patches, in grey levels, at which a weight is 1/e. template, search: sides
    of the patches and of the search window in pixels; even numbers count as the next odd number. threads: by default as
    many as OpenCV uses.
    """
    radius, reach = template // 2, search // 2
    border = radius + reach
    padded = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_REFLECT_101)
    table, shift = weight_table(strength, 2 * radius + 1, 2 * reach + 1)
    output = np.empty(image.shape, np.uint8)
    height = image.shape[0]
    threads = threads or max(1, cv2.getNumThreads())
    rows = max(MIN_ROWS, -(-height // threads))

    def fill(top: int) -> None:
        _fill_rows(output, (top, min(top + rows, height)), padded, (radius, reach), table, shift)

    if rows >= height:
        fill(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(0, height, rows)))
    return output


@lru_cache(maxsize=8)  # a millisecond and a half, and all images of a run share it
def weight_table(strength: float, template: int, search: int) -> tuple[IntArray, int]:
    """Return the weights of two patches, indexed by their sum of squared differences shifted right, and the shift.

    The weight is exp(-mean squared difference / strength^2), and 0 below a thousandth, in units that keep the largest
    sum of weighted pixels within 31 bits. The shift is the division by the template's area, rounded up to a power of
    two. This is OpenCV's arithmetic (`fast_nlmeans_denoising_invoker.hpp`). The last weight is 0, and that of all
    larger sums.
    """
    area = template**2
    shift = (area - 1).bit_length()
    step = 2**shift / area
    means = np.arange(int(255**2 / step + 1)) * step
    unit = (2**31 - 1) // (search**2 * 255)
    # OpenCV squares the strength in float32, where a tiny one becomes 0.
    squared = max(float(np.float32(strength) * np.float32(strength)), 1e-45)
    weights = np.rint(unit * np.exp(-means / squared))
    return np.append(weights[weights >= 0.001 * unit], 0).astype(np.int32), shift


@numba.njit
def _add_squares(columns: IntArray, a: Pixels, b: Pixels, sign: int) -> None:
    """Add to `columns` the squared differences of two rows of pixels, times `sign`."""
    for x in range(columns.size):
        difference = np.int32(a[x]) - np.int32(b[x])
        columns[x] += np.int32(sign) * difference * difference


@numba.njit
def _fill_weights(weights: IntArray, columns: IntArray, size: int, table: IntArray, shift: int) -> None:
    """Fill `weights` with those of patches `size` wide, from the sums of their columns."""
    # Unsigned, because a signed index would be tested for being negative.
    bits, last = np.uint32(shift), np.uint32(table.size - 1)
    entering = columns[size - 1 :]
    total, leaving = np.uint32(columns[: size - 1].sum()), np.uint32(0)
    for x in range(weights.size):
        total = np.uint32(total + np.uint32(np.uint32(entering[x]) - leaving))
        leaving = np.uint32(columns[x])
        weights[x] = table[min(total >> bits, last)]


@numba.njit
def _accumulate(weight_sums: IntArray, sums: IntArray, weights: IntArray, pixels: Pixels) -> None:
    """Add the weights and the weighted pixels to rows of their sums."""
    for x in range(weights.size):
        weight_sums[x] += weights[x]
        sums[x] += weights[x] * np.int32(pixels[x])


@compiled("void(uint8[:, ::1], UniTuple(int64, 2), uint8[:, ::1], UniTuple(int64, 2), int32[::1], int64)")
def _fill_rows(
    output: Pixels, rows: tuple[int, int], padded: Pixels, radii: tuple[int, int], table: IntArray, shift: int
) -> None:
    """Fill the rows from the first of `rows` to before the second of `output` (H, W), from the padded image.

    radii: of a patch, and of the search window; `padded` is the image with a border of their sum.

    Each pixel is compared with the one `dy` rows below and `dx` columns to the right of it, a row of pixels at a time,
    whose data fits into the processor's first-level cache. The sums have a border of `reach` for pixels outside the
    band; the column of a pixel in them is that of its patch's first pixel in `padded`.
    """
    (top, bottom), (radius, reach) = rows, radii
    height, width, size, border = bottom - top, output.shape[1], 2 * radius + 1, radius + reach
    weight_sums = np.zeros((height + 2 * reach, width + 2 * reach), np.int32)
    sums = np.zeros_like(weight_sums)
    columns = np.empty((2 * reach + 1, padded.shape[1]), np.int32)
    row_of_weights = np.empty(width + reach, np.int32)
    for dy in range(reach + 1):
        columns[:] = 0
        first = top - dy
        for y in range(first - 2 * radius, bottom):
            for dx in range(-reach if dy else 1, reach + 1):
                count = width + abs(dx)
                left = reach - max(dx, 0)
                right = left + dx
                column = columns[reach + dx, : count + 2 * radius]
                upper, lower = padded[:, left : left + column.size], padded[dy:, right : right + column.size]
                _add_squares(column, upper[y + border + radius], lower[y + border + radius], 1)
                if y < first:
                    continue
                weights = row_of_weights[:count]
                _fill_weights(weights, column, size, table, shift)
                a, b = slice(left, left + count), slice(right, right + count)
                row = y - top + reach
                _accumulate(weight_sums[row, a], sums[row, a], weights, lower[y + border, radius:])
                _accumulate(weight_sums[row + dy, b], sums[row + dy, b], weights, upper[y + border, radius:])
                _add_squares(column, upper[y + border - radius], lower[y + border - radius], -1)
    own_weight = np.int64(table[0])
    for y in range(height):
        for x in range(width):
            total = own_weight + weight_sums[y + reach, x + reach]
            weighted = own_weight * padded[top + y + border, x + border] + sums[y + reach, x + reach]
            output[top + y, x] = (weighted + total // 2) // total
