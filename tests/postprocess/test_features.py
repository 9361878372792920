"""Quality features of drawn masks and probabilities."""

import cv2
import numpy as np
import pytest

from sonoseg.geometry.points import Ellipse
from sonoseg.postprocess.features import FEATURES
from sonoseg.postprocess.interpret import interpret
from sonoseg.schema.task import Task
from sonoseg.types import Maps, Mask
from tests.geometry import drawn_shapes as drawn
from tests.postprocess.test_measure import SHAPE, probabilities, spine_labels, tissue

HEAD = drawn.ellipse(SHAPE, Ellipse(200, 150, 200, 160, 20))


def soft(mask: Mask, sigma: float = 0.0) -> Maps:
    """Probabilities of one class: 0.99 in the mask, with an edge of this softness."""
    head = np.where(mask, 0.99, 0.01).astype(np.float32)
    if sigma:
        head = cv2.GaussianBlur(head, (0, 0), sigma)
    return np.stack([1 - head, head])


def features_of(task: Task, maps: Maps) -> dict[str, float]:
    return interpret(maps, tissue(), task, (0.2, 0.2)).features["HEAD"]


def test_a_sharp_ellipse_has_small_features(fetal_head: Task) -> None:
    features = features_of(fetal_head, soft(HEAD))
    assert tuple(features) == FEATURES or set(features) == set(FEATURES)
    assert features["uncertainty"] == pytest.approx(0.01, abs=1e-4)
    assert features["band"] == features["pieces"] == features["border"] == 0
    assert features["disagreement"] < 0.02 and features["residual"] < 0.005
    assert features["smallness"] == pytest.approx(np.log(HEAD.size / HEAD.sum()), abs=0.001)


def test_the_band_is_the_width_of_the_edge(fetal_head: Task) -> None:
    """From 0.25 to 0.75 a Gaussian edge is 1.35 sigma wide (a little less for 0.01 to 0.99)."""
    diameter = 2 * np.sqrt(HEAD.sum() / np.pi)
    for sigma in (4.0, 8.0):
        band = features_of(fetal_head, soft(HEAD, sigma))["band"]
        assert band * diameter == pytest.approx(1.37 * sigma, rel=0.08)


def test_a_bump_a_notch_and_a_second_piece_are_seen(fetal_head: Task) -> None:
    plain = features_of(fetal_head, soft(HEAD))
    bump = HEAD | drawn.ellipse(SHAPE, Ellipse(300, 150, 60, 60, 0))
    bumped = features_of(fetal_head, soft(bump))
    assert bumped["residual"] > 3 * plain["residual"] and bumped["disagreement"] > 3 * plain["disagreement"]
    second = features_of(fetal_head, soft(HEAD | drawn.rectangle(SHAPE, 10, 10, 40, 40)))
    assert second["pieces"] == pytest.approx(np.log(2))


def test_the_border_counts_where_the_image_cuts(fetal_head: Task) -> None:
    cut = drawn.ellipse(SHAPE, Ellipse(200, 60, 200, 160, 0))
    assert 0.1 < features_of(fetal_head, soft(cut))["border"] < 0.6


def test_every_structure_has_all_features_and_a_missing_one_none(spine: Task) -> None:
    labels = spine_labels()
    labels[labels == 3] = 0
    features = interpret(probabilities(labels, 3), tissue(), spine, None).features
    assert set(features) == {"MID", "VTB"}
    assert all(
        set(values) == set(FEATURES) and np.isfinite(list(values.values())).all() for values in features.values()
    )
    assert features["MID"]["residual"] == 0 and features["MID"]["disagreement"] < 0.2  # a line, at its thickness


@pytest.mark.parametrize("points", [[(150, 200)], [(150, 200), (150, 201)], [(0, 0)], [(299, 400)]])
def test_masks_of_a_pixel_have_finite_features(points: list[tuple[int, int]], fetal_head: Task, spine: Task) -> None:
    for task in (fetal_head, spine):
        labels = np.zeros(SHAPE, np.uint8)
        for row, column in points:
            labels[row, column] = 1
        maps = probabilities(labels, len(task.structures))
        for values in interpret(maps, tissue(), task, None).features.values():
            assert np.isfinite(list(values.values())).all()


def test_a_class_that_is_most_probable_with_little_has_features(spine: Task) -> None:
    maps = np.full((4, *SHAPE), 0.2, np.float32)
    maps[1, 100:200, 195:206] = 0.21
    features = interpret(maps, tissue(), spine, None).features["MID"]
    assert features["band"] == features["pieces"] == 0 and features["uncertainty"] == pytest.approx(0.79, abs=0.001)
