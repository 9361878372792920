"""Filled ellipses in place of the network's masks: area, overlaps, and what stays that of the network's mask."""

from pathlib import Path

import numpy as np
import pytest

from sonoseg.evaluation.metrics import agreement
from sonoseg.geometry.ellipse_fit import fit_ellipse
from sonoseg.geometry.points import Ellipse
from sonoseg.geometry.shapes import Shape
from sonoseg.io.masks import read_mask
from sonoseg.postprocess.interpret import interpret
from sonoseg.postprocess.shape_masks import with_ellipses
from sonoseg.schema.annotations import Structure
from sonoseg.schema.task import Task
from sonoseg.types import Mask, Pixels
from tests.conftest import changed
from tests.geometry import drawn_shapes as drawn
from tests.postprocess.test_measure import probabilities, spine_labels, tissue

SIZE = (300, 401)


def shape_masks(task: Task, on: bool = True) -> Task:
    return changed(task, postprocessing={**task.postprocessing.model_dump(), "shape_mask": on})


def structure(name: str, covered_by: tuple[str, ...] = (), shape: str = "ellipse") -> Structure:
    return Structure.model_validate({"name": name, "shape": shape, "color": "#ff0000", "covered_by": [*covered_by]})


def ellipse_of(name: str, ellipse: Ellipse) -> Shape:
    return Shape(name, "ellipse", ellipse.axis_ends())


def masks_of(labels: Pixels, count: int) -> np.ndarray:
    return np.stack([labels == value for value in range(1, count + 1)])


def replaced(mask: Mask, ellipse: Ellipse) -> Mask:
    """Return the mask of a task's only structure after the ellipse has taken its place."""
    labels = mask.astype(np.uint8)
    shapes = [ellipse_of("A", ellipse)]
    labels, masks = with_ellipses(labels, masks_of(labels, 1), shapes, [structure("A")])
    assert np.array_equal(masks[0], labels == 1)
    return masks[0]


def test_the_area_is_that_of_the_ellipse_and_the_ellipse_fits_its_mask_again() -> None:
    rng = np.random.default_rng(0)
    areas, axes, moved = [], [], []
    for _ in range(100):
        minor = rng.uniform(60, 180)
        made = Ellipse(*rng.uniform(190, 210, 2), minor * rng.uniform(1, 1.6), minor, rng.uniform(0, 180))
        raw = drawn.ellipse((400, 400), made)
        first = fit_ellipse(raw)
        mask = replaced(raw, first)
        again = fit_ellipse(mask)
        areas.append(mask.sum() / (np.pi * first.major * first.minor / 4) - 1)
        axes.append([again.major - first.major, again.minor - first.minor])
        moved.append([again.x - first.x, again.y - first.y])
    assert abs(np.mean(areas)) < 1e-3
    # A systematic half pixel at the border would be one pixel of each axis.
    assert np.abs(np.mean(axes, axis=0)).max() < 0.02 and np.abs(axes).max() < 0.3
    assert np.abs(np.mean(moved, axis=0)).max() < 0.02 and np.abs(moved).max() < 0.15


def notched(centre_x: float) -> Pixels:
    """Return an ellipse with a piece cut out of it and a bump beside it, as a network may give it."""
    labels = drawn.ellipse(SIZE, Ellipse(centre_x, 150, 240, 186, 20)).astype(np.uint8)
    left = round(centre_x) - 140
    labels[140:150, left : left + 50] = 0
    labels[50:60, left + 130 : left + 142] = 1
    return labels


@pytest.mark.parametrize("sure", [0.9, 0.6])
@pytest.mark.parametrize("centre_x", [200, 340])
def test_only_the_masks_change(fetal_head: Task, sure: float, centre_x: int) -> None:
    labels = notched(centre_x)  # at 340 the image cuts it off
    given = probabilities(labels, 1, sure)
    raw = interpret(given, tissue(), shape_masks(fetal_head, on=False), (0.2, 0.2))
    ellipse = interpret(given, tissue(), shape_masks(fetal_head), (0.2, 0.2))
    assert raw.reasons or (sure, centre_x) == (0.9, 200)
    for field in ("measurements", "confidence", "shape_agreement", "status", "reasons", "suppressed"):
        assert getattr(raw, field) == getattr(ellipse, field), field
    assert np.array_equal(raw.shapes[0].points, ellipse.shapes[0].points)
    assert np.array_equal(raw.labels, labels) and not np.array_equal(ellipse.labels, labels)
    expected = drawn.ellipse(SIZE, Ellipse.from_axis_ends(raw.shapes[0].points))
    assert np.array_equal(ellipse.labels == 1, expected) and np.array_equal(ellipse.masks[0], expected)


def test_a_spacing_of_unequal_sides_gives_the_ellipse_that_was_fitted_in_millimetres(fetal_head: Task) -> None:
    spacing = (0.15, 0.3)
    labels = drawn.ellipse(SIZE, Ellipse(60, 22, 70, 36, 15), spacing[::-1]).astype(np.uint8)
    findings = interpret(probabilities(labels, 1), tissue(), shape_masks(fetal_head), spacing)
    assert np.mean(findings.labels != labels) < 1e-3


def test_without_an_ellipse_the_mask_stays(fetal_head: Task, spine: Task) -> None:
    empty, dot = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    dot[150, 200] = 1
    head = changed(fetal_head, postprocessing={"shape_mask": True})  # min_area_fraction would remove the dot
    for labels in (empty, dot):
        findings = interpret(probabilities(labels, 1), tissue(), head, None)
        assert findings.shapes == [] and np.array_equal(findings.labels, labels)
    lines = interpret(probabilities(spine_labels(), 3), tissue(), shape_masks(spine), None)
    assert np.array_equal(lines.labels, spine_labels()), "only ellipses are filled"
    between_centres = replaced(dot > 0, Ellipse(200.5, 150.5, 0.6, 0.4, 0))
    assert np.array_equal(between_centres, dot > 0)


def test_other_structures_keep_their_pixels() -> None:
    ellipse = Ellipse(40, 40, 40, 30, 0)
    filled = drawn.ellipse((80, 80), ellipse)
    labels = np.zeros((80, 80), np.uint8)
    labels[30:50, 10:40] = 1
    labels[35:40, 30:70] = 2
    before, masks = labels.copy(), masks_of(labels, 2)
    for structures in ([structure("A"), structure("B", shape="region")], [structure("A", ("B",)), structure("B")]):
        new, full = with_ellipses(labels, masks, [ellipse_of("A", ellipse)], structures)
        assert np.array_equal(new == 2, before == 2)
        assert np.array_equal(new == 1, filled & (before != 2)) and np.array_equal(full[0], filled)
        assert np.array_equal(full[1], masks[1])
    assert np.array_equal(labels, before) and np.array_equal(masks, masks_of(before, 2))


def test_ellipses_that_overlap_share_the_background_and_keep_their_own() -> None:
    first, second = Ellipse(30, 40, 40, 40, 0), Ellipse(50, 40, 40, 40, 0)
    one, two = (drawn.ellipse((80, 80), ellipse) for ellipse in (first, second))
    labels = np.where(two, 2, np.where(one, 1, 0)).astype(np.uint8)
    labels[38:43, 35:45] = 0  # found by neither
    shapes = [ellipse_of("A", first), ellipse_of("B", second)]
    new, full = with_ellipses(labels, masks_of(labels, 2), shapes, [structure("A"), structure("B")])
    assert np.array_equal(new > 0, one | two) and np.array_equal(full, [one, two])
    assert np.array_equal(new == 2, two & (labels != 0))


@pytest.mark.parametrize("order", [("HEAD", "CYST"), ("CYST", "HEAD")])
def test_an_ellipse_lies_over_the_structure_that_it_covers(order: tuple[str, str]) -> None:
    head, cyst = Ellipse(40, 40, 70, 60, 0), Ellipse(36, 40, 24, 20, 0)
    outer, inner = (drawn.ellipse((80, 80), ellipse) for ellipse in (head, cyst))
    structures = [structure(name, ("CYST",) if name == "HEAD" else ()) for name in order]
    values = {name: order.index(name) + 1 for name in order}
    raw = np.roll(inner, 3, axis=1)
    labels = np.where(raw, values["CYST"], np.where(outer, values["HEAD"], 0)).astype(np.uint8)
    masks = np.stack([outer if name == "HEAD" else raw for name in order])
    shapes = [ellipse_of("HEAD", head), ellipse_of("CYST", cyst)]
    new, _ = with_ellipses(labels, masks, shapes, structures)
    assert np.array_equal(new == values["CYST"], inner) and np.array_equal(new > 0, outer)
    new, _ = with_ellipses(labels, masks, shapes[1:], structures)
    assert np.array_equal(new == values["CYST"], inner) and np.array_equal(new > 0, outer), "HEAD has no ellipse"


def test_ellipses_of_hc18_references_are_their_masks(fetal_head: Task, hc18: Path) -> None:
    task = shape_masks(fetal_head)
    scores: list[float] = []
    for path in sorted((hc18 / "training_set").glob("*_Annotation.png"))[::25]:
        reference = (read_mask(path) > 0).astype(np.uint8)
        findings = interpret(probabilities(reference, 1), reference, task, (0.1, 0.1))
        scores.append(agreement(findings.labels == 1, reference == 1, None, 3.0).dice)
    assert len(scores) > 20 and np.median(scores) > 0.999 and min(scores) > 0.998
