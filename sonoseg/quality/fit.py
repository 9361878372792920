"""Fit a quality model to results with known references, of images that the network was not trained on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sonoseg.quality.model import (
    LARGEST,
    LEAST_LOSS,
    Familiarity,
    IntervalModel,
    QualityModel,
    StructureQuality,
    transformed,
)
from sonoseg.quality.regression import Line, fit_monotone

Array = NDArray[np.float64]
Model = TypeVar("Model")
Value = TypeVar("Value")

MIN_IMAGES = 20
"""Fewer images cannot show that at most 5 % of the accepted are not acceptable, nor carry seven weights."""
MAX_EXPONENT = 50.0
"""Spreads beyond are no spread."""
_BISECTIONS = 100
MAX_NOT_ACCEPTABLE = 0.05
"""Share of the accepted results that may be below the acceptable Dice."""
REJECTED_LOSS = 2.0
"""An expected loss (1 - Dice) of more than so many times the acceptable one is always rejected: with an acceptable Dice
of 0.95, an expected Dice below 0.9."""
COVERAGE = 0.9
"""Share of future measurements whose true value the interval shall contain."""
MIN_PATIENTS = 19
"""Patients below which the largest of all errors would be the quantile, so that one unusual patient alone decided how
wide intervals are: none is given. Of 19 errors it is the second largest, rank ceil(20 * 0.9) = 18."""
SPREAD_RIDGE = 10.0
"""Penalty of the regression of spreads: single errors say little about a spread, and there is one per patient."""
PARTS = 5
"""Parts of patients for cross-fitting: limits are chosen by predictions for patients that a fit has not seen."""


@dataclass(frozen=True)
class Observation:
    """A result with its reference.

    features, dice: structure -> features and Dice, for the structures that were found. image_dice: mean Dice of the
    structures that the result or the reference shows. values, errors: key -> measured value, and value minus reference,
    where both have one. is_copy: of a degraded copy, which widens the range of the regression and sets no limit.
    """

    patient: str
    features: Mapping[str, Mapping[str, float]]
    dice: Mapping[str, float]
    image_dice: float
    values: Mapping[str, float]
    errors: Mapping[str, float]
    is_copy: bool = False


def fit_structures(observations: Sequence[Observation]) -> dict[str, StructureQuality]:
    """Return structure -> regression of log(1 - Dice) on its features; without a result of it there is none.

    The factor makes the mean expected loss of the originals equal to their mean loss.
    """
    fitted = {}
    for name in dict.fromkeys(name for one in observations for name in one.features):
        seen = [one for one in observations if name in one.features]
        originals = [one for one in seen if not one.is_copy] or seen
        line = fit_monotone(
            np.stack([transformed(one.features[name]) for one in seen]),
            np.log([max(1 - one.dice[name], LEAST_LOSS) for one in seen]),
        )
        expected = np.exp(np.minimum(line(np.stack([transformed(one.features[name]) for one in originals])), 0.0))
        loss = float(np.mean([max(1 - one.dice[name], LEAST_LOSS) for one in originals]))
        factor = _factor(expected, loss)
        fitted[name] = StructureQuality(intercept=line.intercept, weights=line.weights.tolist(), factor=factor)
    return fitted


def _factor(expected: Array, loss: float) -> float:
    """Return the factor with which the expected losses `(N,)`, at most 1 each, have this mean (bisection)."""
    low, high = 1e-6, LARGEST
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if np.minimum(middle * expected, 1.0).mean() < loss else (low, middle)
    return high


def image_quality(structures: Mapping[str, StructureQuality], observation: Observation) -> float | None:
    """Return the mean expected Dice of the structures that were found; None without one."""
    dice = [
        structures[name].expected_dice(values) for name, values in observation.features.items() if name in structures
    ]
    return float(np.mean(dice)) if dice else None


def cross_fitted(
    observations: Sequence[Observation],
    fit: Callable[[Sequence[Observation]], Model],
    apply: Callable[[Model, Observation], Value],
) -> list[Value] | None:
    """Return a value per observation, from a fit to the patients of the other parts; None for fewer than 2 patients.

    Patients are dealt to `PARTS` parts in the order in which they appear.
    """
    patients = {patient: index % PARTS for index, patient in enumerate(dict.fromkeys(o.patient for o in observations))}
    if len(patients) < 2:
        return None
    parts = [patients[one.patient] for one in observations]
    models = {}
    for part in set(parts):
        others = [one for one, own in zip(observations, parts, strict=True) if own != part]
        models[part] = fit(others)
    return [apply(models[part], one) for one, part in zip(observations, parts, strict=True)]


def acceptance_limit(qualities: Sequence[float], dice: Sequence[float], acceptable: float) -> float:
    """Return the lowest expected Dice to be accepted, in the manner of conformal risk control.

    It is the lowest quality at which, of the n results with this quality or a higher one, (b + 1) / (n + 1) is at most
    `MAX_NOT_ACCEPTABLE`, b of them being below the acceptable Dice. The 1 that is added is that of Angelopoulos et al.
    (2024, Conformal Risk Control), whose guarantee holds for a risk over all results and not, as here, over the
    accepted ones. Where that accepts all results, the limit is not above `acceptable`; where no limit does it, because
    results are few or bad, it is `acceptable`. It is never so low that an expected loss of more than `REJECTED_LOSS`
    times the acceptable one is accepted: where nearly all results are good, the share alone would accept any failure.
    """
    order = np.argsort(qualities, kind="stable")[::-1]
    ranked = np.asarray(qualities, dtype=float)[order]
    bad = np.cumsum(np.asarray(dice)[order] < acceptable)
    risk = (bad + 1) / (np.arange(len(order)) + 2)
    ends_a_tie = np.append(ranked[1:] < ranked[:-1], True)
    proven = np.flatnonzero((risk <= MAX_NOT_ACCEPTABLE) & ends_a_tie)
    if not proven.size:
        return acceptable
    last = int(proven[-1])
    limit = min(float(ranked[last]), acceptable) if last == len(order) - 1 else float(ranked[last])
    return max(limit, 1 - REJECTED_LOSS * (1 - acceptable))


@dataclass(frozen=True)
class Measured:
    """What an interval of a measurement depends on: its structures, and whether its errors grow with its value."""

    structures: tuple[str, ...]
    is_relative: bool


@dataclass(frozen=True)
class _Spread:
    """Regression of log |error| and the range of its predictions, to which others are limited."""

    line: Line
    low: float
    high: float

    def __call__(self, inputs: Array) -> float:
        """Return the spread for the features `(F,)` of one result."""
        return math.exp(min(max(float(self.line(inputs[None])[0]), self.low), self.high))


def fit_interval(key: str, measured: Measured, observations: Sequence[Observation]) -> IntervalModel | None:
    """Return the interval of a measurement: conformal, with a spread that follows from the features.

    One image per patient counts, the first with a value and a reference; below `MIN_PATIENTS` patients there is none.
    The spread is a regression of log |error|, of relative errors where they grow with the value. The errors that choose
    the quantile are divided by the spread of a regression without their patient (Lei et al. 2018, Distribution-Free
    Predictive Inference for Regression); it is applied with the regression on all patients. The share of intervals that
    contain the reference is right on average, and not for each kind of image.
    """
    by_patient: dict[str, Observation] = {}
    for one in observations:
        usable = key in one.errors and not one.is_copy and all(name in one.features for name in measured.structures)
        if usable and (one.values[key] > 0 or not measured.is_relative):
            by_patient.setdefault(one.patient, one)
    chosen = list(by_patient.values())
    if len(chosen) < MIN_PATIENTS:
        return None

    def error(one: Observation) -> float:
        return abs(one.errors[key]) / (one.values[key] if measured.is_relative else 1.0)

    def inputs(one: Observation) -> Array:
        return np.concatenate([transformed(one.features[name]) for name in measured.structures])

    least = 0.1 * float(np.median([error(one) for one in chosen])) or 1e-6

    def fit(some: Sequence[Observation]) -> _Spread:
        values = np.stack([inputs(one) for one in some])
        line = fit_monotone(values, np.log([max(error(one), least) for one in some]), SPREAD_RIDGE)
        spreads = np.clip(line(values), -MAX_EXPONENT, MAX_EXPONENT)
        return _Spread(line, float(spreads.min()), float(spreads.max()))

    scores = cross_fitted(chosen, fit, lambda spread, one: error(one) / spread(inputs(one))) or []
    rank, spread = math.ceil((len(scores) + 1) * COVERAGE), fit(chosen)
    return IntervalModel(
        structures=list(measured.structures),
        intercept=spread.line.intercept,
        weights=spread.line.weights.tolist(),
        is_relative=measured.is_relative,
        quantile=max(float(np.sort(scores)[min(rank, len(scores)) - 1]), 1e-9),
        spreads=[spread.low, spread.high],
        patients=len(chosen),
    )


def fit_quality(
    observations: Sequence[Observation],
    acceptable: float | None,
    familiarity: Familiarity | None,
    source: str,
    measured: Mapping[str, Measured],
) -> QualityModel | None:
    """Return the quality model of these observations; None for fewer than `MIN_IMAGES` originals with a structure.

    acceptable: Dice from which a result is acceptable; None: 90 % of the originals' median. measured: key of a
    measurement -> what its interval depends on; others have none. The limit of the expected Dice is chosen by results
    of patients that a fit has not seen; of one patient alone there are none, and it is `acceptable`.
    """
    originals = [one for one in observations if not one.is_copy]
    if sum(bool(one.features) for one in originals) < MIN_IMAGES:
        return None
    if acceptable is None:
        acceptable = 0.9 * float(np.median([one.image_dice for one in originals]))
    qualities = cross_fitted(observations, fit_structures, image_quality) or [None] * len(observations)
    judged = [
        (quality, one.image_dice)
        for quality, one in zip(qualities, observations, strict=True)
        if quality is not None and not one.is_copy
    ]
    intervals = {key: fit_interval(key, what, originals) for key, what in measured.items()}
    return QualityModel(
        structures=fit_structures(observations),
        acceptable_dice=acceptable,
        limit=acceptance_limit([quality for quality, _ in judged], [dice for _, dice in judged], acceptable),
        intervals={key: interval for key, interval in intervals.items() if interval},
        familiarity=familiarity,
        images=len(originals),
        patients=len({one.patient for one in originals}),
        source=source,
    )
