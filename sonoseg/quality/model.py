"""The quality model of a network, as its model file stores it: numbers only, applied with NumPy."""

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from sonoseg.postprocess.features import FEATURES

Array = NDArray[np.float64]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Weights = Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(max_length=100)]

FLOORS = {"uncertainty": 0.003, "band": 0.003, "disagreement": 0.003, "residual": 0.002}
"""Features of which the logarithm is taken, after this is added: they span three powers of ten."""

WORST_LOSS, LEAST_LOSS = 1.0, 0.002
"""Range of 1 - Dice whose logarithm is predicted: below, two annotators would not agree either."""


class _Numbers(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class StructureQuality(_Numbers):
    """Expected loss of a structure: 1 - Dice = factor * exp(intercept + weights . features)."""

    intercept: Finite
    weights: Weights
    factor: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def expected_dice(self, features: Mapping[str, float]) -> float:
        """Return the expected Dice, 0 to 1, from `FEATURES`."""
        exponent = self.intercept + float(np.dot(self.weights, transformed(features)))
        return 1 - min(WORST_LOSS, self.factor * math.exp(min(exponent, 0.0)))


class IntervalModel(_Numbers):
    """Interval of a measurement: value ± quantile * exp(intercept + weights . features).

    structures: those whose features count, their weights in this order; where a structure is absent there is no
    interval. size_weight: of the logarithm of the value. spreads: range of the exponent in the calibration, to which
    others are limited: how errors grow beyond it is unknown. patients: how many it was calibrated on.
    """

    structures: list[str]
    intercept: Finite
    weights: Weights
    size_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    quantile: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    spreads: Annotated[list[Finite], Field(min_length=2, max_length=2)]
    patients: int

    def interval(self, value: float, features: Mapping[str, Mapping[str, float]]) -> tuple[float, float] | None:
        """Return the interval around a value; None where a structure that it depends on was not found."""
        if any(name not in features for name in self.structures) or (self.size_weight and value <= 0):
            return None
        values = np.concatenate([transformed(features[name]) for name in self.structures])
        exponent = self.intercept + float(np.dot(self.weights, values))
        exponent += self.size_weight * math.log(value) if self.size_weight else 0.0
        half = self.quantile * math.exp(min(max(exponent, self.spreads[0]), self.spreads[1]))
        return value - half, value + half


class Familiarity(_Numbers):
    """Distance of an image's statistics from those of the training images: |whitening . (statistics - centre)|."""

    centre: list[Finite]
    whitening: list[list[Finite]]
    limit: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    def distance(self, statistics: Array) -> float:
        """Return the distance of `image_statistics` `(S,)`."""
        return float(np.linalg.norm(np.asarray(self.whitening) @ (statistics - np.asarray(self.centre))))


class QualityModel(_Numbers):
    """What stage 3 has learnt about the accuracy of a network, on images that it was not trained on.

    structures: structure -> its regression. acceptable_dice: Dice from which a result is acceptable. limit: expected
    Dice below which a result is rejected; None where too few images were there to choose one. intervals: key of a
    measurement -> its interval. familiarity: None in a task of few images. images, patients: of the fit. source: what
    they were, such as `fold 0`.
    """

    structures: dict[str, StructureQuality]
    acceptable_dice: Annotated[float, Field(ge=0, le=1)]
    limit: Annotated[float, Field(ge=0, le=1)] | None
    intervals: dict[str, IntervalModel]
    familiarity: Familiarity | None
    images: int
    patients: int
    source: str

    def expected_dice(self, features: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """Return structure -> expected Dice, for the structures that were found and that have a regression."""
        return {
            name: self.structures[name].expected_dice(values)
            for name, values in features.items()
            if name in self.structures
        }


def transformed(features: Mapping[str, float]) -> Array:
    """Return a structure's features `(F,)` in the order of `FEATURES`, as the regressions take them."""
    return np.array(
        [math.log(features[name] + FLOORS[name]) if name in FLOORS else features[name] for name in FEATURES]
    )
