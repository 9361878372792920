"""How much of a measurement's error is the annotation's, from patients with several images; see `--help`.

    python -m benchmarks.annotation_noise Models/fetal_head/cross_validation/out_of_fold/per_case.csv --key hc_mm

Reference and prediction of an image are taken for its true value plus an error each, independent of one another. Images
of a patient then vary together in both by as much as the truth does, and what varies in one alone is its error (Grubbs
1948, On estimating precision of measuring instruments and product variability, JASA 43:243-264). A choice of the
outline that both make alike counts as truth, and one that is the same in all images of a patient as no error.
"""

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sonoseg.errors import DataError
from sonoseg.io.tables import read_table
from sonoseg.runs.command_line import run_guarded

DRAWS = 2000
"""Of patients, with replacement, for the intervals."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Standard deviations of an image's errors, in the unit of the measurement; 0 where the estimate is negative."""

    annotation: float
    prediction: float

    @property
    def least_error(self) -> float:
        """The mean absolute error against such annotations of a prediction without any error, if they are normal."""
        return math.sqrt(2 / math.pi) * self.annotation


def read_groups(path: Path, key: str) -> list[Array]:
    """Return `(N, 2)` of each patient with N >= 2 images, reference and prediction, from a table of cases.

    Raises DataError where a column is missing, or fewer than two patients have two images.
    """
    rows = [row for _, row in read_table(path, "training.py")]
    groups = defaultdict[str, list[tuple[float, float]]](list)
    columns = ["patient", f"{key}_reference", key]
    missing = [name for name in columns if rows and name not in rows[0]]
    if missing or not rows:
        raise DataError(f"no column {', '.join(missing or columns)}; expected the per_case.csv of an evaluation", path)
    for row in rows:
        if row[f"{key}_reference"] and row[key]:
            groups[row["patient"]].append((float(row[f"{key}_reference"]), float(row[key])))
    several = [np.array(values) for values in groups.values() if len(values) > 1]
    if len(several) < 2:
        raise DataError(f"{len(several)} patients with two images that have {key}; expected two or more", path)
    return several


def estimate(groups: Sequence[Array], relative: bool = False) -> Noise:
    """Return the errors of reference and prediction; relative: in per cent of the patient's mean reference."""
    products, freedom = _within_patients(groups, relative)
    return Noise(*map(float, _errors(products.sum(axis=0) / freedom.sum())))


def interval(groups: Sequence[Array], relative: bool = False) -> tuple[Noise, Noise]:
    """Return the 2.5 and the 97.5 per cent quantiles of both errors, by resampling patients."""
    products, freedom = _within_patients(groups, relative)
    drawn = np.random.default_rng(0).integers(0, len(groups), (DRAWS, len(groups)))
    errors = _errors(products[drawn].sum(axis=1) / freedom[drawn].sum(axis=1)[:, None, None])
    low, high = np.quantile(errors, (0.025, 0.975), axis=0)
    return Noise(*map(float, low)), Noise(*map(float, high))


def _within_patients(groups: Sequence[Array], relative: bool) -> tuple[Array, Array]:
    """Return the sums of products of deviations from the patient's mean `(P, 2, 2)`, and degrees of freedom `(P,)`."""
    products = []
    for values in groups:
        deviations = (values - values.mean(axis=0)) * (100 / values[:, 0].mean() if relative else 1)
        products.append(deviations.T @ deviations)
    return np.stack(products), np.array([len(values) - 1.0 for values in groups])


def _errors(covariance: Array) -> Array:
    """Return the standard deviations `(..., 2)` of both errors from covariance matrices `(..., 2, 2)`."""
    variances = np.stack([covariance[..., 0, 0], covariance[..., 1, 1]], axis=-1) - covariance[..., 0, 1, None]
    return np.asarray(np.sqrt(np.maximum(variances, 0)))


def near(groups: Sequence[Array], most: float) -> list[Array]:
    """Return the patients whose images differ by at most `most`, by the mean of reference and prediction.

    Others were examined more than once, weeks apart.
    """
    return [values for values in groups if np.ptp(values.mean(axis=1)) <= most]


def run(argv: Sequence[str] | None) -> int:
    """Print the errors and their intervals. Raises DataError."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.annotation_noise", description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="per_case.csv of images that the models were not trained on")
    parser.add_argument("--key", default="hc_mm", help="measurement (default: hc_mm)")
    parser.add_argument("--most", type=float, default=15, help="only patients whose images differ by at most this")
    arguments = parser.parse_args(argv)
    groups = near(read_groups(arguments.table, arguments.key), arguments.most)
    differences = np.concatenate([values[:, 1] - values[:, 0] for values in groups])
    print(f"{len(groups)} patients, {len(differences)} images, mean absolute error {np.abs(differences).mean():.2f}")
    for relative, unit in ((False, arguments.key.rpartition("_")[2]), (True, "%")):
        noise, (low, high) = estimate(groups, relative), interval(groups, relative)
        print(
            f"standard deviation of an annotation {noise.annotation:.2f} {unit} ({low.annotation:.2f} to "
            f"{high.annotation:.2f}), of a prediction {noise.prediction:.2f} {unit} ({low.prediction:.2f} to "
            f"{high.prediction:.2f})"
        )
        if not relative:
            print(f"mean absolute error of a prediction without any error: {noise.least_error:.2f} {unit}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code, see `run_guarded`."""
    return run_guarded(run, argv)


if __name__ == "__main__":
    sys.exit(main())
