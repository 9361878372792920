"""Figures of the quality score on results of known Dice."""

from dataclasses import replace

import numpy as np
import pytest

from sonoseg.evaluation.quality.validation import (
    Judged,
    JudgedInterval,
    judge_cases,
    judge_observations,
    summarise_quality,
)
from sonoseg.postprocess.measure import Measurement
from sonoseg.schema.task import Task
from tests.conftest import changed
from tests.evaluation.made_cases import made_case, spine_map
from tests.quality.test_fit import simulated


def test_risk_and_coverage_by_hand() -> None:
    """Losses 0.1, 0.2, 0.6 in the order of the quality: means 0.1, 0.15, 0.3; oracle the same; random 0.3."""
    judged = [Judged(dice, quality, quality < 0.5, {}) for dice, quality in ((0.4, 0.4), (0.9, 0.95), (0.8, 0.7))]
    summary = summarise_quality(judged, 0.85)
    assert summary["aurc"]["quality"] == summary["aurc"]["oracle"] == pytest.approx(np.mean([0.1, 0.15, 0.3]))
    assert summary["aurc"]["random"] == pytest.approx(0.3)
    assert (summary["rejected"], summary["failures"], summary["failures_rejected"]) == (1, 2, 1)
    assert summary["accepted_below_acceptable"] == 1  # the one of 0.8
    assert summary["coverage"] == pytest.approx([1 / 3, 2 / 3, 1])
    worst_first = [Judged(one.dice, 1 - (one.quality or 0), False, {}) for one in judged]
    assert summarise_quality(worst_first, 0.85)["aurc"]["quality"] == pytest.approx(np.mean([0.6, 0.4, 0.3]))


def test_images_without_a_result_are_counted_apart() -> None:
    judged = [Judged(1.0, None, False, {}), Judged(0.0, None, False, {}), Judged(0.9, 0.9, False, {})]
    summary = summarise_quality(judged, 0.5)
    assert (summary["images"], summary["nothing_found"], summary["rightly_nothing"]) == (1, 2, 1)
    assert summary["aurc"]["quality"] == pytest.approx(0.1)


def test_coverage_of_intervals_by_size() -> None:
    def judged(size: float, half: float) -> Judged:
        return Judged(0.9, 0.9, False, {"hc_mm": JudgedInterval(size + 1 - half, size + 1 + half, size)})

    summary = summarise_quality([judged(300, 0.5), judged(100, 2), judged(200, 1), judged(110, 2)], 0.5)
    entry = summary["intervals"]["hc_mm"]
    assert entry["n"] == 4 and entry["coverage"] == 0.75 and entry["median_width"] == 3
    assert entry["by_size"] == [1, 1, 0]  # 100 and 110, 200, 300


def test_one_patient_alone_validates_nothing(fetal_head: Task) -> None:
    assert judge_observations(simulated(1, images=40), fetal_head) == []
    assert len(judge_observations(simulated(2, images=40), fetal_head)) == 80


def test_rejected_results_have_no_intervals_in_the_validation_either(fetal_head: Task) -> None:
    task = changed(fetal_head, review=fetal_head.review.model_dump() | {"acceptable_dice": 0.9})
    observations = [replace(one, values={"hc_mm": 200.0}, errors={"hc_mm": 1.0}) for one in simulated(150)]
    judged = judge_observations(observations, task)
    rejected = [one for one in judged if one.rejected]
    assert 0 < len(rejected) < len(judged) and not any(one.intervals for one in rejected)
    assert all(one.intervals for one in judged if not one.rejected)


def test_an_angle_beyond_ninety_degrees_is_inside_the_interval_around_its_neighbour(spine: Task) -> None:
    """A line at 89 degrees and one at -89 are 2 degrees apart."""
    labels = spine_map()
    case = made_case("a", "P1", labels, labels, spine)

    def at(degrees: float) -> dict[str, Measurement]:
        return {"midline_angle_deg": replace(case.measurements["midline_angle_deg"], value=degrees)}

    def holds(low: float, high: float) -> bool:
        turned = replace(
            case,
            measurements=at(89.0),
            reference_measurements=at(-89.0),
            intervals={"midline_angle_deg": (low, high)},
            has_quality_model=True,
            quality=0.9,
        )
        return judge_cases([turned])[0].intervals["midline_angle_deg"].holds

    assert holds(86, 92) and not holds(88, 90)
