"""The soft drawing of a capsule, moved until it differs least from a mask: a hundred passes over the pixels an image.

Importing this loads numba, which takes a third of a second: `lines` does so when there is a line to fit.
"""

import math

import numpy as np

from sonoseg.compiled import compiled

_STEPS = 25
_SATURATED = 15.0
"""Softnesses from the edge, where the drawing is 0 or 1 but for 3e-7 and nothing moves it."""


_ADDED = 2.220446049250313e-16
"""Keeps what is divided by above 0: the distance of a pixel on the axis, a parameter that no pixel feels."""


@compiled("Tuple((float64, float64[::1], float64[:, ::1]))(float64[:, ::1], float64[::1], float64[::1], float64)")
def normal_equations(pixels, target, values, edge):  # type: ignore[no-untyped-def]  # the types are in the signature
    """Return what a Levenberg-Marquardt step needs: the sum of squares, `J'r` `(5,)` and `J'J` `(5, 5)`.

    pixels: `(2, N)`, x and y; target: `(N,)`, 1 in the mask and 0 beside it; values: x, y, x, y of the ends, and
    radius. The drawing is 1 / (1 + exp((distance - radius) / edge)), r its difference from the target, J its slopes.
    """
    x, y, radius = values[0], values[1], values[4]
    along_x, along_y = values[2] - x, values[3] - y
    per_square = 1 / max(along_x * along_x + along_y * along_y, _ADDED)
    within, beyond = max(radius - _SATURATED * edge, 0.0) ** 2, max(radius + _SATURATED * edge, 0.0) ** 2
    error, right, normal, slope = 0.0, np.zeros(5), np.zeros((5, 5)), np.empty(5)
    for index in range(target.size):
        from_x, from_y = pixels[0, index] - x, pixels[1, index] - y
        place = min(max((along_x * from_x + along_y * from_y) * per_square, 0.0), 1.0)
        away_x, away_y = from_x - place * along_x, from_y - place * along_y
        distance = away_x * away_x + away_y * away_y
        if distance < within or distance > beyond:
            rest = target[index] - (distance < within)
            error += rest * rest
            continue
        distance = math.sqrt(distance)
        soft = 1 / (1 + math.exp((distance - radius) / edge))
        rest = target[index] - soft
        error += rest * rest
        steep = soft * (1 - soft) / edge
        unit = steep / max(distance, _ADDED)
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


@compiled("float64[::1](float64[:, ::1], float64[::1])")
def solve(normal, right):  # type: ignore[no-untyped-def]
    """Return `x` where `normal @ x = right`, for a positive definite matrix `(n, n)`: Cholesky's way.

    Of parameters that cannot be told apart within the last digits, the later ones stay where they are.
    """
    size = right.size
    lower, x = np.zeros((size, size)), right.copy()
    for i in range(size):
        for j in range(i + 1):
            rest = normal[i, j]
            for k in range(j):
                rest -= lower[i, k] * lower[j, k]
            if i > j:
                lower[i, j] = rest / lower[j, j]
            else:
                lower[i, i] = math.sqrt(rest) if rest > 1e-14 * normal[i, i] else np.inf
        for k in range(i):
            x[i] -= lower[i, k] * x[k]
        x[i] /= lower[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            x[i] -= lower[k, i] * x[k]
        x[i] /= lower[i, i]
    return x


@compiled("float64[::1](float64[:, ::1], float64[::1], float64[::1], float64, float64)")
def descend(pixels, target, values, edge, settled):  # type: ignore[no-untyped-def]
    """Return values from which no Levenberg-Marquardt step longer than `settled` pixels lessens the sum of squares.

    The arguments are those of `normal_equations`; steps are made shorter until one lessens it, and there are few.
    """
    error, right, normal = normal_equations(pixels, target, values, edge)
    damping = 1e-2
    for _ in range(_STEPS):
        damped = normal.copy()
        for i in range(5):
            damped[i, i] += damping * (normal[i, i] + _ADDED)
        step = solve(damped, right)
        tried = normal_equations(pixels, target, values + step, edge)
        if tried[0] < error:
            values = values + step
            error, right, normal = tried
            damping /= 10
        else:
            damping *= 10
        if np.abs(step).max() < settled:
            break
    return values
