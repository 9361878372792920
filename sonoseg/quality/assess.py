"""Apply quality models to a result: expected Dice, intervals of measurements, and rejection."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from sonoseg.postprocess.interpret import Findings
from sonoseg.quality.familiarity import image_statistics
from sonoseg.quality.model import QualityModel
from sonoseg.types import Pixels

NO_QUALITY_MODEL = "the model file has no quality model"
NOTHING_FOUND = "no structure was found"


def assess(findings: Findings, image: Pixels, models: Sequence[QualityModel | None]) -> Findings:
    """Return the findings of a prediction with expected Dice, intervals and, where a limit says so, status `reject`.

    A rejected result has no intervals: it is not like those that they were calibrated on.

    image: `(H, W)` uint8, from which the prediction was made. models: of each member of the ensemble, whose expected
    Dice, limits and intervals are averaged; where one has none, there is no quality, with the reason.
    """
    known = [model for model in models if model is not None]
    if not known or len(known) < len(models):
        return replace(findings, quality_note=NO_QUALITY_MODEL)
    rejections = _unfamiliar(image, known)
    expected = [model.expected_dice(findings.features) for model in known]
    dice = [value for each in expected for value in each.values()]
    quality = float(np.mean(dice)) if dice else None
    limits = [model.limit for model in known if model.limit is not None]
    if quality is not None and limits and quality < np.mean(limits):
        rejections.append(f"expected Dice {quality:.2f} is below {np.mean(limits):.2f}")
    return replace(
        findings,
        quality=quality,
        quality_note="" if dice else NOTHING_FOUND,
        intervals={} if rejections else _intervals(findings, known),
        status="reject" if rejections else findings.status,
        reasons=[*rejections, *findings.reasons],
    )


def _unfamiliar(image: Pixels, models: Sequence[QualityModel]) -> list[str]:
    """Return why an image is unlike the training images; often nothing. The members of an ensemble share them."""
    familiarity = models[0].familiarity
    if familiarity is None:
        return []
    distance = familiarity.distance(image_statistics(image))
    if distance <= familiarity.limit:
        return []
    return [f"the image is unlike the training images (distance {distance:.1f}, at most {familiarity.limit:.1f})"]


def _intervals(findings: Findings, models: Sequence[QualityModel]) -> dict[str, tuple[float, float]]:
    """Return key -> interval, for measurements with a value for which every model has one."""
    intervals = {}
    for key, measurement in findings.measurements.items():
        if measurement.value is not None:
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
