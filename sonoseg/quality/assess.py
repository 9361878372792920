"""Apply quality models to a result: expected Dice, intervals of measurements, and rejection."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sonoseg.postprocess.interpret import Findings
from sonoseg.quality.familiarity import image_statistics
from sonoseg.quality.model import QualityModel
from sonoseg.types import Pixels

NO_QUALITY_MODEL = "no quality model"
"""Of a model file of an earlier version, of a training with few images, or of one member of an ensemble."""
NOTHING_FOUND = "no structure was found"
NEVER_SEEN = "the quality model has seen no result of these structures"
"""Of structures that were found in none of the images to which it was fitted."""


def assess(findings: Findings, image: Pixels, models: Sequence[QualityModel | None]) -> Findings:
    """Return the findings of a prediction with expected Dice, intervals and, where a limit says so, status `reject`.

    A rejected result has no intervals: it is not like those that they were calibrated on.

    image: `(H, W)` uint8, from which the prediction was made. models: of each member of the ensemble, whose expected
    Dice, limits and intervals are averaged; where one has none, there is no quality, with the reason. An image that is
    unlike the training images of a member is rejected.
    """
    known = [model for model in models if model is not None]
    rejections = _unfamiliar(image, known) if known else []
    complete = known if len(known) == len(models) else []
    expected = [model.expected_dice(findings.features) for model in complete]
    dice = [value for each in expected for value in each.values()]
    quality, limit = float(np.mean(dice)) if dice else None, float(np.mean([model.limit for model in complete] or [0]))
    if quality is not None and quality < limit:
        rejections.append(f"expected Dice {quality:.2f} is below {limit:.2f}")
    return replace(
        findings,
        quality=quality,
        quality_note="" if dice else _note(findings, complete),
        intervals={} if rejections else _intervals(findings, complete),
        status="reject" if rejections else findings.status,
        reasons=[*rejections, *findings.reasons],
    )


def _note(findings: Findings, complete: Sequence[QualityModel]) -> str:
    """Return why a result has no quality."""
    if not complete:
        return NO_QUALITY_MODEL
    return NEVER_SEEN if findings.features else NOTHING_FOUND


def _unfamiliar(image: Pixels, models: Sequence[QualityModel]) -> list[str]:
    """Return why an image is unlike the training images of a member; often nothing."""
    statistics = image_statistics(image)
    for familiarity in (model.familiarity for model in models):
        distance = familiarity.distance(statistics) if familiarity else 0.0
        if familiarity and distance > familiarity.limit:
            return [
                f"the image is unlike the training images (distance {distance:.1f}, at most {familiarity.limit:.1f})"
            ]
    return []


def _intervals(findings: Findings, models: Sequence[QualityModel]) -> dict[str, tuple[float, float]]:
    """Return key -> interval, for measurements with a value for which every model has one."""
    intervals = {}
    for key, measurement in findings.measurements.items():
        if models and measurement.value is not None:
            found = [_interval(model, key, measurement.value, findings.features) for model in models]
            ends = [interval for interval in found if interval is not None]
            if len(ends) == len(models):
                low, high = np.mean(ends, axis=0)
                intervals[key] = (float(low), float(high))
    return intervals


def _interval(
    model: QualityModel, key: str, value: float, features: Mapping[str, Mapping[str, float]]
) -> tuple[float, float] | None:
    return model.intervals[key].interval(value, features) if key in model.intervals else None
