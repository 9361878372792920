"""Fit of a capsule's soft rendering to a mask by Levenberg-Marquardt steps: a hundred passes over an image's pixels.

Importing this loads numba, which takes a third of a second: `line_fit` does so when there is a line to fit.
"""

import math

import numpy as np

from sonoseg.compiled import compiled

_STEPS = 25
_SATURATED = 15.0
"""Distance from the edge, in units of its softness, beyond which the rendering is 0 or 1 within 3e-7."""


_TINY = 2.220446049250313e-16
"""Keeps divisors above 0: the distance of a pixel on the axis, the diagonal of a parameter without influence."""


@compiled("Tuple((float64, float64[::1], float64[:, ::1]))(float64[:, ::1], float64[::1], float64[::1], float64)")
def normal_equations(pixels, target, values, softness_px):  # type: ignore[no-untyped-def]  # the types are in the signature
    """Return the terms of a Levenberg-Marquardt step: the sum of squares, `J'r` `(5,)` and `J'J` `(5, 5)`.

    pixels: `(2, N)`, x and y; target: `(N,)`, 1 in the mask and 0 outside; values: x, y, x, y of the ends, and
    radius. The rendering is 1 / (1 + exp((distance - radius) / softness_px)), r its difference from the target, J its
    Jacobian.
    """
    x, y, radius = values[0], values[1], values[4]
    along_x, along_y = values[2] - x, values[3] - y
    per_square = 1 / max(along_x * along_x + along_y * along_y, _TINY)
    within, beyond = max(radius - _SATURATED * softness_px, 0.0) ** 2, max(radius + _SATURATED * softness_px, 0.0) ** 2
    error, gradient, normal_matrix, slope = 0.0, np.zeros(5), np.zeros((5, 5)), np.empty(5)
    for index in range(target.size):
        from_x, from_y = pixels[0, index] - x, pixels[1, index] - y
        position = min(max((along_x * from_x + along_y * from_y) * per_square, 0.0), 1.0)
        away_x, away_y = from_x - position * along_x, from_y - position * along_y
        distance = away_x * away_x + away_y * away_y
        if distance < within or distance > beyond:
            residual = target[index] - (distance < within)
            error += residual * residual
            continue
        distance = math.sqrt(distance)
        soft = 1 / (1 + math.exp((distance - radius) / softness_px))
        residual = target[index] - soft
        error += residual * residual
        steep = soft * (1 - soft) / softness_px
        unit = steep / max(distance, _TINY)
        slope[0], slope[1] = away_x * unit * (1 - position), away_y * unit * (1 - position)
        slope[2], slope[3], slope[4] = away_x * unit * position, away_y * unit * position, steep
        for i in range(5):
            gradient[i] += slope[i] * residual
            for j in range(i + 1):
                normal_matrix[i, j] += slope[i] * slope[j]
    for i in range(5):
        for j in range(i):
            normal_matrix[j, i] = normal_matrix[i, j]
    return error, gradient, normal_matrix


@compiled("float64[::1](float64[:, ::1], float64[::1])")
def solve(normal_matrix, gradient):  # type: ignore[no-untyped-def]
    """Return the solution `x` of `normal_matrix @ x = gradient`, by Cholesky decomposition.

    The matrix is `(n, n)` and positive definite. Of parameters that are linearly dependent within
    the last digits, the later ones are 0.
    """
    size = gradient.size
    lower, x = np.zeros((size, size)), gradient.copy()
    for i in range(size):
        for j in range(i + 1):
            rest = normal_matrix[i, j]
            for k in range(j):
                rest -= lower[i, k] * lower[j, k]
            if i > j:
                lower[i, j] = rest / lower[j, j]
            else:
                lower[i, i] = math.sqrt(rest) if rest > 1e-14 * normal_matrix[i, i] else np.inf
        for k in range(i):
            x[i] -= lower[i, k] * x[k]
        x[i] /= lower[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            x[i] -= lower[k, i] * x[k]
        x[i] /= lower[i, i]
    return x


@compiled("float64[::1](float64[:, ::1], float64[::1], float64[::1], float64, float64)")
def levenberg_marquardt(pixels, target, values, softness_px, tolerance_px):  # type: ignore[no-untyped-def]
    """Return values from which no Levenberg-Marquardt step longer than `tolerance_px` reduces the sum of squares.

    The arguments are those of `normal_equations`. A step that does not reduce it increases the damping.
    """
    error, gradient, normal_matrix = normal_equations(pixels, target, values, softness_px)
    damping = 1e-2
    for _ in range(_STEPS):
        damped = normal_matrix.copy()
        for i in range(5):
            damped[i, i] += damping * (normal_matrix[i, i] + _TINY)
        step = solve(damped, gradient)
        tried = normal_equations(pixels, target, values + step, softness_px)
        if tried[0] < error:
            values = values + step
            error, gradient, normal_matrix = tried
            damping /= 10
        else:
            damping *= 10
        if np.abs(step).max() < tolerance_px:
            break
    return values
