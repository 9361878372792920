"""A linear regression whose weights are never negative, with a ridge penalty: more of any feature predicts more."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RIDGE = 1.0
"""Default penalty on the squared weights of standardised features, in units of one observation."""


@dataclass(frozen=True)
class Line:
    """intercept + weights . x, weights `(F,)` at least 0."""

    intercept: float
    weights: Array

    def __call__(self, values: Array) -> Array:
        """Return the prediction `(N,)` for values `(N, F)`."""
        return self.intercept + values @ self.weights


def fit_monotone(values: Array, targets: Array, ridge: float = RIDGE) -> Line:
    """Return the line of least squared error from values `(N, F)` to targets `(N,)`, N at least 1.

    The problem of non-negative least squares is solved by SciPy (Lawson and Hanson 1974); the intercept has no sign and
    no penalty. Features without variation get the weight 0.
    """
    from scipy.optimize import nnls

    centre, scale = values.mean(axis=0), values.std(axis=0)
    varies = scale > 1e-12
    standardised = np.where(varies, (values - centre) / np.where(varies, scale, 1), 0)
    penalty = np.sqrt(ridge) * np.eye(values.shape[1])
    system = np.concatenate([standardised, penalty])
    weights, _ = nnls(system, np.concatenate([targets - targets.mean(), np.zeros(values.shape[1])]))
    weights = np.where(varies, weights / np.where(varies, scale, 1), 0)
    return Line(float(targets.mean() - centre @ weights), weights)
