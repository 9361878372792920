"""How cases become scores: patients first, missed structures counted, references from the table where it has them."""

from itertools import pairwise

import pytest

from sonoseg.core.task import Task
from sonoseg.train.evaluate import Case, summarise
from sonoseg.train.metrics import Agreement

GOOD = Agreement(dice=0.9, iou=0.8, hd95=1.0, reference_empty=False, missed=False, false_alarm=False)
MISSED = Agreement(dice=0.0, iou=0.0, hd95=90.0, reference_empty=False, missed=True, false_alarm=False)
ALARM = Agreement(dice=0.0, iou=0.0, hd95=90.0, reference_empty=True, missed=False, false_alarm=True)


def case(patient: str, one: Agreement = GOOD, hc: float | None = 101.0, reference: float | None = 100.0) -> Case:
    return Case(f"{patient}-{id(one)}", patient, {"HEAD": one}, {"hc_mm": hc}, "mm", {"hc_mm": reference})


def test_a_patient_with_many_images_counts_once(fetal_head: Task) -> None:
    cases = [case("A"), case("A"), case("A"), case("B", MISSED, hc=None)]
    head = summarise(cases, fetal_head)["classes"]["HEAD"]
    assert head["dice"]["mean"] == pytest.approx((0.9 + 0) / 2)
    assert head["hd95"]["mean"] == pytest.approx((1 + 90) / 2)
    assert (head["n"], head["n_missed"], head["n_empty_reference"], head["n_false_alarm"]) == (4, 1, 0, 0)


def test_measurements_count_what_is_missing_on_either_side(fetal_head: Task) -> None:
    cases = [case("A", hc=103.0), case("B", hc=99.0), case("C", MISSED, hc=None), case("D", ALARM, reference=None)]
    hc = summarise(cases, fetal_head)["measurements"]["hc_mm"]
    assert (hc["n"], hc["n_missed"], hc["n_false_alarm"]) == (2, 1, 1)
    assert hc["mean_absolute_error"]["mean"] == pytest.approx(2) and hc["bias"]["mean"] == pytest.approx(1)
    # differences 3 and -1: mean 1, standard deviation sqrt(8)
    assert hc["limits_of_agreement"] == pytest.approx([1 - 1.96 * 8**0.5, 1 + 1.96 * 8**0.5])


def test_every_further_miss_makes_every_average_worse(fetal_head: Task) -> None:
    scores = []
    for missed in range(5):
        cases = [case(str(n), MISSED if n < missed else GOOD) for n in range(4 + 1)]
        head = summarise(cases, fetal_head)["classes"]["HEAD"]
        assert head["n_missed"] == missed
        scores.append((head["dice"]["mean"], head["iou"]["mean"], -head["hd95"]["mean"]))
    for better, worse in pairwise(scores):
        assert all(a > b for a, b in zip(better, worse, strict=True))


def test_intervals_hold_the_mean_and_few_patients_are_warned_of(fetal_head: Task) -> None:
    cases = [case(str(n), GOOD if n % 3 else MISSED) for n in range(30)]
    summary = summarise(cases, fetal_head)
    low, high = summary["classes"]["HEAD"]["dice"]["interval_95"]
    # twenty of thirty: 0.6, with a standard error of 0.9 * sqrt(2/9/30) = 0.077
    assert summary["classes"]["HEAD"]["dice"]["mean"] == pytest.approx(0.6)
    assert low == pytest.approx(0.6 - 1.96 * 0.077, abs=0.03) and high == pytest.approx(0.6 + 1.96 * 0.077, abs=0.03)
    assert "30 patients" in summary["warning"]
    assert "warning" not in summarise([case(str(n)) for n in range(60)], fetal_head)
    assert summarise([case("A")], fetal_head)["classes"]["HEAD"]["dice"]["interval_95"] is None
