"""Patients on one side only, whatever the grouping; and the guard on the tables."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageRef
from sonoseg.prepare.split import _best, assert_no_leak, split_patients
from sonoseg.runs.split_tables import Sample

CLASSES = ["A", "B", "C"]
IMAGE = st.tuples(st.sampled_from([f"p{i}" for i in range(12)]), st.tuples(st.booleans(), st.booleans(), st.booleans()))


def split(images, test_size=0.2, folds=5, seed=1, classes=CLASSES):
    return split_patients(images, classes, test_size, folds, seed)


@settings(max_examples=60, deadline=None)
@given(st.lists(IMAGE, min_size=1, max_size=40), st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.integers(2, 6))
def test_every_patient_has_one_place_and_no_part_is_empty(images, test_size, folds):
    result = split(images, test_size, folds)
    patients = {patient for patient, _ in images}
    assert set(result.fold_of) == patients
    training = [fold for fold in result.fold_of.values() if fold is not None]
    assert training
    assert (len(training) < len(patients)) == (len(patients) > 1)
    assert set(training) == set(range(min(folds, len(training))))


@settings(max_examples=15, deadline=None)
@given(st.lists(IMAGE, min_size=2, max_size=30), st.randoms(use_true_random=False))
def test_order_of_the_images_does_not_matter(images, shuffler: random.Random):
    shuffled = list(images)
    shuffler.shuffle(shuffled)
    assert split(shuffled).fold_of == split(images).fold_of


def test_same_seed_same_split_other_seed_another():
    images = [(f"p{i}", (i % 2 == 0, i % 3 == 0, True)) for i in range(60)]
    assert split(images, seed=3).fold_of == split(images, seed=3).fold_of
    assert split(images, seed=3).fold_of != split(images, seed=4).fold_of


def test_classes_are_spread_evenly():
    images = [(f"p{i // 2}", (True, i % 20 < 4, i % 40 < 10)) for i in range(200)]
    fold_of = split(images).fold_of
    for column, total in ((0, 200), (1, 40), (2, 50)):
        tested = sum(flags[column] for patient, flags in images if fold_of[patient] is None)
        assert abs(tested - 0.2 * total) <= 0.05 * total
        per_fold = [sum(f[column] for p, f in images if fold_of[p] == fold) for fold in range(5)]
        assert max(per_fold) - min(per_fold) <= 0.08 * total


def test_images_count_and_not_patients_alone():
    # 10 patients with 19 images and 90 with one: 20 patients at random may hold anything from 20 to 200 images.
    images = [(f"big{i}", (True, True, True)) for i in range(10) for _ in range(19)]
    images += [(f"small{i}", (True, True, True)) for i in range(90)]
    fold_of = split(images).fold_of
    tested = sum(fold_of[patient] is None for patient, _ in images)
    assert 0.15 < tested / len(images) < 0.25


def test_one_huge_patient_trains():
    images = [("huge", (True, True, True))] * 90 + [(f"p{i}", (True, True, True)) for i in range(9)]
    result = split(images)
    assert result.fold_of["huge"] is not None
    assert any("of the images, requested were 20%" in str(fault) for fault in result.warnings)


def test_one_patient_trains_and_is_warned_of():
    result = split([("only", (True, False, True))] * 5)
    assert result.fold_of == {"only": 0}
    assert "single patient" in str(result.warnings[0])


def test_two_patients_are_on_two_sides_with_one_fold():
    result = split([("a", (True, True, True)), ("b", (True, True, True))])
    assert sorted(result.fold_of.values(), key=str) == [0, None]
    assert any("1 instead of 5 folds" in str(fault) for fault in result.warnings)


def test_patients_without_a_common_class_still_leave_a_test_part():
    images = [(f"p{i}", tuple(i == k for k in range(8))) for i in range(8)]
    result = split(images, classes=[f"c{k}" for k in range(8)])
    assert sum(fold is None for fold in result.fold_of.values()) in (1, 2)


def test_a_draw_that_leaves_a_part_empty_is_never_taken():
    counts = np.ones((4, 2))
    plain = np.array([0, 1, 0, 0])
    assert _best(lambda seed: np.zeros(4, int), lambda seed: plain, counts, np.array([0.99, 0.01]), 1) is plain


def test_a_draw_in_which_no_fold_lacks_a_class_is_preferred():
    # Twelve patients in two folds, five classes in all of them and one in two. The first draw has equal folds, but both
    # of the two in fold 0; the second has folds of 5 and 7 and is further from equal shares, with one in each.
    counts = np.ones((12, 7))
    counts[2:, 6] = 0
    equal, shared = np.repeat([0, 1], 6), np.r_[0, 1, np.repeat([0, 1], [4, 6])]
    draws = iter([equal, shared] * 20)
    assert (_best(lambda seed: next(draws), lambda seed: equal, counts, np.array([0.5, 0.5]), 1) == shared).all()


def test_a_fold_that_lacks_a_class_is_named():
    images = [(f"p{i}", (True, i < 4, i == 0)) for i in range(20)]
    result = split(images, folds=3)
    owners = {result.fold_of[f"p{i}"] for i in range(4)}
    said = {fault.where: fault for fault in result.warnings if fault.kind == "class_missing_in_fold"}
    assert "class A" not in said and ("class B" in said) == (not {0, 1, 2} <= owners)
    lonely = split([(f"p{i}", (True, i < 3, False)) for i in range(20)], folds=5)
    inside = {fold for fold in (lonely.fold_of[f"p{i}"] for i in range(3)) if fold is not None}
    (fault,) = [fault for fault in lonely.warnings if fault.kind == "class_missing_in_fold"]
    missing = ", ".join(str(fold) for fold in range(5) if fold not in inside)
    assert fault.where == "class B" and f"{missing} shows it ({len(inside)} training" in fault.message


def test_no_labels_and_one_class():
    assert sum(f is None for f in split([(f"p{i}", (False,)) for i in range(10)], classes=["A"]).fold_of.values()) == 2
    assert sum(f is None for f in split([(f"p{i}", (True,)) for i in range(10)], classes=["A"]).fold_of.values()) == 2


def test_a_class_that_a_side_lacks_is_named():
    images = [(f"p{i}", (True, i == 0, False)) for i in range(10)]
    said = " | ".join(map(str, split(images).warnings))
    assert "class B: no image of the" in said and "class C: no image shows it" in said and "class A" not in said


def test_no_images():
    assert split([]).fold_of == {}


def sample(name, patient, fold, sha256=None):
    return Sample(
        name,
        ImageRef(Path(f"{name}.png")),
        Path(f"m/{name}.png"),
        patient,
        fold,
        {},
        4,
        4,
        None,
        sha256 or f"hash of {name}",
        "",
    )


@pytest.fixture
def tables():
    return [sample("a", "P1", 0), sample("b", "P1", 0), sample("c", "P2", 1)], [sample("d", "P3", None)]


def test_clean_tables_pass(tables):
    assert_no_leak(*tables)


@pytest.mark.parametrize(
    ("which", "change", "named"),
    [
        ("test", {"patient": "P2"}, "patient P2: in the training and in the test table"),
        ("train", {"fold": 1}, "patient P1: in folds 0 and 1"),
        (
            "test",
            {"sha256": "hash of b"},
            r"images b \(training, fold 0, patient P1\) and d \(test, patient P3\) are the",
        ),
        (
            "train",
            {"sha256": "hash of c"},
            r"images b \(training, fold 0, patient P1\) and c \(training, fold 1, patient P2\)",
        ),
        ("test", {"id": "c"}, "image c: listed twice"),
    ],
)
def test_leaks_are_named(tables, which, change, named):
    train, test = tables
    if which == "test":
        test = [replace(test[0], **change)]
    else:
        train = [train[0], replace(train[1], **change), train[2]]
    with pytest.raises(DataError, match=named):
        assert_no_leak(train, test)
