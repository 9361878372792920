"""The quality model of a network, as its model file stores it: numbers only, applied with NumPy."""

import math
from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sonoseg.postprocess.features import FEATURES

Array = NDArray[np.float64]
LARGEST = 1e6
"""Numbers beyond this are no result of a fit."""
Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
Weight = Annotated[float, Field(ge=0, le=LARGEST)]
Exponent = Annotated[float, Field(ge=-50, le=50)]

FLOORS = {"uncertainty": 0.003, "band": 0.003, "disagreement": 0.003, "residual": 0.002}
"""Features of which the logarithm is taken, after this is added: they span three powers of ten."""

LEAST_LOSS = 0.002
"""Least 1 - Dice whose logarithm is predicted: below, two annotators would not agree either."""


class _Numbers(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class StructureQuality(_Numbers):
    """Expected loss of a structure: 1 - Dice = factor * exp(intercept + weights . features)."""

    intercept: Number
    weights: Annotated[list[Weight], Field(min_length=len(FEATURES), max_length=len(FEATURES))]
    factor: Annotated[float, Field(gt=0, le=LARGEST)]

    def expected_dice(self, features: Mapping[str, float]) -> float:
        """Return the expected Dice, 0 to 1, from `FEATURES`."""
        exponent = self.intercept + float(np.dot(self.weights, transformed(features)))
        return 1 - min(1.0, self.factor * math.exp(min(exponent, 0.0)))


class IntervalModel(_Numbers):
    """Interval of a measurement: value ± quantile * spread, the spread exp(intercept + weights . features).

    structures: those that are measured, their weights in this order. is_relative: the spread is a share of the value,
    and so the same for any unit and pixel size. spreads: range of the exponent in the calibration, to which others are
    limited: how errors grow beyond it is unknown. patients: how many it was calibrated on.
    """

    structures: Annotated[list[str], Field(min_length=1, max_length=100)]
    intercept: Number
    weights: Annotated[list[Weight], Field(max_length=1000)]
    is_relative: bool
    quantile: Annotated[float, Field(gt=0, le=LARGEST)]
    spreads: Annotated[list[Exponent], Field(min_length=2, max_length=2)]
    patients: int

    @model_validator(mode="after")
    def _fits(self) -> "IntervalModel":
        expected = len(FEATURES) * len(self.structures)
        if len(self.weights) != expected:
            raise ValueError(f"{len(self.weights)} weights; expected {expected}")
        if self.spreads[0] > self.spreads[1]:
            raise ValueError(f"spreads {self.spreads} are not in order")
        return self

    def interval(self, value: float, features: Mapping[str, Mapping[str, float]]) -> tuple[float, float] | None:
        """Return the interval around a value; None where a structure was not found, or the value should be positive."""
        if any(name not in features for name in self.structures) or (self.is_relative and value <= 0):
            return None
        values = np.concatenate([transformed(features[name]) for name in self.structures])
        exponent = self.intercept + float(np.dot(self.weights, values))
        half = self.quantile * math.exp(min(max(exponent, self.spreads[0]), self.spreads[1]))
        return (
            (max(0.0, value - half * value), value + half * value) if self.is_relative else (value - half, value + half)
        )


class Familiarity(_Numbers):
    """Distance of an image's statistics from those of the training images: |whitening . (statistics - centre)|."""

    centre: Annotated[list[Number], Field(min_length=1, max_length=100)]
    whitening: list[list[Number]]
    limit: Annotated[float, Field(gt=0, le=LARGEST)]

    @model_validator(mode="after")
    def _is_square(self) -> "Familiarity":
        size = len(self.centre)
        if [len(row) for row in self.whitening] != [size] * size:
            raise ValueError(f"whitening is not {size} rows of {size} numbers")
        return self

    def distance(self, statistics: Array) -> float:
        """Return the distance of `image_statistics` `(S,)`."""
        return float(np.linalg.norm(np.asarray(self.whitening) @ (statistics - np.asarray(self.centre))))


class QualityModel(_Numbers):
    """What stage 3 has learnt about the accuracy of a network, on images that it was not trained on.

    structures: structure -> its regression. acceptable_dice: Dice from which a result is acceptable. limit: expected
    Dice below which a result is rejected. intervals: key of a measurement -> its interval. familiarity: None in a task
    of few images. images, patients: of the fit. source: what they were, such as `fold 0`.
    """

    structures: dict[str, StructureQuality]
    acceptable_dice: Annotated[float, Field(ge=0, le=1)]
    limit: Annotated[float, Field(ge=0, le=1)]
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
