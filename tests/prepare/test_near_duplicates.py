"""Copies of a picture are found whatever was done to their size, brightness or file; other pictures are not."""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from sonoseg.io.image_ref import ImageRef
from sonoseg.prepare.duplicates import near_duplicates
from sonoseg.prepare.duplicates.near_duplicates import (
    find_near_duplicates,
    near_duplicate_faults,
    perceptual_hash,
    thumbnail_of,
)
from sonoseg.runs.split_tables import Sample


@cache
def speckle(seed, size=(240, 320)):
    """Return a picture as ultrasound has them: soft shapes, coarse grain, dark corners."""
    random = np.random.default_rng(seed)
    shapes = cv2.GaussianBlur(random.normal(size=size), None, 25) * 900
    grain = cv2.GaussianBlur(random.normal(size=size), None, 2) * 60
    return np.clip(90 + shapes + grain, 0, 255).astype(np.uint8)


def samples_of(patients, test=()):
    """Return a sample per patient named, in fold 0 or, for the patients in `test`, in the test part."""
    return [
        Sample(f"i{at:03}", ImageRef(Path()), Path(), patient, None if patient in test else 0, {}, 1, 1, None, "", "")
        for at, patient in enumerate(patients)
    ]


def places(pairs):
    return [(pair.first, pair.second) for pair in pairs.most_alike(100)]


def film(frames, seed=1):
    """Return thumbnails that all are almost the same, none twice."""
    still = thumbnail_of(speckle(seed)).astype(np.float64)
    noise = np.random.default_rng(seed).normal(0, 2, (frames, *still.shape))
    return list(np.clip(still + noise, 0, 255).round().astype(np.uint8))


def faults_of(thumbnails, samples):
    return near_duplicate_faults(
        find_near_duplicates(thumbnails, samples), samples, {one.id: f"{one.id}.png" for one in samples}
    )


def bits(first, second):
    return (perceptual_hash(thumbnail_of(first)) ^ perceptual_hash(thumbnail_of(second))).bit_count()


COPIES = {
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, None, fx=1.3, fy=1.3, interpolation=cv2.INTER_CUBIC),
    "brighter": lambda image: cv2.add(image, 20),
    "more contrast": lambda image: cv2.convertScaleAbs(image, alpha=1.1),
    "JPEG": lambda image: cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 0),
    "shifted": lambda image: np.roll(image, (2, 3), (0, 1)),
}


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_of_another_patient_is_found(change):
    pictures = [speckle(seed) for seed in range(12)]
    pictures.append(COPIES[change](pictures[4]))
    found = find_near_duplicates([thumbnail_of(p) for p in pictures], samples_of(map(str, range(13))))
    (pair,) = found.most_alike(9)
    assert (pair.first, pair.second) == (4, 12) and pair.correlation > 0.9 and pair.bits <= 10


def test_other_pictures_are_far_apart():
    pictures = [speckle(seed) for seed in range(40)]
    found = find_near_duplicates([thumbnail_of(p) for p in pictures], samples_of(map(str, range(40))))
    assert len(found) == 0 and found.groups() == found.for_review(9) == found.most_alike(9) == []
    assert min(bits(a, b) for index, a in enumerate(pictures) for b in pictures[:index]) > 6


def test_images_of_one_patient_may_be_alike():
    thumbnail = thumbnail_of(speckle(1))
    assert len(find_near_duplicates([thumbnail, thumbnail], samples_of("PP"))) == 0
    assert len(find_near_duplicates([thumbnail, thumbnail], samples_of("PQ"))) == 1


def test_pictures_without_contrast_are_like_nothing():
    black = np.zeros((32, 32), np.uint8)
    assert len(find_near_duplicates([black, black, black + 9], samples_of("abc"))) == 0
    assert len(find_near_duplicates([], [])) == 0 and len(find_near_duplicates([black], samples_of("a"))) == 0


def test_pairs_are_found_across_blocks():
    """600 pictures are compared in three blocks of rows."""
    thumbnails = [np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8) for seed in range(600)]
    thumbnails[599], thumbnails[300] = thumbnails[2], thumbnails[299]
    found = find_near_duplicates(thumbnails, samples_of(map(str, range(600))))
    assert [(pair.first, pair.second, pair.bits) for pair in found.most_alike(9)] == [(2, 599, 0), (299, 300, 0)]


def test_brightness_changes_few_bits():
    image = speckle(3)
    assert bits(image, cv2.add(image, 20)) <= 2
    assert bits(image, 255 - image) > 40


def test_a_pair_is_named_with_parts_and_patients():
    thumbnail = thumbnail_of(speckle(1))
    (fault,) = faults_of([thumbnail, thumbnail], samples_of("PQ", test="Q"))
    assert (fault.where, fault.kind) == ("i000.png", "alike_across")
    assert fault.message == (
        "training, fold 0, patient P: almost the same picture as i001.png, test, patient Q "
        "(0 of 64 bits differ, correlation 1.000)"
    )
    assert faults_of([thumbnail, thumbnail], samples_of("PQ"))[0].kind == "alike"


def test_images_that_pairs_connect_are_one_group():
    """0 and 2, 2 and 4 share no patient, so they are pairs; 0 and 4 do, so only 2 connects them."""
    first, second = film(3, seed=1), film(2, seed=2)
    thumbnails = [first[0], second[0], first[1], second[1], first[2]]
    samples = samples_of("ABCDA", test="BD")
    found = find_near_duplicates(thumbnails, samples)
    assert sorted(places(found)) == [(0, 2), (1, 3), (2, 4)]
    groups = found.groups()
    assert sorted(group.images.tolist() for group in groups) == [[0, 2, 4], [1, 3]]
    assert not any(group.across for group in groups)
    assert groups[0].closest == found.most_alike(1)[0]
    of_three = next(fault for fault in faults_of(thumbnails, samples) if fault.where == "i000.png")
    assert of_three.message == (
        "one of 3 images of 2 patients, each almost the same picture as another of them: 3 in training "
        "(i000.png of patient A, i002.png of patient C, i004.png of patient A); are they frames of one cine loop?"
    )


def test_a_film_under_many_names_is_one_warning():
    samples = samples_of([f"P{at}" for at in range(300)], test=[f"P{at}" for at in range(0, 300, 5)])
    (fault,) = faults_of(film(300), samples)
    assert (fault.where, fault.kind) == ("i000.png", "alike_across")
    assert fault.message == (
        "one of 300 images of 300 patients, each almost the same picture as another of them: 240 in training "
        "(i001.png of patient P1, i002.png of patient P2, i003.png of patient P3, ...) and 60 in test "
        "(i000.png of patient P0, i005.png of patient P5, i010.png of patient P10, ...); "
        "are they frames of one cine loop?"
    )


def test_pairs_to_look_at_come_from_every_group():
    """Two films in training, a looser pair in training and test: that first, then one of each film, then the rest."""
    first, second = film(4, seed=1), film(4, seed=2)
    loose = [thumbnail_of(speckle(5)), thumbnail_of(COPIES["shifted"](speckle(5)))]
    samples = samples_of("ABCDEFGHIJ", test="J")
    found = find_near_duplicates([*first, *second, *loose], samples)
    assert len(found) == 13 and found.most_alike(13)[-1].across
    shown = found.for_review(13)
    assert (shown[0].first, shown[0].second, shown[0].across) == (8, 9, True)
    assert {shown[1].first < 4, shown[2].first < 4} == {True, False}
    assert shown[1] == found.most_alike(1)[0]
    assert len(set(shown)) == 13 and found.for_review(3) == shown[:3]


def test_a_search_that_was_cut_short_says_so(monkeypatch):
    """Of 5 frames' 10 candidates 0-1, ... 0-4, 1-2, 1-3 are examined: the pairs of 1 to 4 are not known in full."""
    samples = samples_of("ABCDE")
    monkeypatch.setattr(near_duplicates, "MAX_CANDIDATES", 6)
    found = find_near_duplicates(film(5), samples)
    assert sorted(places(found)) == [(0, 1), (0, 2), (0, 3), (0, 4), (1, 2), (1, 3)] and found.unsearched == 4
    (cut,) = [fault for fault in faults_of(film(5), samples) if fault.kind == "alike_cut"]
    assert cut.where == "i001.png" and "4 of 5, were not compared with each other" in cut.message
    monkeypatch.setattr(near_duplicates, "MAX_CANDIDATES", 10)
    assert find_near_duplicates(film(5), samples).unsearched == 0
    assert [fault.kind for fault in faults_of(film(5), samples)] == ["alike"]


def test_a_cut_between_two_blocks_of_rows(monkeypatch):
    """The first block of 2 rows fills the room to the last candidate; the next one has more."""
    monkeypatch.setattr(near_duplicates, "BLOCK_ROWS", 2)
    monkeypatch.setattr(near_duplicates, "MAX_CANDIDATES", 7)
    found = find_near_duplicates(film(5), samples_of("ABCDE"))
    assert len(found) == 7 and found.unsearched == 3
