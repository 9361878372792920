"""The soft drawing of a capsule, compared with a mask in one pass over the pixels: it is done a hundred times an image.

Importing this loads numba, which takes a third of a second: `lines` does so when there is a line to fit.
"""

import math

import numpy as np

from sonoseg.core.compiled import compiled

_SATURATED = 25.0
"""Softnesses from the edge, where the drawing is 0 or 1 but for 1e-11 and nothing moves it."""


@compiled("Tuple((float64, float64[::1], float64[:, ::1]))(float64[:, ::1], float64[::1], float64[::1], float64)")
def normal_equations(pixels, target, values, edge):  # type: ignore[no-untyped-def]  # the types are in the signature
    """Return what a Levenberg-Marquardt step needs: the sum of squares, `J'r` `(5,)` and `J'J` `(5, 5)`.

    pixels: `(2, N)`, x and y; target: `(N,)`, 1 in the mask and 0 beside it; values: x, y, x, y of the ends, and
    radius. The drawing is 1 / (1 + exp((distance - radius) / edge)), r its difference from the target, J its slopes.
    """
    x, y, radius = values[0], values[1], values[4]
    along_x, along_y = values[2] - x, values[3] - y
    square = max(along_x * along_x + along_y * along_y, 2.220446049250313e-16)
    error, right, normal, slope = 0.0, np.zeros(5), np.zeros((5, 5)), np.empty(5)
    for index in range(target.size):
        from_x, from_y = pixels[0, index] - x, pixels[1, index] - y
        place = min(max((along_x * from_x + along_y * from_y) / square, 0.0), 1.0)
        away_x, away_y = from_x - place * along_x, from_y - place * along_y
        distance = math.sqrt(away_x * away_x + away_y * away_y)
        depth = (radius - distance) / edge
        if abs(depth) > _SATURATED:
            rest = target[index] - (depth > 0)
            error += rest * rest
            continue
        soft = 1 / (1 + math.exp(-depth))
        rest = target[index] - soft
        error += rest * rest
        steep = soft * (1 - soft) / edge
        unit = steep / max(distance, 2.220446049250313e-16)
        slope[0], slope[1] = away_x * unit * (1 - place), away_y * unit * (1 - place)
        slope[2], slope[3], slope[4] = away_x * unit * place, away_y * unit * place, steep
        for i in range(5):
            right[i] += slope[i] * rest
            for j in range(i + 1):
                normal[i, j] += slope[i] * slope[j]
    for i in range(5):
        for j in range(i):
            normal[j, i] = normal[i, j]
    return error, right, normal
