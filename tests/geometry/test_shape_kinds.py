"""Every kind of shape has the same interface; a new kind is a row in KINDS."""

from dataclasses import dataclass
from typing import get_args

import numpy as np
import pytest

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.crossing import crossing
from sonoseg.geometry.shapes import KindName, Shape, fit_annotated, fit_shapes
from sonoseg.schema.annotations import Structure

SIZE = (60, 80)


@dataclass(frozen=True)
class Case:
    """A valid shape and what its kind returns for it: word, mask area, outline, a degenerate one, a crossing."""

    json_name: str
    points: list[list[float]]
    area: int
    outline: list[list[float]]
    degenerate: list[list[float]]
    top_crossing: list[float] | None
    """Uppermost crossing with the upright line x = 20."""


KINDS = {
    "line": Case(
        "line", [[10, 10], [40, 10]], 3 * 31 + 2, [[10, 10], [40, 10]], [[5, 5], [5, 5]], [20, 10]
    ),
    "rectangle": Case(
        "rect", [[10, 5], [30, 12]], 21 * 8, [[10, 5], [30, 5], [30, 12], [10, 12]], [[5, 5], [5, 9]], [20, 5]
    ),
    "ellipse": Case(
        "ellipse",
        [[10, 20], [30, 20], [20, 15], [20, 25]],
        sum((x / 10) ** 2 + (y / 5) ** 2 <= 1 for x in range(-10, 11) for y in range(-5, 6)),
        [[30, 20], [20, 25], [10, 20], [20, 15]],
        [[10, 20], [30, 20], [20, 20], [20, 20]],
        [20, 15],
    ),
    "region": Case(
        "polygon", [[5, 5], [5, 25], [25, 25]], 21 * 22 // 2, [[5, 5], [5, 25], [25, 25]], [[5, 5], [9, 9], [7, 7]],
        [20, 20],
    ),
}  # fmt: skip


def test_the_kinds_are_those_of_the_task_file() -> None:
    named = get_args(Structure.model_fields["shape"].annotation)
    assert list(SHAPE_KINDS) == list(KINDS) == list(named) == list(get_args(KindName))


@pytest.mark.parametrize("name", KINDS)
def test_interface(name: KindName) -> None:
    kind, case = SHAPE_KINDS[name], KINDS[name]
    points = kind.read_points(case.points)
    shape = Shape("X", name, points)
    assert points.dtype == np.float64 and points.tolist() == case.points
    assert shape.to_json() == ["X", case.json_name, case.points]
    assert kind.problem(points) is None and not kind.crosses_itself(points)
    assert kind.problem(np.array(case.degenerate, dtype=float)) is not None
    assert np.allclose(shape.outline(4), case.outline)
    assert kind.is_closed == (name != "line")
    top = crossing(np.array([[20.0, 0.0], [20.0, 59.0]]), shape)
    assert top is not None and np.allclose(top, case.top_crossing, atol=1e-3)

    window, mask = shape.draw(SIZE, 2)
    labels = np.zeros(SIZE, bool)
    labels[window] = mask
    assert mask.sum() == case.area
    (fitted,) = fit_shapes(labels, "X", name)
    assert fitted.kind == name and np.abs(np.sort(fitted.points, axis=0) - np.sort(points, axis=0)).max() < 1
    assert fit_shapes(np.zeros(SIZE, bool), "X", name) == []
    kind.load()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("none", "points have to be"),
        ([[1, 2], [3]], "points have to be"),
        ([[1, 2], [3, "4"]], "points have to be"),
        ([[1, 2], [3, True]], "points have to be"),
        ([[1, 2], [3, float("nan")]], "points have to be"),
        ([[1, 2], [3, 10**400]], "points have to be"),
        ([[1, 2]], "1 points; a "),
    ],
)
def test_points_of_a_file_that_are_refused(name: str, points: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SHAPE_KINDS[name].read_points(points)


def test_only_regions_have_any_number_of_points() -> None:
    points = [[0, 0], [9, 0], [9, 9], [5, 9], [0, 9]]
    for name, kind in SHAPE_KINDS.items():
        if name == "region":
            assert len(kind.read_points(points)) == 5
        else:
            with pytest.raises(ValueError, match=f"5 points; a {kind.json_name} has {kind.numbers}$"):
                kind.read_points(points)


def test_a_rectangle_has_two_corners_or_four() -> None:
    kind = SHAPE_KINDS["rectangle"]
    turned = [[20.0, 5.0], [32.0, 17.0], [26.0, 23.0], [14.0, 11.0]]
    points = kind.read_points(turned)
    assert points.tolist() == turned and kind.problem(points) is None and kind.outline(points).tolist() == turned
    assert Shape("X", "rectangle", points).to_json() == ["X", "rect", turned]
    for parallel in [[[9, 4], [30, 4], [30, 12], [9, 12]], [[30, 12], [30, 4], [9, 4.005], [9, 12]]]:
        assert kind.read_points(parallel).tolist() == [[9, 4], [30, 12]]


@pytest.mark.parametrize(
    ("corners", "problem"),
    [
        ([[20, 5], [32, 17], [14, 11], [26, 23]], "do not make a rectangle"),  # not in order
        ([[20, 5], [32, 17], [26, 23], [10, 20]], "do not make a rectangle"),
        ([[9, 4], [30, 12], [30, 4], [9, 12]], "do not make a rectangle"),  # parallel, and not in order
        ([[5, 5], [9, 9], [9, 9], [5, 5]], "has no area"),
        ([[20, 100], [620, 100], [620, 100.5], [20, 106]], "do not make a rectangle"),  # a wedge
        ([[20, 100], [320, 100], [320, 98], [20, 101]], "do not make a rectangle"),  # thin, and crossing itself
        ([[0, 0], [1, 0], [0, 1], [1, 1]], "do not make a rectangle"),
        ([[1e308, 1e308], [-1e308, 1e308], [-1e308, -1e308], [1e308, -1e308]], "do not make a rectangle"),
    ],
)
def test_four_corners_that_make_no_rectangle(corners: list[list[float]], problem: str) -> None:
    kind = SHAPE_KINDS["rectangle"]
    assert problem in (kind.problem(kind.read_points(corners)) or "")


@pytest.mark.parametrize("angle", [-80, -60, -46, -20, 0, 20, 46, 60, 80])
def test_a_turned_rectangle_is_met_at_its_outline(angle: float) -> None:
    corners = turned_box((40, 30), (40, 8), angle)
    half = min(4 / abs(np.cos(np.radians(angle))), 20 / max(1e-9, abs(np.sin(np.radians(angle)))))
    for order in range(4):
        for points in (np.roll(corners, order, axis=0), np.roll(corners, order, axis=0)[::-1]):
            top = crossing(np.array([[40.0, 0.0], [40.0, 59.0]]), Shape("X", "rectangle", points))
            assert top == pytest.approx([40, 30 - half])


def test_a_turned_rectangle_that_a_line_narrowly_misses_is_met_at_its_extended_upper_side() -> None:
    corners = turned_box((40, 30), (40, 8), 20)
    right = corners[:, 0].max() + 3
    top = crossing(np.array([[right, 0.0], [right, 59.0]]), Shape("X", "rectangle", corners))
    cos, sin = np.cos(np.radians(20)), np.sin(np.radians(20))
    middle = np.array([40 + 4 * sin, 30 - 4 * cos])  # of the upper side
    assert top == pytest.approx([right, middle[1] + (right - middle[0]) * sin / cos])
    assert crossing(np.array([[200.0, 0.0], [200.0, 59.0]]), Shape("X", "rectangle", corners)) is None


def turned_box(centre: tuple[float, float], size: tuple[float, float], angle: float) -> np.ndarray:
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * np.array(size) / 2
    return corners @ np.array([[cos, sin], [-sin, cos]]) + np.array(centre)


def test_coordinates_are_written_in_hundredths_of_a_pixel() -> None:
    assert Shape("EPI", "line", np.array([[1.234, 5], [2, 3]])).to_json() == ["EPI", "line", [[1.23, 5.0], [2.0, 3.0]]]


@pytest.mark.parametrize("angle", [0, 1, 30, 45, 89, 120])
def test_a_rectangle_that_was_drawn_turned_is_found_turned_in_its_mask(angle: float) -> None:
    drawn = Shape(
        "X", "rectangle", SHAPE_KINDS["rectangle"].read_points(turned_box((100, 90), (90, 31), angle).tolist())
    )
    mask = np.zeros((180, 200), bool)
    window, inside = drawn.draw((180, 200))
    mask[window] = inside
    (found,) = fit_annotated(mask, "X", "rectangle")
    assert SHAPE_KINDS["rectangle"].agreement(found.points, mask) > 0.95
    assert len(found.points) == (2 if angle in (0, 1, 89) else 4)
    assert fit_annotated(np.zeros((9, 9), bool), "X", "rectangle") == []


def test_regions_that_cross_themselves() -> None:
    crosses_itself = SHAPE_KINDS["region"].crosses_itself
    assert not crosses_itself(np.array([[0.0, 0], [10, 0], [10, 10], [0, 10]]))
    assert not crosses_itself(np.array([[0.0, 0], [10, 0], [5, 5], [10, 10], [0, 10]]))
    assert crosses_itself(np.array([[0.0, 0], [10, 0], [10, 10], [5, -5]]))
