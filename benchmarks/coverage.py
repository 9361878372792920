"""How often 95 % intervals of a mean over patients, and of limits of agreement, contain the true value.

    python -m benchmarks.coverage [--repeats N] [--seed N]

Simulated patients are drawn from distributions whose mean is known. The table is that of docs/guide/evaluation.md.
"""

import argparse
import sys
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sonoseg.evaluation.intervals import (
    FEWEST_PATIENTS,
    MANY_PATIENTS,
    RESAMPLES,
    SHARE,
    bland_altman,
    interval_of_mean,
)

PATIENTS = (2, 3, 5, 10, 20, 49, 50, 100)

Values = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Values]


def skewed(draw: np.random.Generator, patients: int) -> Values:
    """Return patients' Dice between 0 and 1 with a tail to low values: Beta(9, 1), mean 0.9, skewness -1.5."""
    return draw.beta(9, 1, patients)


def with_missed(draw: np.random.Generator, patients: int) -> Values:
    """Return the same, with one patient in twenty whose structure was missed: 0; mean 0.855."""
    return skewed(draw, patients) * (draw.random(patients) >= 0.05)


DISTRIBUTIONS: dict[str, tuple[Draw, float]] = {"skewed Dice": (skewed, 0.9), "with missed": (with_missed, 0.855)}
"""Name -> how patients are drawn, and their true mean."""


def percentile_bootstrap(means: Values) -> list[float]:
    """Return the percentile bootstrap interval, whatever the number of patients."""
    draws = np.random.default_rng(0).choice(means, (RESAMPLES, len(means))).mean(axis=1)
    return [float(bound) for bound in np.percentile(draws, [2.5, 97.5])]


def coverage_of_mean(name: str, patients: int, repeats: int, seed: int) -> tuple[float, float]:
    """Return the share of samples whose interval contains the true mean: as reported, and by the bootstrap.

    The former is NaN where no interval is reported.
    """
    draw, truth = DISTRIBUTIONS[name]
    generator = np.random.default_rng([seed, patients])
    reported, bootstrapped = 0, 0
    for _ in range(repeats):
        means = draw(generator, patients)
        low, high = percentile_bootstrap(means)
        bootstrapped += low <= truth <= high
        interval, _ = interval_of_mean(means, SHARE)
        reported += interval is not None and interval[0] <= truth <= interval[1]
    return reported / repeats if patients >= FEWEST_PATIENTS else float("nan"), bootstrapped / repeats


def coverage_of_limits(patients: int, repeats: int, seed: int) -> float:
    """Return the share of samples whose interval of the upper limit of agreement contains the true limit.

    Patients have one to eight images; the standard deviation of the differences is 3 between patients and 2 within.
    """
    generator = np.random.default_rng([seed, patients])
    truth, hits = 1.96 * np.hypot(3, 2), 0
    for _ in range(repeats):
        names = np.repeat(np.arange(patients), generator.integers(1, 9, patients))
        errors = generator.normal(0, 3, patients)[names] + generator.normal(0, 2, len(names))
        intervals = bland_altman(errors.tolist(), [str(name) for name in names])["limits_of_agreement_intervals_95"]
        hits += intervals[1][0] <= truth <= intervals[1][1]
    return hits / repeats


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table in Markdown; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10_000, help="samples of each kind")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    repeats, seed = arguments.repeats, arguments.seed
    columns = ("patients", "method", *(title for name in DISTRIBUTIONS for title in (name, "percentile bootstrap")))
    print(f"| {' | '.join((*columns, 'limits of agreement'))} |")
    print("|---|---|---|---|---|---|---|")
    for patients in PATIENTS:
        method = "none" if patients < FEWEST_PATIENTS else "t" if patients < MANY_PATIENTS else "bootstrap"
        shares = [share for name in DISTRIBUTIONS for share in coverage_of_mean(name, patients, repeats, seed)]
        limits = coverage_of_limits(patients, repeats // 10, seed) if patients >= FEWEST_PATIENTS else float("nan")
        cells = ["" if np.isnan(share) else f"{100 * share:.0f} %" for share in (*shares, limits)]
        print(f"| {patients} | {method} | {' | '.join(cells)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
