"""What a quality model says about a result: expected Dice, intervals, rejection."""

import numpy as np
import pytest

from sonoseg.models.model_header import read_quality
from sonoseg.postprocess.features import FEATURES
from sonoseg.postprocess.interpret import Findings, interpret
from sonoseg.quality.assess import NEVER_SEEN, NO_QUALITY_MODEL, NOTHING_FOUND, assess
from sonoseg.quality.familiarity import fit_familiarity, image_statistics
from sonoseg.quality.model import QualityModel
from sonoseg.schema.task import Task
from sonoseg.types import Pixels
from tests.evaluation.made_cases import head_map
from tests.postprocess.test_measure import probabilities

SPACING = (0.5, 0.5)


def image(seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(20, 60, head_map().shape, dtype=np.uint8)


def quality_model(limit: float = 0.9, factor: float = 1.0, familiar: bool = True) -> QualityModel:
    """Expected loss: the uncertainty; half an interval of HC: 5 % of it."""
    weights = [1.0 if name == "uncertainty" else 0.0 for name in FEATURES]
    return QualityModel.model_validate(
        {
            "structures": {"HEAD": {"intercept": 0.0, "weights": weights, "factor": factor}},
            "acceptable_dice": 0.95,
            "limit": limit,
            "intervals": {
                "hc_mm": {
                    "structures": ["HEAD"],
                    "intercept": float(np.log(0.05)),
                    "weights": [0.0] * len(FEATURES),
                    "is_relative": True,
                    "quantile": 1.0,
                    "spreads": [-10.0, 10.0],
                    "patients": 40,
                }
            },
            "familiarity": fit_familiarity([image_statistics(image(seed)) for seed in range(40)]) if familiar else None,
            "images": 40,
            "patients": 40,
            "source": "fold 0",
        }
    )


def result(task: Task, sure: float = 0.98) -> Findings:
    return interpret(probabilities(head_map(), 1, sure), image(), task, SPACING)


def test_a_good_result_keeps_its_status_and_gets_quality_and_interval(fetal_head: Task) -> None:
    before = result(fetal_head)
    after = assess(before, image(), [quality_model()])
    assert after.status == before.status and after.reasons == before.reasons
    assert after.quality == pytest.approx(0.98 - 0.003, abs=1e-4) and after.quality_note == ""
    hc = after.measurements["hc_mm"].value
    assert after.intervals == {"hc_mm": (pytest.approx(0.95 * hc), pytest.approx(1.05 * hc))}


def test_a_low_expected_dice_is_a_rejection_with_its_reason_first(fetal_head: Task) -> None:
    after = assess(result(fetal_head, 0.8), image(), [quality_model()])
    assert after.status == "reject" and after.reasons[0] == "expected Dice 0.80 is below 0.90"
    assert after.intervals == {}
    assert assess(result(fetal_head, 0.8), image(), [quality_model(limit=0.7)]).status != "reject"


def test_an_unfamiliar_image_is_rejected_whatever_was_found(fetal_head: Task) -> None:
    other = np.full_like(image(), 250)
    other[::7] = 0
    after = assess(result(fetal_head), other, [quality_model()])
    assert after.status == "reject" and after.reasons[0].startswith("the image is unlike the training images")
    assert assess(result(fetal_head), other, [quality_model(familiar=False)]).status != "reject"


def test_without_a_quality_model_nothing_is_claimed(fetal_head: Task) -> None:
    for models in ([None], [], [quality_model(), None]):  # an ensemble is as well known as its least known member
        after = assess(result(fetal_head), image(), models)
        assert (after.quality, after.quality_note, after.intervals) == (None, NO_QUALITY_MODEL, {})
        assert after.status == result(fetal_head).status


def test_nothing_found_has_no_quality_and_says_so(fetal_head: Task) -> None:
    nothing = interpret(probabilities(np.zeros_like(head_map()), 1), image(), fetal_head, SPACING)
    after = assess(nothing, image(), [quality_model()])
    assert (after.quality, after.quality_note, after.intervals) == (None, NOTHING_FOUND, {})


def test_members_of_an_ensemble_are_averaged(fetal_head: Task) -> None:
    one, two = (assess(result(fetal_head), image(), [quality_model(factor=factor)]) for factor in (1.0, 3.0))
    both = assess(result(fetal_head), image(), [quality_model(), quality_model(factor=3.0)])
    assert both.quality == pytest.approx(((one.quality or 0) + (two.quality or 0)) / 2)
    assert both.intervals == one.intervals


def test_a_quality_model_of_a_file_has_to_fit_the_task(fetal_head: Task, spine: Task) -> None:
    stored = quality_model().model_dump(mode="json")
    assert read_quality(stored, fetal_head) == quality_model() and read_quality(None, fetal_head) is None
    with pytest.raises(ValueError, match="HEAD is no class of the task"):
        read_quality(stored, spine)
    head, hc = stored["structures"]["HEAD"], stored["intervals"]["hc_mm"]
    familiarity = stored["familiarity"]
    for broken in (
        {"limit": 2.0},
        {"limit": None},
        {"images": "many"},
        {"structures": {"HEAD": {**head, "intercept": float("nan")}}},
        {"structures": {"HEAD": {**head, "weights": head["weights"][1:]}}},
        {"structures": {"HEAD": {**head, "weights": [1e308] * len(FEATURES)}}},
        {"intervals": {"hc_mm": {**hc, "weights": [0.0]}}},
        {"intervals": {"hc_mm": {**hc, "quantile": 1e308}}},
        {"intervals": {"hc_mm": {**hc, "spreads": [3.0, 2.0]}}},
        {"intervals": {"hc_mm": {**hc, "structures": []}}},
        {"familiarity": {**familiarity, "whitening": familiarity["whitening"][1:]}},
    ):
        with pytest.raises(ValueError, match="validation error"):
            read_quality({**stored, **broken}, fetal_head)


def test_a_structure_that_the_quality_model_has_not_seen_is_not_called_missing(fetal_head: Task) -> None:
    other = quality_model().model_copy(update={"structures": {}})
    after = assess(result(fetal_head), image(), [other])
    assert (after.quality, after.quality_note) == (None, NEVER_SEEN)
