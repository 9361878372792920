"""The summary of a loop: which frames are chosen, the value of each measurement, its spread, its interval, a status.

Pure functions of what was measured in each frame.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sonoseg.postprocess.gestational_age import spread_note
from sonoseg.schema.quantity import Quantity, prefer_mm

SHARE = 0.25
"""Share of the loop's frames that are chosen, those of which most is expected."""
LEAST = 3
"""Frames that are chosen at least, where so many can be used."""
USABLE = ("ok", "check")
BY_QUALITY, BY_CONFIDENCE = "expected Dice", "mean confidence"

_NUMBER = re.compile(r"\d+(\.\d+)?")


@dataclass(frozen=True)
class Frame:
    """What is kept of a frame, see `interpret.Findings`; `number` counts from 1, a failed frame has its reason only.

    measurements: key -> value, None where it could not be measured; notes: key -> why.
    """

    number: int
    status: str
    reasons: list[str] = field(default_factory=list)
    quality: float | None = None
    quality_note: str = ""
    measurements: dict[str, float | None] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    confidence: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """The result of a loop.

    chosen: numbers of the chosen frames; chosen_by: what they were chosen by, `expected Dice` or `mean confidence`.
    measurements: key -> weighted median over the chosen frames; None where none of them has a value. spread: key ->
    interquartile range of their values, for two or more. intervals: see `loop_interval`. quality, confidence: medians
    over the chosen frames.
    """

    status: str
    reasons: list[str]
    chosen: list[int]
    chosen_by: str
    quality: float | None
    quality_note: str
    measurements: dict[str, float | None]
    spread: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    notes: dict[str, str]
    confidence: dict[str, float]


def summarise(frames: Sequence[Frame], quantities: Sequence[Quantity], remarks: Sequence[str] = ()) -> Summary:
    """Return the summary of a loop.

    frames: all of them in order, at least one of which did not fail. quantities: those of the task. remarks: further
    reasons why a person should look, such as a file that ends early.
    """
    scores, chosen_by = _scores(frames)
    count = max(LEAST, math.ceil(SHARE * len(frames)))
    best = sorted(scores, key=lambda number: (-scores[number], number))[:count]
    chosen = [frame for frame in frames if frame.number in best]
    weights = [scores[frame.number] for frame in chosen]
    measurements: dict[str, float | None] = {}
    spread: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    notes: dict[str, str] = {}
    for key in (quantity.key for quantity in quantities):
        known = [(frame, weight) for frame, weight in zip(chosen, weights, strict=True) if _value(frame, key)[1]]
        values, own = [_value(frame, key)[0] for frame, _ in known], [weight for _, weight in known]
        measurements[key] = weighted_median(values, own) if known else None
        if not known:
            notes[key] = _most_common([frame.notes[key] for frame in chosen or frames if key in frame.notes])
        if len(values) > 1:
            spread[key] = float(np.subtract(*np.percentile(values, (75, 25))))
        ends = [frame.intervals[key] for frame, _ in known if key in frame.intervals]
        if known and len(ends) == len(known):
            intervals[key] = loop_interval(values, ends, own)
    age = measurements.get("gestational_age_weeks")
    if age is not None:
        notes["gestational_age_weeks"] = spread_note(age)
    qualities = [frame.quality for frame in chosen if frame.quality is not None]
    names = dict.fromkeys(name for frame in chosen for name in frame.confidence)
    found = {name: [frame.confidence[name] for frame in chosen if name in frame.confidence] for name in names}
    status, reasons = _status(frames, chosen, [*remarks, *_disagreements(chosen, quantities, spread)])
    return Summary(
        status,
        reasons,
        [frame.number for frame in chosen],
        chosen_by,
        float(np.median(qualities)) if qualities else None,
        "" if qualities else _most_common([frame.quality_note for frame in chosen or frames if frame.quality_note]),
        measurements,
        spread,
        intervals,
        {key: note for key, note in notes.items() if note},
        {name: float(np.median(values)) for name, values in found.items()},
    )


def weighted_median(values: Sequence[float], weights: Sequence[float]) -> float:
    """Return the smallest value up to which the weights add up to more than half of their sum.

    Where they add up to exactly half, it is the mean of that value and the next larger one, as of an even number of
    values with equal weights. values: at least one; weights: as many, above 0.
    """
    order = np.argsort(values, kind="stable")
    ordered, summed = np.asarray(values, float)[order], np.cumsum(np.asarray(weights, float)[order])
    half = summed[-1] / 2
    at = int(np.searchsorted(summed, half * (1 - 1e-12)))
    if math.isclose(summed[at], half, rel_tol=1e-12) and at + 1 < len(ordered):
        return float((ordered[at] + ordered[at + 1]) / 2)
    return float(ordered[at])


def loop_interval(
    values: Sequence[float], ends: Sequence[tuple[float, float]], weights: Sequence[float]
) -> tuple[float, float]:
    """Return the interval of a loop's value: that of a single image, and no narrower than the frames' own differences.

    The frames of a loop show one patient in almost one plane, so that their errors are alike: more of them do not make
    the value more certain. The lower end is the weighted median of the lower ends of the chosen frames, the upper end
    that of the upper ends; where the quartiles of the values lie outside, they are the ends.
    """
    lows, highs = zip(*ends, strict=True)
    first, third = np.percentile(values, (25, 75))
    return min(weighted_median(lows, weights), float(first)), max(weighted_median(highs, weights), float(third))


def _scores(frames: Sequence[Frame]) -> tuple[dict[int, float], str]:
    """Return the score of each frame that can be used, and of what it is: models may have no expected Dice."""
    usable = [frame for frame in frames if frame.status in USABLE]
    if any(frame.quality is not None for frame in frames):
        return {each.number: max(each.quality, 1e-6) for each in usable if each.quality is not None}, BY_QUALITY
    confident = [frame for frame in usable if frame.confidence]
    return {frame.number: float(np.mean(list(frame.confidence.values()))) for frame in confident}, BY_CONFIDENCE


def _value(frame: Frame, key: str) -> tuple[float, bool]:
    value = frame.measurements.get(key)
    return (0.0, False) if value is None else (value, True)


def _disagreements(chosen: Sequence[Frame], quantities: Sequence[Quantity], spread: dict[str, float]) -> list[str]:
    """Return the measurements in which the chosen frames differ by more than the interval of a single image."""
    reasons = []
    for key in (quantity.key for quantity in prefer_mm(quantity for quantity in quantities if quantity.key in spread)):
        between = spread[key]
        widths = [high - low for low, high in (frame.intervals[key] for frame in chosen if key in frame.intervals)]
        if widths and between > float(np.median(widths)):
            reasons.append(
                f"{key}: the chosen frames differ by {between:.1f} (interquartile range), more than the interval of "
                f"a single image, {float(np.median(widths)):.1f}"
            )
    return reasons


def _status(frames: Sequence[Frame], chosen: Sequence[Frame], remarks: Sequence[str]) -> tuple[str, list[str]]:
    """Return the status of a loop and its reasons."""
    count = Counter(frame.status for frame in frames)
    rejected, failed = ([frame for frame in frames if frame.status == status] for status in ("reject", "failed"))
    if not any(count[status] for status in USABLE):
        more = f", {_of(failed, frames)} failed" if failed else ""
        why = f"no frame can be used: {_of(rejected, frames)} rejected{more}; {_most(rejected)}"
        return "reject", [why, *remarks]
    reasons = list(remarks)
    if failed:
        reasons.append(f"{_of(failed, frames)} failed; {_most(failed)}")
    if 2 * len(rejected) > len(frames):
        reasons.append(f"{_of(rejected, frames)} rejected; {_most(rejected)}")
    if not chosen:
        reasons.append("no structure was found in any frame")
    elif len(chosen) < min(LEAST, len(frames)):
        reasons.append(f"only {len(chosen)} of {len(frames)} frames can be used")
    doubtful = [frame for frame in chosen if frame.status == "check"]
    if 2 * len(doubtful) > len(chosen):
        reasons.append(f"{len(doubtful)} of {len(chosen)} chosen frames to be checked; {_most(doubtful)}")
    return "check" if reasons else "ok", reasons


def _of(some: Sequence[Frame], frames: Sequence[Frame]) -> str:
    return f"{len(some)} of {len(frames)} frames"


def _most(frames: Sequence[Frame]) -> str:
    """Return the most common of the frames' first reasons, whatever its numbers, as the first such frame states it."""
    reasons = [frame.reasons[0] for frame in frames]
    return f"such as frame {frames[_first(reasons)].number}: {reasons[_first(reasons)]}"


def _first(texts: Sequence[str]) -> int:
    """Return the index of the first text of those that are most common, apart from the numbers in them."""
    kinds = [_NUMBER.sub("#", text) for text in texts]
    return kinds.index(Counter(kinds).most_common(1)[0][0])


def _most_common(texts: Sequence[str]) -> str:
    return texts[_first(texts)] if texts else ""
