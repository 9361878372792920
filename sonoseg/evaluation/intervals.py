"""Means over patients with 95 % confidence intervals, and limits of agreement.

Values are averaged within each patient first, so that patients count equally however many images they have; intervals
are of the mean of these means. Fewer than 50 patients: t interval. The percentile bootstrap is too narrow there: it
contains the true mean in 71 % of samples of 3 patients (`python -m benchmarks.coverage`).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sonoseg.io.names import patient_key

RESAMPLES = 2000
"""Number of bootstrap samples."""

FEWEST_PATIENTS, MANY_PATIENTS = 3, 50
"""Patients from which on there is an interval, and from which on it is the bootstrap's."""

T_INTERVAL, BOOTSTRAP = "t", "bootstrap"
METHODS = {T_INTERVAL: "t intervals on patient means", BOOTSTRAP: "percentile bootstrap over patients"}
"""Value of `interval_method` -> how pages and tables name it."""

RULE = (
    "means are taken within each patient, then over patients; 95 % intervals are t intervals of the patients' means "
    f"below {MANY_PATIENTS} patients and percentile bootstrap intervals over patients ({RESAMPLES} samples) from "
    f"{MANY_PATIENTS} on; there is none below {FEWEST_PATIENTS}"
)

Range = tuple[float, float]
SHARE, SIZE, ANY = (0.0, 1.0), (0.0, np.inf), (-np.inf, np.inf)
"""Values that are possible: of Dice and other shares, of distances and absolute errors, of differences."""

_Z = 1.96
"""Standard deviations on either side of the mean between which 95 % of a normal distribution lie."""


def patient_means(values: Sequence[float], patients: Sequence[str]) -> NDArray[np.float64]:
    """Return the mean value of each patient `(P,)`, in the order in which the patients occur."""
    keys = [patient_key(patient) for patient in patients]
    return pd.Series(values, dtype=float).groupby(keys, sort=False).mean().to_numpy()


def mean_with_interval(values: Sequence[float], patients: Sequence[str], possible: Range = ANY) -> dict[str, Any]:
    """Return the mean of the patients' means, its 95 % interval, and by which of METHODS this was computed.

    values: one per image, at least one, with its patient. possible: smallest and largest possible value, to which the
    interval is clipped. With fewer than 3 patients `interval_95` and `interval_method` are None. Equal means of all
    patients have an interval of no width.
    """
    means = patient_means(values, patients)
    interval, method = interval_of_mean(means, possible)
    return {"mean": float(means.mean()), "interval_95": interval, "interval_method": method}


def interval_of_mean(means: NDArray[np.float64], possible: Range = ANY) -> tuple[list[float] | None, str | None]:
    """Return the 95 % interval of the mean of patients' means `(P,)`, and its method; both None below 3 patients.

    Below 50 patients Student's t interval, P - 1 degrees of freedom; from 50 the percentile bootstrap (Efron and
    Tibshirani 1993) with a fixed seed.
    """
    count = len(means)
    if count < FEWEST_PATIENTS:
        return None, None
    if count < MANY_PATIENTS:
        from scipy.special import stdtrit

        method, half = T_INTERVAL, stdtrit(count - 1, 0.975) * np.std(means, ddof=1) / np.sqrt(count)
        bounds = means.mean() + np.array([-half, half])
    else:
        method = BOOTSTRAP
        draws = np.random.default_rng(0).choice(means, (RESAMPLES, count)).mean(axis=1)
        bounds = np.percentile(draws, [2.5, 97.5])
    return [float(bound) for bound in np.clip(bounds, *possible)], method


def spread(values: Sequence[float], patients: Sequence[str], possible: Range = ANY) -> dict[str, Any]:
    """Return `mean_with_interval`, and the median and standard deviation (n - 1) of the patients' means."""
    means = patient_means(values, patients)
    deviation = float(np.std(means, ddof=1)) if len(means) > 1 else None
    summary = mean_with_interval(values, patients, possible)
    return summary | {"median": float(np.median(means)), "standard_deviation": deviation}


def method_of(score: Mapping[str, Any]) -> str | None:
    """Return the method of an interval; evaluations of version 0.2 do not state it and have the bootstrap's."""
    return score.get("interval_method", BOOTSTRAP if score["interval_95"] else None)


def interval_note(scores: Iterable[Mapping[str, Any]]) -> str:
    """Return how the intervals of some means were computed, for captions: `95 % intervals: ...`."""
    used = {method_of(score) for score in scores}
    names = [name for method, name in METHODS.items() if method in used]
    if not names:
        return f"no intervals: fewer than {FEWEST_PATIENTS} patients"
    return f"95 % intervals: {f', or with {MANY_PATIENTS} patients and more '.join(names)}"


def bland_altman(errors: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """Return the `bias` of differences and their `limits_of_agreement`, with `limits_of_agreement_intervals_95`.

    Bland and Altman 2007, doi:10.1080/10543400701329422, for several images of a patient whose true value differs from
    image to image: the variance of a difference is the sum of that between patients and that within them, both from a
    one-way analysis of variance, the former not below 0. Limits are bias -/+ 1.96 times its root. With one image of
    each patient they are those of Bland and Altman 1986. The bias is the mean of the patients' means, as all scores
    are.

    Intervals of the limits: from those of the bias and of the variance (Graybill and Wang 1980), combined as by Zou
    2013, doi:10.1177/0962280211402548. Limits are [None, None] for a single patient, their intervals None below 3.
    """
    bias = mean_with_interval(errors, patients)
    summary: dict[str, Any] = {"bias": bias, "limits_of_agreement": [None, None]}
    summary["limits_of_agreement_intervals_95"] = None
    if len(patient_means(errors, patients)) < 2:
        return summary
    variance, (low, high) = _variance_of_differences(errors, patients)
    below, above = (bias["mean"] + sign * _Z * float(np.sqrt(variance)) for sign in (-1, 1))
    summary["limits_of_agreement"] = [below, above]
    if bias["interval_95"]:
        inward, outward = (_Z * abs(float(np.sqrt(bound) - np.sqrt(variance))) for bound in (low, high))
        down, up = (abs(bound - bias["mean"]) for bound in bias["interval_95"])
        summary["limits_of_agreement_intervals_95"] = [
            [below - float(np.hypot(down, outward)), below + float(np.hypot(up, inward))],
            [above - float(np.hypot(down, inward)), above + float(np.hypot(up, outward))],
        ]
    return summary


def _variance_of_differences(errors: Sequence[float], patients: Sequence[str]) -> tuple[float, Range]:
    """Return the variance of a difference of at least two patients, and its 95 % interval."""
    from scipy.special import chdtri

    values = np.asarray(errors, dtype=float)
    codes, keys = pd.factorize(np.array([patient_key(patient) for patient in patients]))
    sizes, count, total = np.bincount(codes), len(keys), len(values)
    means = np.bincount(codes, values) / sizes
    repeats = total - count
    between = float(sizes @ (means - values.mean()) ** 2) / (count - 1)
    within = float(((values - means[codes]) ** 2).sum()) / repeats if repeats else 0.0
    images = (total - float(sizes @ sizes) / total) / (count - 1)  # a patient, on average
    variance = max(between - within, 0.0) / images + within
    parts = [(between / images, count - 1), ((1 - 1 / images) * within, repeats)]
    parts = [(part, freedom) for part, freedom in parts if freedom]
    # chdtri(n, p) is the value that a chi-squared variable of n degrees of freedom exceeds with probability p.
    down, up = (
        float(np.hypot.reduce([part * (freedom / chdtri(freedom, tail) - 1) for part, freedom in parts]))
        for tail in (0.025, 0.975)
    )
    return variance, (max(variance - down, 0.0), variance + up)
