"""Fit a quality model to results with known references, of images that the network was not trained on."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from sonoseg.quality.model import LEAST_LOSS, Familiarity, IntervalModel, QualityModel, StructureQuality, transformed
from sonoseg.quality.regression import Line, fit_monotone

Array = NDArray[np.float64]
Model = TypeVar("Model")
Value = TypeVar("Value")

MIN_IMAGES = 20
"""Fewer images cannot show that at most 5 % of the accepted are not acceptable, nor carry seven weights."""
MAX_NOT_ACCEPTABLE = 0.05
"""Share of the accepted results that may be below the acceptable Dice."""
COVERAGE = 0.9
"""Share of future measurements whose true value the interval shall contain."""
MIN_PATIENTS = 19
"""Patients below which the largest of all errors does not reach 95 % coverage: no interval is given."""
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
        values = np.stack([transformed(one.features[name]) for one in seen])
        losses = np.array([max(1 - one.dice[name], LEAST_LOSS) for one in seen])
        line = fit_monotone(values, np.log(losses))
        expected = np.exp(line(np.stack([transformed(one.features[name]) for one in originals])))
        loss = float(np.mean([max(1 - one.dice[name], LEAST_LOSS) for one in originals]))
        factor = loss / float(expected.mean())
        fitted[name] = StructureQuality(intercept=line.intercept, weights=line.weights.tolist(), factor=factor)
    return fitted


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
) -> list[Value]:
    """Return a value per observation, from a fit to the patients of the other parts.

    Patients are dealt to `PARTS` parts in the order in which they appear. With one patient, all are fitted together.
    """
    patients = {patient: index % PARTS for index, patient in enumerate(dict.fromkeys(o.patient for o in observations))}
    parts = [patients[one.patient] for one in observations]
    models = {}
    for part in set(parts):
        others = [one for one, own in zip(observations, parts, strict=True) if own != part]
        models[part] = fit(others or observations)
    return [apply(models[part], one) for one, part in zip(observations, parts, strict=True)]


def acceptance_limit(qualities: Sequence[float], dice: Sequence[float], acceptable: float) -> float | None:
    """Return the lowest expected Dice to be accepted, by conformal risk control; None when no limit is proven.

    It is the lowest quality at which, of the n results with this quality or a higher one, (b + 1) / (n + 1) is at most
    `MAX_NOT_ACCEPTABLE`, b of them being below the acceptable Dice (Angelopoulos et al. 2024, Conformal Risk Control).
    Where that accepts all results, the limit is not above `acceptable`: none of them has shown that it should be.
    """
    order = np.argsort(qualities)[::-1]
    sorted_qualities = np.asarray(qualities)[order]
    bad = np.cumsum(np.asarray(dice)[order] < acceptable)
    risk = (bad + 1) / (np.arange(len(order)) + 2)
    proven = np.flatnonzero(risk <= MAX_NOT_ACCEPTABLE)
    if not proven.size:
        return None
    last = int(proven[-1])
    limit = float(sorted_qualities[last])
    return min(limit, acceptable) if last == len(order) - 1 else limit


def fit_interval(key: str, observations: Sequence[Observation]) -> IntervalModel | None:
    """Return the interval of a measurement: split conformal with a spread that follows from the features.

    One image per patient counts, the first with a value and a reference; below `MIN_PATIENTS` patients there is none.
    The spread of an error is a regression of log |error|, with the logarithm of the value where all are positive; the
    errors that choose the quantile are divided by the spread that the other patients' fit gives (Lei et al. 2018,
    Distribution-Free Predictive Inference for Regression).
    """
    by_patient: dict[str, Observation] = {}
    for one in observations:
        if key in one.errors and not one.is_copy and one.features:
            by_patient.setdefault(one.patient, one)
    names = sorted({name for one in by_patient.values() for name in one.features})
    chosen = [one for one in by_patient.values() if set(names) == set(one.features)]
    if len(chosen) < MIN_PATIENTS:
        return None
    scaled = all(one.values[key] > 0 for one in chosen)
    least = 0.1 * float(np.median([abs(one.errors[key]) for one in chosen])) or 1e-6

    def inputs(one: Observation) -> Array:
        values = [transformed(one.features[name]) for name in names]
        return np.concatenate([*values, [math.log(one.values[key]) if scaled else 0.0]])

    def fit(some: Sequence[Observation]) -> Line:
        targets = np.log([max(abs(one.errors[key]), least) for one in some])
        return fit_monotone(np.stack([inputs(one) for one in some]), targets, SPREAD_RIDGE)

    scores = cross_fitted(
        chosen, fit, lambda line, one: abs(one.errors[key]) / math.exp(float(line(inputs(one)[None])[0]))
    )
    rank = math.ceil((len(scores) + 1) * COVERAGE)
    line = fit(chosen)
    spreads = line(np.stack([inputs(one) for one in chosen]))
    return IntervalModel(
        structures=names,
        intercept=line.intercept,
        weights=line.weights[:-1].tolist(),
        size_weight=float(line.weights[-1]),
        spreads=[float(spreads.min()), float(spreads.max())],
        quantile=max(float(np.sort(scores)[min(rank, len(scores)) - 1]), 1e-9),
        patients=len(chosen),
    )


def fit_quality(
    observations: Sequence[Observation], acceptable: float | None, familiarity: Familiarity | None, source: str
) -> QualityModel | None:
    """Return the quality model of these observations; None for fewer than `MIN_IMAGES` originals with a structure.

    acceptable: Dice from which a result is acceptable; None: 90 % of the originals' median.
    """
    originals = [one for one in observations if not one.is_copy]
    if sum(bool(one.features) for one in originals) < MIN_IMAGES:
        return None
    if acceptable is None:
        acceptable = 0.9 * float(np.median([one.image_dice for one in originals]))
    qualities = cross_fitted(observations, fit_structures, image_quality)
    judged = [
        (quality, one.image_dice)
        for quality, one in zip(qualities, observations, strict=True)
        if quality is not None and not one.is_copy
    ]
    intervals = {
        key: fit_interval(key, originals) for key in dict.fromkeys(key for one in originals for key in one.errors)
    }
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
