"""How well expected Dice, rejection and intervals did on images with references."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.quality.observe import measured_of
from sonoseg.quality.fit import COVERAGE, Observation, cross_fitted, fit_quality, image_quality
from sonoseg.schema.task import Task

FAILURE = 0.9
"""Results with a lower Dice are the failures that a quality score shall find."""
TERCILES = ("smallest third", "middle third", "largest third")
MIN_INTERVALS = 3
"""Fewer intervals have no coverage by thirds."""


@dataclass(frozen=True)
class JudgedInterval:
    """An interval and the reference that it should contain, in the measurement's unit."""

    low: float
    high: float
    reference: float

    @property
    def holds(self) -> bool:
        return self.low <= self.reference <= self.high


@dataclass(frozen=True)
class Judged:
    """A result of known Dice and what was said about it without the reference.

    dice: of the image, 0 to 1. quality: expected Dice; None: nothing was found. rejected: its status was `reject`.
    intervals: by the key of the measurement.
    """

    dice: float
    quality: float | None
    rejected: bool
    intervals: Mapping[str, JudgedInterval]


def judge_cases(cases: Iterable[Case]) -> list[Judged]:
    """Return the cases whose model has a quality model."""
    judged = []
    for case in cases:
        if case.has_quality_model:
            intervals = {}
            for key, (low, high) in case.intervals.items():
                value = case.measured(key)
                if value is not None and key in case.errors:
                    # Not the reference as it is: beside a line at 89 degrees, one at -89 is at 91.
                    intervals[key] = JudgedInterval(low, high, value - case.errors[key])
            judged.append(Judged(case.dice, case.quality, case.status == "reject", intervals))
    return judged


def judge_observations(observations: Sequence[Observation], task: Task) -> list[Judged]:
    """Return the original images, each judged by a quality model that was fitted without its patient.

    As in results, rejected ones have no intervals. Images whose quality model could not be fitted are left out, such as
    those of a single patient. Whether they look familiar is not judged.
    """
    acceptable, measured = task.review.acceptable_dice, measured_of(task)

    def judge(quality: Any, one: Observation) -> Judged | None:
        if quality is None:
            return None
        expected = image_quality(quality.structures, one)
        below = expected is not None and expected < quality.limit
        intervals = {}
        for key, error in ({} if below else one.errors).items():
            ends = quality.intervals[key].interval(one.values[key], one.features) if key in quality.intervals else None
            if ends:
                intervals[key] = JudgedInterval(ends[0], ends[1], one.values[key] - error)
        return Judged(one.image_dice, expected, below, intervals)

    judged = cross_fitted(observations, lambda others: fit_quality(others, acceptable, None, "", measured), judge)
    if judged is None:
        return []
    return [item for item, one in zip(judged, observations, strict=True) if item is not None and not one.is_copy]


def summarise_quality(judged: Sequence[Judged], acceptable: float) -> dict[str, Any]:
    """Return the figures of the quality score, JSON values; at least one result in which something was found.

    Images in which nothing was found have no quality; they are counted, rightly empty ones apart.

    risk: mean of 1 - Dice of the results with the highest quality, by the share of images that they are (coverage).
    aurc: its mean over all coverages, for this order, a random order (the mean loss) and the order of the losses.
    """
    empty, judged = [one for one in judged if one.quality is None], [one for one in judged if one.quality is not None]
    losses = np.array([1 - one.dice for one in judged])
    order = np.argsort([one.quality or 0.0 for one in judged], kind="stable")[::-1]
    risks, best = _risks(losses[order]), _risks(np.sort(losses))
    failures = [one for one in judged if one.dice < FAILURE]
    accepted = [one for one in judged if not one.rejected]
    rejected_failures = sum(one.rejected for one in failures)
    shown = np.unique(np.linspace(0, len(judged) - 1, min(len(judged), 100)).astype(int))
    return {
        "images": len(judged),
        "nothing_found": len(empty),
        "rightly_nothing": sum(one.dice == 1 for one in empty),
        "rejected": len(judged) - len(accepted),
        "failure_below": FAILURE,
        "failures": len(failures),
        "failures_rejected": rejected_failures,
        "acceptable_dice": acceptable,
        "accepted_below_acceptable": sum(one.dice < acceptable for one in accepted),
        "aurc": {"quality": float(risks.mean()), "random": float(losses.mean()), "oracle": float(best.mean())},
        "coverage": ((shown + 1) / len(judged)).tolist(),
        "risk": {"quality": risks[shown].tolist(), "oracle": best[shown].tolist()},
        "expected_coverage": COVERAGE,
        "intervals": _interval_summary(judged),
    }


def _risks(losses: Any) -> Any:
    """Return the mean of the first 1, 2, ... losses."""
    return np.cumsum(losses) / np.arange(1, len(losses) + 1)


def _interval_summary(judged: Sequence[Judged]) -> dict[str, Any]:
    """Return key -> number, share that contains the reference, median width, and that share by thirds of size."""
    summary: dict[str, Any] = {}
    for key in dict.fromkeys(key for one in judged for key in one.intervals):
        intervals = sorted((one.intervals[key] for one in judged if key in one.intervals), key=lambda i: i.reference)
        holds = np.array([interval.holds for interval in intervals], float)
        widths = [interval.high - interval.low for interval in intervals]
        summary[key] = {"n": len(intervals), "coverage": float(holds.mean()), "median_width": float(np.median(widths))}
        if len(intervals) >= MIN_INTERVALS:
            summary[key]["by_size"] = [float(part.mean()) for part in np.array_split(holds, len(TERCILES))]
    return summary
