"""Quality models on simulated results whose truth is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sonoseg.postprocess.features import FEATURES
from sonoseg.quality.fit import (
    MIN_IMAGES,
    Measured,
    Observation,
    acceptance_limit,
    cross_fitted,
    fit_interval,
    fit_quality,
    fit_structures,
    image_quality,
)
from sonoseg.quality.regression import fit_monotone

HEAD = Measured(("HEAD",), is_relative=True)


def simulated(count: int, seed: int = 0, worst: float = 0.3, images: int = 1) -> list[Observation]:
    """Results of `count` patients: their loss and the spread of their errors grow with uncertainty and band."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count * images):
        loss = float(rng.uniform(0.01, worst))
        features = dict.fromkeys(FEATURES, 0.0)
        features |= {"uncertainty": loss * math.exp(rng.normal(0, 0.2)), "band": loss * math.exp(rng.normal(0, 0.4))}
        features |= {"smallness": float(rng.uniform(1, 3))}
        value = float(rng.uniform(100, 300))
        error = float(rng.normal(0, 0.2 * loss * value))
        dice = {"HEAD": 1 - loss}
        found.append(
            Observation(f"P{index // images}", {"HEAD": features}, dice, 1 - loss, {"mm": value}, {"mm": error})
        )
    return found


def test_weights_are_never_negative_and_found_where_they_are_positive() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(400, 3)) * [1, 10, 0.1]
    line = fit_monotone(np.c_[values, np.full(400, 7.0)], 2 + 0.5 * values[:, 0] - values[:, 1] + 3 * values[:, 2])
    assert line.weights.min() >= 0 and line.weights[1] == line.weights[3] == 0
    only = fit_monotone(values, 2 + 0.5 * values[:, 0] + 3 * values[:, 2])
    assert only.intercept == pytest.approx(2, abs=0.02) and only.weights == pytest.approx([0.5, 0, 3], abs=0.02)


def test_expected_dice_is_right_on_average_and_ranks_new_results() -> None:
    structures = fit_structures(simulated(300))
    new = simulated(300, seed=1)
    expected = np.array([image_quality(structures, one) for one in new])
    dice = np.array([one.image_dice for one in new])
    assert expected.mean() == pytest.approx(dice.mean(), abs=0.01)
    assert np.corrcoef(expected, dice)[0, 1] > 0.9
    assert ((expected >= 0) & (expected <= 1)).all()


def test_degraded_copies_widen_the_range_and_do_not_shift_the_mean() -> None:
    """A network that fails on none of the images at hand: the copies show what failures look like."""
    good, bad = simulated(60, worst=0.03), simulated(60, seed=1, worst=0.9)
    copies = [Observation(o.patient, o.features, o.dice, o.image_dice, {}, {}, is_copy=True) for o in bad]
    structures = fit_structures([*good, *copies])
    assert np.mean([image_quality(structures, one) for one in good]) == pytest.approx(
        np.mean([one.image_dice for one in good]), abs=0.001
    )
    failures = [one for one in simulated(100, seed=2, worst=0.9) if one.image_dice < 0.7]
    assert max(image_quality(structures, one) or 0 for one in failures) < min(
        image_quality(structures, one) or 0 for one in good
    )


def test_the_limit_is_the_lowest_with_few_bad_results_above_it() -> None:
    qualities, dice = [0.99 - 0.001 * index for index in range(100)], [0.97] * 60 + [0.5] * 40
    # (b + 1) / (n + 1) <= 0.05: with 60 good results first, b = 2 of 62 is the last that fits.
    assert acceptance_limit(qualities, dice, 0.95) == pytest.approx(qualities[61])
    assert acceptance_limit(qualities[:80], [0.97] * 80, 0.95) == pytest.approx(qualities[79])  # below 0.95: it stays
    assert acceptance_limit([0.99] * 100, [0.97] * 100, 0.95) == 0.95
    assert acceptance_limit(qualities[:18], [0.97] * 18, 0.95) == 0.95  # 1 / 19 is more than 5 %
    assert acceptance_limit(qualities, [0.5] * 100, 0.95) == 0.95
    assert acceptance_limit([0.5] * 60, [0.2] * 20 + [1.0] * 40, 0.9) == 0.9  # a tie is accepted as a whole, or not


def test_an_expected_failure_is_not_accepted_where_failures_are_rare() -> None:
    """Of 100 results 3 are bad, so that all could be accepted."""
    qualities, dice = [0.97] * 97 + [0.8, 0.7, 0.5], [0.97] * 97 + [0.8, 0.7, 0.5]
    assert acceptance_limit(qualities, dice, 0.95) == pytest.approx(0.9)
    assert acceptance_limit(qualities, dice, 0.72) == 0.5  # twice the loss is a Dice of 0.44


def test_degraded_copies_do_not_choose_the_limit() -> None:
    """They are copies that look like the originals and are all wrong: with them, no limit would be good enough."""
    originals = simulated(150, worst=0.1)
    copies = [replace(one, image_dice=0.0, is_copy=True) for one in originals]
    alone, both = (fit_quality(some, 0.95, None, "fold 0", {}) for some in (originals, originals + copies))
    assert alone is not None and both is not None and alone.limit > 0.955
    assert both.limit == pytest.approx(alone.limit, abs=0.003)


def test_at_most_five_percent_of_the_accepted_are_not_acceptable() -> None:
    shares = []
    for seed in range(40):
        quality = fit_quality(simulated(150, seed, worst=0.1), 0.95, None, "fold 0", {})
        assert quality is not None
        new = simulated(300, 1000 + seed, worst=0.1)
        accepted = [one for one in new if (image_quality(quality.structures, one) or 0) >= quality.limit]
        shares.append(np.mean([one.image_dice < 0.95 for one in accepted]))
        assert len(accepted) > 60
    assert np.mean(shares) < 0.06


def test_intervals_contain_the_truth_in_nine_of_ten_at_every_size() -> None:
    by_third = []
    for seed in range(20):
        interval = fit_interval("mm", HEAD, simulated(200, seed))
        assert interval is not None and interval.patients == 200
        new = sorted(simulated(300, 1000 + seed), key=lambda one: one.image_dice)
        holds = []
        for one in new:
            low, high = interval.interval(one.values["mm"], one.features) or (0, 0)
            holds.append(low <= one.values["mm"] - one.errors["mm"] <= high)
        by_third.append([part.mean() for part in np.array_split(np.array(holds, float), 3)])
    assert np.mean(by_third) == pytest.approx(0.9, abs=0.02)
    assert np.mean(by_third, axis=0) == pytest.approx([0.9] * 3, abs=0.06)  # a single width would give 1, 1 and 0.7


def test_an_interval_counts_a_patient_once_and_needs_nineteen() -> None:
    assert fit_interval("mm", HEAD, simulated(18)) is None
    assert fit_interval("mm", HEAD, simulated(9, images=10)) is None
    interval = fit_interval("mm", HEAD, simulated(19, images=10))
    assert interval is not None and interval.patients == 19
    assert interval.interval(100.0, {}) is None and fit_interval("unknown", HEAD, simulated(30)) is None


def test_each_patient_is_judged_without_its_own_images() -> None:
    seen: list[set[str]] = []

    def fit(some: list[Observation]) -> set[str]:
        seen.append({one.patient for one in some})
        return seen[-1]

    results = cross_fitted(simulated(12, images=3), fit, lambda patients, one: one.patient in patients)
    assert len(results) == 36 and not any(results) and len(seen) == 5


def test_one_patient_alone_chooses_no_limit() -> None:
    """Its results say nothing about those of others, and a fit to them is no judge of them."""
    one = simulated(1, images=100, worst=0.06)
    assert cross_fitted(one, lambda some: some, lambda model, one: one) is None
    quality = fit_quality(one, 0.95, None, "fold 0", {"mm": HEAD})
    assert quality is not None and quality.limit == 0.95 and not quality.intervals
    two = fit_quality([*one, *simulated(2, 1, images=50, worst=0.06)], 0.95, None, "fold 0", {})
    assert two is not None and two.limit != 0.95


def test_few_images_have_no_quality_model() -> None:
    assert fit_quality(simulated(MIN_IMAGES - 1), 0.95, None, "fold 0", {}) is None
    quality = fit_quality(simulated(MIN_IMAGES), None, None, "fold 0", {"mm": HEAD})
    assert quality is not None
    median = np.median([one.image_dice for one in simulated(MIN_IMAGES)])
    assert quality.acceptable_dice == pytest.approx(0.9 * median)
    assert quality.images == quality.patients == MIN_IMAGES


def test_losses_that_reach_one_keep_the_mean() -> None:
    """Without a bound on the loss the factor would be too small, and the expected Dice 0.1 too high."""
    hard = [
        Observation(one.patient, one.features, {"HEAD": dice}, dice, {}, {})
        for index, one in enumerate(simulated(100, worst=0.6))
        for dice in [0.0 if index % 6 == 0 else one.image_dice]
    ]
    structures = fit_structures(hard)
    expected = [image_quality(structures, one) for one in hard]
    assert np.mean(expected) == pytest.approx(np.mean([one.image_dice for one in hard]), abs=0.002)


def test_a_rare_feature_does_not_make_the_spread_overflow() -> None:
    """Two of 40 heads touch the border, one of them hardly and with a large error: the regression's slope is steep."""
    found = simulated(40)
    for index, border, error in ((3, 0.001, 200.0), (17, 0.6, 1.0)):
        features = {"HEAD": {**found[index].features["HEAD"], "border": border}}
        one = found[index]
        found[index] = Observation(one.patient, features, one.dice, one.image_dice, one.values, {"mm": error})
    for key in ("mm",):
        interval = fit_interval(key, HEAD, found)
        assert interval is not None and math.isfinite(interval.quantile)
        low, high = interval.interval(150.0, found[17].features) or (0, 0)
        assert 0 <= low < 150 < high < 1e6


def test_a_stray_detection_of_another_structure_takes_no_interval_away() -> None:
    found = simulated(40)
    other = {**found[0].features, "B": found[0].features["HEAD"]}
    found[0] = Observation(found[0].patient, other, {**found[0].dice, "B": 0.1}, 0.5, found[0].values, found[0].errors)
    assert fit_interval("mm", HEAD, found) is not None and fit_interval("mm", Measured(("B",), True), found) is None


def test_relative_intervals_do_not_depend_on_the_unit() -> None:
    found = simulated(60)
    in_px = [
        Observation(
            one.patient,
            one.features,
            one.dice,
            one.image_dice,
            {"mm": 7 * one.values["mm"]},
            {"mm": 7 * one.errors["mm"]},
        )
        for one in found
    ]
    mm, px = (fit_interval("mm", HEAD, some) for some in (found, in_px))
    assert mm is not None and px is not None
    low, high = mm.interval(100, found[0].features) or (0, 0)
    assert px.interval(700, found[0].features) == pytest.approx((7 * low, 7 * high))
