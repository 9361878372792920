"""Tumours: image and mask folders, and masses that differ from the tissue around them."""

import csv

import cv2
import numpy as np
import pytest

from sonoseg.phantom.dataset import write_dataset
from sonoseg.phantom.layout import Settings
from sonoseg.phantom.tumour import SIZES, plan_tumour

SETTINGS = Settings(kind="tumour", images=14, seed=4, size_scale=0.3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("tumour")
    write_dataset(out, SETTINGS)
    return out


def table(folder):
    with (folder / "metadata.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def read(folder, row):
    return tuple(
        cv2.imread(str(folder / where), cv2.IMREAD_UNCHANGED)
        for where in (f"images/{row['image']}.png", f"masks/{row['image']}_mask.png")
    )


def test_layout(written):
    rows = table(written)
    assert list(rows[0]) == ["image", "patient", "row_mm", "col_mm"]
    assert [row["image"] for row in rows] == [f"case_{i:03d}" for i in range(1, 15)]
    assert len({row["patient"] for row in rows}) == 14
    assert {path.name for path in (written / "masks").iterdir()} == {f"{row['image']}_mask.png" for row in rows}
    sizes = set()
    for row in rows:
        image, mask = read(written, row)
        assert image.shape == mask.shape and image.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) == {0, 255}
        assert row["row_mm"] == row["col_mm"] and float(row["row_mm"]) > 0
        sizes.add(image.shape[::-1])
    assert len(sizes) > 2 and sizes <= {(round(w * 0.3), round(h * 0.3)) for w, h in SIZES}


def test_a_mass_is_one_region_with_a_rough_border_away_from_the_edge(written):
    roughness = []
    for row in table(written):
        _, mask = read(written, row)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        contour = max(contours, key=cv2.contourArea)
        assert cv2.contourArea(contour) > 0.9 * sum(cv2.contourArea(other) for other in contours)
        assert 0.02 < (mask > 0).mean() < 0.3
        assert not (mask[[0, -1]].any() or mask[:, [0, -1]].any())
        roughness.append(cv2.contourArea(contour) / cv2.contourArea(cv2.convexHull(contour)))
    assert np.mean(roughness) < 0.96  # an ellipse of this size has 0.98 or more


def test_masses_differ_from_the_tissue_around_them(written):
    cases = {case.name: case for case in plan_tumour(SETTINGS)}
    agree = []
    for row in table(written):
        image, mask = read(written, row)
        around = cv2.dilate(mask, np.ones((3, 3), np.uint8), iterations=9) - mask
        inside, outside = image[mask > 0].mean(), np.median(image[around > 0])
        dark = cases[row["image"]].fetus.is_dark
        agree.append(inside < 0.85 * outside if dark else inside > 1.25 * outside)
    assert np.mean(agree) >= 0.9
    assert {case.fetus.is_dark for case in cases.values()} == {True, False}


def test_a_mass_changes_what_lies_behind_it():
    """Dense masses cast a shadow, cystic ones brighten the tissue below them."""
    behind: dict[bool, list[float]] = {True: [], False: []}
    for case in plan_tumour(Settings(kind="tumour", images=30, seed=1, size_scale=0.15)):
        simulated = case.simulate()
        image, mask = simulated.image.astype(float), simulated.mask.astype(float)
        rows, columns = np.nonzero(mask)
        low, left, right = rows.max() + 2, columns.min(), columns.max() + 1
        middle = slice(left + (right - left) // 3, right - (right - left) // 3)
        below = image[low : low + 6, middle].mean()
        behind[case.fetus.mass_loss > 1].append(below / np.median(image[low : low + 6]))
    assert np.median(behind[False]) > 1.1 * np.median(behind[True])


@pytest.mark.parametrize("scale", [0.15, 1.0])
def test_scale_changes_the_grid_and_not_the_field(scale):
    fetus = plan_tumour(Settings(kind="tumour", images=1, size_scale=scale))[0].fetus
    width_mm = fetus.array.size[1] * fetus.array.pixel_mm
    full = plan_tumour(Settings(kind="tumour", images=1))[0].fetus
    assert width_mm == pytest.approx(full.array.size[1] * full.array.pixel_mm, rel=0.01)
    assert fetus.mass == full.mass
