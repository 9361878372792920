"""Intervals of means and limits of agreement: values worked out by hand, and how often they contain the truth."""

import math
from typing import Any

import numpy as np
import pytest

from benchmarks.coverage import coverage_of_limits, coverage_of_mean
from sonoseg.evaluation.intervals import SHARE, SIZE, bland_altman, interval_note, mean_with_interval, spread


def test_a_t_interval_by_hand() -> None:
    # Means of three patients 1, 2, 3: standard deviation 1; t of 2 degrees of freedom 4.3027.
    found = mean_with_interval([1, 2, 2, 2, 3], list("abbbc"))
    half = 4.3027 / math.sqrt(3)
    assert found["mean"] == 2 and found["interval_method"] == "t"
    assert found["interval_95"] == pytest.approx([2 - half, 2 + half], abs=1e-4)


def test_the_method_depends_on_the_number_of_patients() -> None:
    values = np.random.default_rng(0).beta(9, 1, 50)
    methods = {n: mean_with_interval(values[:n], [str(i) for i in range(n)])["interval_method"] for n in range(1, 51)}
    assert [n for n, method in methods.items() if method is None] == [1, 2]
    assert [n for n, method in methods.items() if method == "bootstrap"] == [50]
    assert mean_with_interval([0.4, 0.9], ["a", "b"])["interval_95"] is None
    many = mean_with_interval(values, [str(i) for i in range(50)])
    half = 1.96 * np.std(values, ddof=1) / math.sqrt(50)
    assert many["interval_95"] == pytest.approx([values.mean() - half, values.mean() + half], abs=0.01)


def test_images_of_one_patient_are_one_value() -> None:
    once, often = [0.7, 0.8, 0.9], [0.7] * 9 + [0.8, 0.6, 1.0] + [0.9] * 4
    patients = ["a"] * 9 + ["b"] * 3 + ["c"] * 4
    assert mean_with_interval(often, patients)["interval_95"] == pytest.approx(
        mean_with_interval(once, list("abc"))["interval_95"]
    )
    assert mean_with_interval(often, patients)["mean"] == pytest.approx(0.8)


def test_intervals_keep_to_possible_values() -> None:
    low, high = mean_with_interval([1.0, 0.99, 0.5], list("abc"), SHARE)["interval_95"]
    assert high == 1 and 0 <= low < 0.83
    assert spread([0.0, 0.1, 9.0], list("abc"), SIZE)["interval_95"][0] == 0
    assert mean_with_interval([0.0, 0.1, 9.0], list("abc"))["interval_95"][0] < 0
    assert mean_with_interval([1.0] * 9, [str(n) for n in range(9)], SHARE)["interval_95"] == [1, 1]


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([{"interval_95": None, "interval_method": None}], "no intervals: fewer than 3 patients"),
        ([{"interval_95": [0, 1], "interval_method": "t"}], "95 % intervals: t intervals on patient means"),
        ([{"interval_95": [0, 1]}], "95 % intervals: percentile bootstrap over patients"),  # of version 0.2
        ([{"interval_95": None}], "no intervals: fewer than 3 patients"),
        (
            [{"interval_95": [0, 1], "interval_method": "bootstrap"}, {"interval_95": [0, 1], "interval_method": "t"}],
            "95 % intervals: t intervals on patient means, or with 50 patients and more percentile bootstrap over "
            "patients",
        ),
    ],
)
def test_captions_name_the_method(scores: list[dict[str, Any]], expected: str) -> None:
    assert interval_note(scores) == expected


def test_limits_with_one_image_a_patient_are_the_ordinary_ones() -> None:
    # Errors 1, 3, -1, 1: bias 1, variance 8 / 3.
    found = bland_altman([1, 3, -1, 1], list("abcd"))
    half = 1.96 * math.sqrt(8 / 3)
    assert found["bias"]["mean"] == 1 and found["limits_of_agreement"] == pytest.approx([1 - half, 1 + half])


def test_limits_of_repeated_images_by_hand() -> None:
    # Patients' means 1, 5, 3, grand mean of the six images 8/3. Between patients: (2 (5/3)^2 + (7/3)^2 + 3 (1/3)^2) / 2
    # = 17/3; within: (2 + 0 + 2) / 3 = 4/3; images a patient: (6 - 14/6) / 2 = 11/6. Variance between patients
    # (17/3 - 4/3) / (11/6) = 26/11, in all 26/11 + 4/3 = 122/33.
    found = bland_altman([0, 2, 5, 2, 3, 4], list("aabccc"))
    half = 1.96 * math.sqrt(122 / 33)
    assert found["bias"]["mean"] == pytest.approx(3)  # and not 8/3: one bias everywhere
    assert found["limits_of_agreement"] == pytest.approx([3 - half, 3 + half])


def test_intervals_of_limits_by_hand() -> None:
    # Three patients with errors 1, 3, 4, 6, 1, 3: bias 3, mean squares 6 (2 degrees of freedom) and 2 (3), variance
    # 6/2 + 2/2 = 4. Chi-squared, 2.5th and 97.5th percentiles: 0.05064, 7.3778 of 2; 0.21580, 9.3484 of 3.
    found = bland_altman([1, 3, 4, 6, 1, 3], list("aabbcc"))
    assert found["limits_of_agreement"] == pytest.approx([3 - 3.92, 3 + 3.92])
    down = math.hypot(3 * (2 / 7.3778 - 1), 1 * (3 / 9.3484 - 1))
    up = math.hypot(3 * (2 / 0.05064 - 1), 1 * (3 / 0.21580 - 1))
    inward, outward = 1.96 * (2 - math.sqrt(4 - down)), 1.96 * (math.sqrt(4 + up) - 2)
    bias = 4.3027 * math.sqrt(3) / math.sqrt(3)  # the patients' means 2, 5, 2
    assert found["bias"]["interval_95"] == pytest.approx([3 - bias, 3 + bias], abs=1e-3)
    expected = [
        [-0.92 - math.hypot(bias, outward), -0.92 + math.hypot(bias, inward)],
        [6.92 - math.hypot(bias, inward), 6.92 + math.hypot(bias, outward)],
    ]
    assert np.allclose(found["limits_of_agreement_intervals_95"], expected, atol=2e-3)


def test_limits_are_symmetric_and_need_two_patients() -> None:
    errors, patients = [0.0, 2, 5, 2, 3, 4, 9], list("aabcccd")
    ours, mirrored = bland_altman(errors, patients), bland_altman([-error for error in errors], patients)
    assert ours["limits_of_agreement"] == pytest.approx([-limit for limit in mirrored["limits_of_agreement"][::-1]])
    turned = [[-high, -low] for low, high in mirrored["limits_of_agreement_intervals_95"][::-1]]
    assert np.allclose(ours["limits_of_agreement_intervals_95"], turned)
    alone = bland_altman([1, 2, 3], list("aaa"))
    assert alone["limits_of_agreement"] == [None, None] and alone["limits_of_agreement_intervals_95"] is None
    two = bland_altman([2, -2], list("ab"))
    assert two["limits_of_agreement"] == pytest.approx([-1.96 * 8**0.5, 1.96 * 8**0.5])
    assert two["limits_of_agreement_intervals_95"] is None


def test_patients_that_differ_less_than_their_images() -> None:
    # Both means 0: no variance between patients; within: 4 / 2.
    found = bland_altman([1, -1, 1, -1], list("aabb"))
    assert found["limits_of_agreement"] == pytest.approx([-1.96 * 2**0.5, 1.96 * 2**0.5])


def test_many_images_of_one_patient_do_not_narrow_the_limits() -> None:
    # Pooled, 200 images of the one typical patient would hide how far the three others are off.
    errors, patients = [0.0] * 200 + [6.0, -6.0, 5.0], ["a"] * 200 + ["b", "c", "d"]
    low, high = bland_altman(errors, patients)["limits_of_agreement"]
    pooled = 1.96 * np.std(errors, ddof=1)
    assert high - low > 5 * pooled


@pytest.mark.parametrize(("patients", "least", "most"), [(3, 0.86, 0.80), (5, 0.86, 0.84), (10, 0.89, 0.91)])
def test_coverage_with_few_patients(patients: int, least: float, most: float) -> None:
    """The percentile bootstrap, used before, contains the mean too rarely; 600 samples, so +/- 0.03."""
    reported, bootstrapped = coverage_of_mean("skewed Dice", patients, 600, seed=1)
    assert reported >= least and bootstrapped <= most and reported > bootstrapped


def test_coverage_of_the_limits() -> None:
    assert coverage_of_limits(10, 400, seed=1) == pytest.approx(0.95, abs=0.035)
