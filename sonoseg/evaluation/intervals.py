"""Means over patients with bootstrap intervals, and limits of agreement."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sonoseg.io.names import patient_key

RESAMPLES = 2000
"""Number of bootstrap samples."""


def limits_of_agreement(errors: Sequence[float]) -> list[float | None]:
    """Return mean -/+ 1.96 standard deviations (n - 1) of all images' errors; `[None, None]` for a single error.

    Bland and Altman 1986. 95 % of normally distributed errors lie between these limits.
    """
    if len(errors) < 2:
        return [None, None]
    return [float(np.mean(errors) + sign * 1.96 * np.std(errors, ddof=1)) for sign in (-1, 1)]


def patient_means(values: Sequence[float], patients: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean value of each patient `(P,)`, in the order in which the patients occur."""
    keys = [patient_key(patient) for patient in patients]
    return pd.Series(values, dtype=float).groupby(keys, sort=False).mean().to_numpy()


def mean_with_interval(values: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """Return the mean of the patients' means with its 95 % percentile bootstrap interval, None for a single patient.

    Patients are resampled with replacement (Efron and Tibshirani 1993), with a fixed seed.
    """
    means = patient_means(values, patients)
    draws = np.random.default_rng(0).choice(means, (RESAMPLES, len(means))).mean(axis=1)
    low, high = np.percentile(draws, [2.5, 97.5])
    return {"mean": float(means.mean()), "interval_95": [float(low), float(high)] if len(means) > 1 else None}


def spread(values: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """Return `mean_with_interval`, and the median and standard deviation (n - 1) of the patients' means."""
    means = patient_means(values, patients)
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return mean_with_interval(values, patients) | {"median": float(np.median(means)), "standard_deviation": deviation}
