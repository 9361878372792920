"""Fetal heads: HC18's layout, the true circumference, and a skull that can be seen."""

import csv
import re

import cv2
import numpy as np
import pytest

from sonoseg.geometry.points import Ellipse
from sonoseg.phantom.dataset import write_dataset
from sonoseg.phantom.head import HEIGHT, OUTLINE_WIDTH_PX, WIDTH, draw_fetus, draw_view, plan_head
from sonoseg.phantom.layout import Settings

SETTINGS = Settings(kind="head", images=12, seed=4, size_scale=0.4)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("head")
    write_dataset(out, SETTINGS)
    return out


def table(folder):
    with (folder / "training_set_pixel_size_and_HC.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def read(folder, row):
    image, outline = (
        cv2.imread(str(folder / "training_set" / name), cv2.IMREAD_UNCHANGED)
        for name in (row["filename"], row["filename"].replace(".png", "_Annotation.png"))
    )
    return image, outline


def is_whole(outline):
    return not (outline[[0, -1]].any() or outline[:, [0, -1]].any())


def test_layout(written):
    rows = table(written)
    assert list(rows[0]) == ["filename", "pixel size(mm)", "head circumference (mm)"]
    assert len(rows) == 12 and rows[0]["filename"] == "001_HC.png"
    files = {path.name for path in (written / "training_set").iterdir()}
    images = {row["filename"] for row in rows}
    assert files == images | {name.replace(".png", "_Annotation.png") for name in images}
    for row in rows:
        image, outline = read(written, row)
        assert image.shape == outline.shape == (216, 320) and image.dtype == outline.dtype == np.uint8
        assert set(np.unique(outline)) == {0, 255}


def test_names_tell_subjects_and_their_images():
    cases = plan_head(Settings(kind="head", images=120, seed=1))
    names = [case.name for case in cases]
    assert len(set(names)) == 120
    numbers: dict[str, list[str]] = {}
    for case in cases:
        match = re.fullmatch(r"(\d{3})_([23]?)HC", case.name)
        assert match and match[1] == case.subject
        numbers.setdefault(case.subject, []).append(match[2])
    assert all(found == ["", "2", "3"][: len(found)] for found in numbers.values())
    assert 5 <= sum(len(found) > 1 for found in numbers.values()) <= 40
    circumferences = {case.subject: {round(case.view.circumference_mm, 6)} for case in cases}
    assert len(set().union(*circumferences.values())) == len(circumferences)  # each subject has one head, its own


def test_pixel_sizes_and_circumferences_are_those_of_hc18():
    fetuses = [draw_fetus("001", np.random.default_rng(i)) for i in range(200)]
    views = [draw_view(fetus, np.random.default_rng(i)) for i, fetus in enumerate(fetuses)]
    pixels = np.array([view.array.pixel_mm for view in views])
    assert 0.05 < pixels.min() < 0.1 and 0.2 < pixels.max() < 0.36
    heads = np.array([view.circumference_mm for view in views])
    np.testing.assert_allclose(heads, [fetus.hc_mm for fetus in fetuses])
    assert 150 < np.median(heads) < 210
    cut = 0
    for view in views:
        wide, high = view.skull.reach()
        x, z = view.skull.x / view.array.pixel_mm, view.skull.z / view.array.pixel_mm
        wide, high = wide / view.array.pixel_mm, high / view.array.pixel_mm
        cut += not (wide < x < WIDTH - wide and high < z < HEIGHT - high)
    assert 2 <= cut <= 20  # a few per cent


def test_circumference_in_the_table_is_that_of_the_outline(written):
    checked = 0
    for row in table(written):
        _, outline = read(written, row)
        if not is_whole(outline):
            continue
        checked += 1
        rows, columns = np.nonzero(outline)
        (x, y), axes, angle = cv2.fitEllipseDirect(np.stack([columns, rows], axis=1).astype(np.float32))
        fitted = Ellipse(x, y, max(axes), min(axes), angle).circumference * float(row["pixel size(mm)"])
        assert fitted == pytest.approx(float(row["head circumference (mm)"]), rel=0.005)
    assert checked >= 9


def test_outline_is_closed_and_as_thin_as_the_pen(written):
    for row in table(written):
        _, outline = read(written, row)
        if not is_whole(outline):
            continue
        parts, _ = cv2.connectedComponents(outline, connectivity=8)
        assert parts == 2
        flooded = cv2.floodFill(outline.copy(), None, (0, 0), 77)[1]
        assert (flooded == 0).sum() > 0.05 * outline.size  # the inside stays dry
        length_px = float(row["head circumference (mm)"]) / float(row["pixel size(mm)"])
        assert (outline > 0).sum() / length_px == pytest.approx(0.4 * OUTLINE_WIDTH_PX, rel=0.08)


def test_skull_stands_out_and_the_brain_is_darker_than_it(written):
    brighter = []
    for row in table(written):
        image, outline = read(written, row)
        if not is_whole(outline):
            continue
        contours, _ = cv2.findContours(outline, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        filled = cv2.drawContours(np.zeros_like(outline), contours, -1, 1, cv2.FILLED)
        deep = cv2.erode(filled, np.ones((3, 3), np.uint8), iterations=6)
        ring = cv2.erode(filled, np.ones((3, 3), np.uint8), iterations=1) - cv2.erode(filled, np.ones((5, 5), np.uint8))
        around = cv2.dilate(filled, np.ones((3, 3), np.uint8), iterations=9) - filled
        skull, brain, tissue = (image[part > 0].astype(float).mean() for part in (ring, deep, around))
        brighter.append(skull > 1.4 * brain and skull > 1.15 * tissue)
    assert len(brighter) >= 9 and np.mean(brighter) >= 0.9


def test_images_have_the_grey_levels_of_hc18(written):
    """Over every 66th training image of HC18 the mean is 15 to 69, and the brightest hundredth 137 to 240."""
    images = [read(written, row)[0] for row in table(written)]
    assert 25 < np.mean([image.mean() for image in images]) < 70
    assert 110 < np.mean([np.percentile(image, 99) for image in images]) < 230
    assert all((image == 0).mean() < 0.5 for image in images)


def test_scale_changes_the_grid_and_not_the_field():
    small, large = (plan_head(Settings(kind="head", images=1, size_scale=scale))[0].view for scale in (0.2, 1.0))
    assert small.array.size == (108, 160) and large.array.size == (HEIGHT, WIDTH)
    assert small.skull == large.skull
    assert small.array.pixel_mm == pytest.approx(5 * large.array.pixel_mm)
