"""Copies of a picture are found whatever was done to their size, brightness or file; other pictures are not."""

from functools import cache

import cv2
import numpy as np
import pytest

from sonoseg.prepare.near_duplicates import find_alike, perceptual_hash, small_picture


@cache
def speckle(seed, size=(240, 320)):
    """Return a picture as ultrasound has them: soft shapes, coarse grain, dark corners."""
    random = np.random.default_rng(seed)
    shapes = cv2.GaussianBlur(random.normal(size=size), None, 25) * 900
    grain = cv2.GaussianBlur(random.normal(size=size), None, 2) * 60
    return np.clip(90 + shapes + grain, 0, 255).astype(np.uint8)


def bits(first, second):
    return (perceptual_hash(small_picture(first)) ^ perceptual_hash(small_picture(second))).bit_count()


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
    found = find_alike([small_picture(p) for p in pictures], [f"P{index}" for index in range(13)])
    assert [(pair.first, pair.second) for pair in found] == [(4, 12)]
    assert found[0].correlation > 0.9 and found[0].bits <= 10


def test_other_pictures_are_far_apart():
    pictures = [speckle(seed) for seed in range(40)]
    assert find_alike([small_picture(p) for p in pictures], [str(index) for index in range(40)]) == []
    assert min(bits(a, b) for index, a in enumerate(pictures) for b in pictures[:index]) > 6


def test_images_of_one_patient_may_be_alike():
    small = small_picture(speckle(1))
    assert find_alike([small, small], ["P", "P"]) == []
    assert len(find_alike([small, small], ["P", "Q"])) == 1


def test_pictures_without_contrast_are_like_nothing():
    black = np.zeros((32, 32), np.uint8)
    assert find_alike([black, black, black + 9], ["a", "b", "c"]) == []
    assert find_alike([], []) == [] and find_alike([black], ["a"]) == []


def test_pairs_are_found_across_blocks():
    """600 pictures are compared in three blocks of rows."""
    smalls = [np.random.default_rng(seed).integers(0, 256, (32, 32), dtype=np.uint8) for seed in range(600)]
    smalls[599], smalls[300] = smalls[2], smalls[299]
    found = find_alike(smalls, [str(index) for index in range(600)])
    assert [(pair.first, pair.second, pair.bits) for pair in found] == [(2, 599, 0), (299, 300, 0)]


def test_brightness_changes_few_bits():
    image = speckle(3)
    assert bits(image, cv2.add(image, 20)) <= 2
    assert bits(image, 255 - image) > 40
