"""Spine scenes: the annotation agrees with the geometry, and the image shows what is annotated."""

from collections import Counter

import numpy as np
import pytest

from sonoseg.phantom.layout import Settings
from sonoseg.phantom.spine.anatomy import VIEWS, share_patients, share_views
from sonoseg.phantom.spine.dataset import Scene, SpineCase, plan_spine
from sonoseg.phantom.tissue import Frame

SETTINGS = Settings(images=20, seed=7, size_scale=0.65)


@pytest.fixture(scope="module")
def made() -> list[tuple[SpineCase, Scene]]:
    return [(case, case.make()) for case in plan_spine(SETTINGS)]


def shapes(scene: Scene) -> dict[str, np.ndarray]:
    return {shape.structure: shape.points for shape in scene.annotation}


def test_shares_follow_the_table():
    count = Counter(share_views(70, np.random.default_rng(0)))
    assert count == {"interspinous": 49, "spinous": 7, "posterior_only": 4, "anterior_only": 3, "paramedian": 7}
    assert sum(share for _, share in VIEWS.values()) == pytest.approx(1.0)
    assert len(share_views(1, np.random.default_rng(0))) == 1


def test_patients_have_three_to_six_images():
    owners = share_patients(70, np.random.default_rng(0))
    counts = list(Counter(owners).values())
    assert len(owners) == 70 and owners == sorted(owners)
    assert all(3 <= n <= 6 for n in counts[:-1]) and 1 <= counts[-1] <= 6


def test_patients_keep_their_device_and_differ(made):
    devices: dict[str, set] = {}
    for case, scene in made:
        devices.setdefault(case.patient.name, set()).add((scene.image.shape, case.patient.device))
    assert all(len(used) == 1 for used in devices.values())
    assert len({case.patient.epi_mm for case, _ in made}) == len(devices)


def test_annotations_name_what_the_view_shows(made):
    for case, scene in made:
        assert set(shapes(scene)) == set(case.view.labels)
        assert len(scene.annotation) == len(case.view.labels)


def test_annotations_lie_inside_and_have_the_right_form(made):
    for _, scene in made:
        height, width = scene.image.shape
        for shape in scene.annotation:
            name = shape.structure
            assert shape.kind == {"MID": "line", "EPI": "line", "VTB": "rectangle"}[name]
            assert np.array_equal(shape.points, np.rint(shape.points))
            (x0, y0), (x1, y1) = shape.points
            assert min(x0, x1) >= 0 and max(x0, x1) < width and min(y0, y1) >= 0 and max(y0, y1) < height
            if name == "MID":
                assert y1 > y0 and abs(np.degrees(np.arctan2(x1 - x0, y1 - y0))) < 13  # pixels may be anisotropic
            if name == "EPI":
                assert x1 > x0 and abs(y1 - y0) < 0.25 * (x1 - x0)
            if name == "VTB":
                assert x1 > x0 and y1 > y0


def test_epi_lies_on_the_midline_above_the_vertebral_body(made):
    for _, scene in made:
        points_of = shapes(scene)
        if len(points_of) < 3:
            continue
        (x0, y0), (x1, y1) = points_of["MID"]
        y = points_of["EPI"][:, 1].mean()
        x = x0 + (x1 - x0) * (y - y0) / (y1 - y0)
        assert abs(x - points_of["EPI"][:, 0].mean()) <= 2.0
        assert y0 < y < points_of["VTB"][0, 1] and points_of["VTB"][0, 0] < x < points_of["VTB"][1, 0]


def test_true_depth_equals_the_drawn_geometry(made):
    defined = 0
    for case, scene in made:
        points_of = shapes(scene)
        if not {"MID", "EPI"} <= set(points_of):
            assert scene.skin_to_epi_mm is None
            continue
        defined += 1
        scale = np.array([case.patient.device.col_mm, case.patient.device.row_mm])
        top, deep = points_of["MID"] * scale
        along = (deep - top) / np.linalg.norm(deep - top)
        epi_y = points_of["EPI"][:, 1].mean() * scale[1]
        measured = (epi_y - scene.skin_row * scale[1]) / along[1]
        assert measured == pytest.approx(scene.skin_to_epi_mm, abs=1.2 * scale.max())
    assert defined >= 12


def test_skin_is_the_first_bright_boundary(made):
    for _, scene in made:
        height = scene.image.shape[0]
        profile = np.median(scene.image, axis=1).astype(float)
        row = round(scene.skin_row)
        assert profile[max(0, row - 1) : row + 3].max() > 1.6 * profile[: max(1, row - 3)].mean()
        assert row < 0.1 * height


def _contrast(image: np.ndarray, points_of: dict[str, np.ndarray], name: str) -> float:
    """Brightest row near the structure over the mean of the rows between sac and structure, at its middle third."""
    (x0, y0), (x1, y1) = points_of[name]
    a, b = int(x0 + (x1 - x0) / 3), int(x1 - (x1 - x0) / 3) + 1
    reach = image.shape[0] // 40 + 1
    top, bottom = (int(y0), int(y1)) if name == "VTB" else (int(min(y0, y1)), int(max(y0, y1)))
    here = image[max(0, top - reach) : bottom + reach + 1, a:b].astype(float).mean(axis=1).max()
    rows = slice(bottom + 2 * reach, bottom + 4 * reach) if name == "EPI" else slice(top - 4 * reach, top - reach)
    sac = image[rows, a:b]
    return here / (sac.astype(float).mean() + 5.0)


@pytest.mark.parametrize("name", ["EPI", "VTB"])
def test_annotated_structures_are_brighter_than_the_sac(made, name):
    contrasts = [_contrast(s.image, shapes(s), name) for _, s in made if name in shapes(s)]
    assert np.median(contrasts) > 2.0 and min(contrasts) > 1.1
    assert max(contrasts) > 1.5 * min(contrasts)  # not all equally easy


def test_spinous_process_shadows_the_middle(made):
    seen = 0
    for case, scene in made:
        if case.view.kind != "spinous":
            continue
        seen += 1
        (x0, y0), (x1, y1) = shapes(scene)["MID"].astype(int)
        row, x = int(y0 + 0.35 * (y1 - y0)), int(x0 + 0.35 * (x1 - x0))
        band = scene.image[row - 9 : row + 9].astype(float)
        aside = int(14.0 / case.patient.device.col_mm)
        assert (
            band[:, x - 2 : x + 3].mean()
            < 0.6 * np.hstack([band[:, x - aside - 9 : x - aside], band[:, x + aside : x + aside + 9]]).mean()
        )
    assert seen == 2


def test_frame_is_inverted_and_exact_on_the_midline():
    frame = Frame(20.0, 2.0, 8.0, (300, 250), (0.2, 0.16))
    u, v = frame.to_body()
    x, z = frame.to_image(u.astype(float), v.astype(float))
    columns, rows = np.meshgrid(np.arange(250) * 0.16, np.arange(300) * 0.2)
    assert np.abs(x - columns).max() < 0.02 and np.abs(z - rows).max() < 0.02
    x, z = frame.to_image(np.array(0.0), np.array(40.0))
    assert float(np.hypot(x - 20.0, z - 2.0)) == pytest.approx(40.0)
    assert np.degrees(np.arctan2(x - 20.0, z - 2.0)) == pytest.approx(8.0)
