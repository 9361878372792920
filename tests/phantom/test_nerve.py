"""Nerves in the neck: Kaggle's layout, empty masks, alike views, and a nerve that can be seen."""

import csv
from itertools import pairwise

import cv2
import numpy as np
import pytest

from sonoseg.phantom.dataset import write_dataset
from sonoseg.phantom.layout import Settings
from sonoseg.phantom.nerve import plan_nerve, run_lengths

SETTINGS = Settings(kind="nerve", images=20, seed=4, size_scale=0.3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("nerve")
    write_dataset(out, SETTINGS)
    return out


def table(folder):
    with (folder / "train_masks.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def read(folder, row):
    name = f"{row['subject']}_{row['img']}"
    return tuple(cv2.imread(str(folder / "train" / f"{name}{end}.tif"), cv2.IMREAD_UNCHANGED) for end in ("", "_mask"))


def test_layout(written):
    rows = table(written)
    names = {f"{row['subject']}_{row['img']}" for row in rows}
    assert len(names) == 20 and "1_1" in names
    files = {path.name for path in (written / "train").iterdir()}
    assert files == {f"{name}.tif" for name in names} | {f"{name}_mask.tif" for name in names}
    for row in rows:
        image, mask = read(written, row)
        assert image.shape == mask.shape == (126, 174) and image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) in ({0}, {0, 255})


def test_two_of_five_masks_are_empty(written):
    empty = [not read(written, row)[1].any() for row in table(written)]
    assert sum(empty) == 8
    assert [row["pixels"] == "" for row in table(written)] == empty


def test_subjects_have_up_to_120_images():
    cases = plan_nerve(Settings(kind="nerve", images=20))
    assert [case.name for case in cases[:3]] == ["1_1", "1_2", "2_1"]
    assert len({case.subject for case in cases}) == 10
    cases = plan_nerve(Settings(kind="nerve", images=2000))
    counts = np.unique([int(case.subject) for case in cases], return_counts=True)[1]
    assert counts.max() == 120 and counts.sum() == 2000
    assert len({case.name for case in plan_nerve(Settings(kind="nerve", images=3))}) == 3


def test_run_lengths_count_from_one_down_the_columns():
    mask = np.zeros((4, 3), np.uint8)
    mask[1:3, 0] = 255
    mask[3, 1] = mask[0, 2] = 255
    assert run_lengths(mask) == "2 2 8 2"  # a run goes on from the foot of a column to the head of the next
    assert run_lengths(np.zeros((4, 3), np.uint8)) == ""
    assert run_lengths(np.full((4, 3), 255, np.uint8)) == "1 12"


def test_runs_in_the_table_are_the_masks(written):
    for row in table(written):
        _, mask = read(written, row)
        runs = np.array(row["pixels"].split(), int).reshape(-1, 2)
        flat = np.zeros(mask.size, np.uint8)
        for start, length in runs:
            flat[start - 1 : start - 1 + length] = 255
        np.testing.assert_array_equal(flat.reshape(mask.shape[::-1]).T, mask)


def test_views_of_a_subject_are_alike_but_not_the_same():
    cases = plan_nerve(Settings(kind="nerve", images=48, seed=2, size_scale=0.3))
    shown = [case for case in cases if case.view.has_nerve]
    same = [(a, b) for a, b in pairwise(shown) if a.subject == b.subject]
    other = [(a, b) for a, b in zip(shown, shown[7:], strict=False) if a.subject != b.subject]

    def overlap(pair):
        a, b = (case.view.nerve.mask((126, 174), 0.3) > 0 for case in pair)
        return 2 * (a & b).sum() / (a.sum() + b.sum())

    within, between = np.median([overlap(pair) for pair in same]), np.median([overlap(pair) for pair in other])
    assert between + 0.15 < within < 0.98
    first, second = (case.simulate().image for case in same[0])
    assert (first != second).mean() > 0.5


def contrasts(cases, has_nerve):
    """Mean grey where the nerve is or would be over that of a band around it, for the views with or without it."""
    ratios = []
    for case in cases:
        if case.view.has_nerve is not has_nerve:
            continue
        simulated = case.simulate()
        image, mask = simulated.image, simulated.mask
        nerve = case.view.nerve.mask(image.shape, case.neck.pixel_mm / SETTINGS.size_scale)
        np.testing.assert_array_equal(mask, nerve if has_nerve else 0)
        around = cv2.dilate(nerve, np.ones((3, 3), np.uint8), iterations=5) - nerve
        ratios.append(image[nerve > 0].mean() / image[around > 0].mean())
    return ratios


def test_nerve_is_brighter_than_the_muscle_around_it_and_missing_where_its_mask_is_empty():
    cases = plan_nerve(SETTINGS)
    shown, absent = contrasts(cases, True), contrasts(cases, False)
    assert len(shown) == 12 and len(absent) == 8
    assert np.mean(shown) > 1.15 and min(shown) > 0.9
    assert np.mean(absent) < 1.05
