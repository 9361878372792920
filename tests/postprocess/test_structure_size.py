"""Area and longest diameter of structures, by hand arithmetic and by comparing all corners."""

import itertools
import math

import numpy as np
import pytest

from sonoseg.evaluation.cases import Case
from sonoseg.geometry.extent import farthest_corners
from sonoseg.geometry.points import scale_of
from sonoseg.inference.overlay import draw_overlay
from sonoseg.inference.text import measurement_lines
from sonoseg.postprocess.interpret import Findings, measure_labels
from sonoseg.schema.quantity import Quantity, prefer_mm
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task
from tests.conftest import changed

SIZE = (80, 120)
SPACING = (0.5, 0.2)


@pytest.fixture(scope="module")
def nerve() -> Task:
    section = {"kind": "size", "structure": "NERVE", "name": "nerve"}
    return changed(load_task("nerve_unet"), postprocessing={"fill_gaps": False}, measurements=[section])


def sizes(labels: np.ndarray, task: Task, spacing: tuple[float, float] | None = SPACING) -> Findings:
    return measure_labels(labels, np.zeros(SIZE, np.uint8), task, spacing)


def values(found: Findings) -> dict[str, float | None]:
    return {key: one.value for key, one in found.measurements.items()}


def test_a_rectangle_of_pixels(nerve: Task) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:20, 30:70] = 1  # 10 rows of 0.5 mm, 40 columns of 0.2 mm
    found = sizes(labels, nerve)
    assert values(found) == {
        "nerve_area_mm2": pytest.approx(40),
        "nerve_area_px2": 400,
        "nerve_diameter_mm": pytest.approx(math.hypot(5, 8)),
        "nerve_diameter_px": pytest.approx(math.hypot(10, 40)),
    }
    marks = found.measurements["nerve_diameter_mm"].marks
    assert marks is not None and {tuple(point) for point in marks.tolist()} in (
        {(29.5, 9.5), (69.5, 19.5)},
        {(29.5, 19.5), (69.5, 9.5)},
    )
    assert found.measurements["nerve_area_mm2"].marks is None


def test_pieces_and_holes(nerve: Task) -> None:
    """Pieces add up in the area; the diameter is the largest piece's. A region is its outline, so a hole counts."""
    labels = np.zeros(SIZE, np.uint8)
    labels[10:30, 20:40] = 1
    labels[15:20, 25:30] = 0
    labels[60:64, 100:104] = 1
    task = changed(nerve, structures=[{**nerve.structures[0].model_dump(), "keep": "all"}])
    found = values(sizes(labels, task))
    assert found["nerve_area_px2"] == 20 * 20 + 16 and found["nerve_diameter_px"] == pytest.approx(math.hypot(20, 20))


def test_a_single_pixel_and_nothing(nerve: Task) -> None:
    labels = np.zeros(SIZE, np.uint8)
    nothing = sizes(labels, nerve).measurements["nerve_area_mm2"]
    assert nothing.value is None and nothing.note == "no NERVE found" and nothing.is_undefined
    labels[5, 5] = 1
    found = values(sizes(labels, nerve))
    assert found["nerve_area_mm2"] == pytest.approx(0.1)
    assert found["nerve_diameter_mm"] == pytest.approx(math.hypot(0.5, 0.2))


def test_without_a_spacing_sizes_are_in_pixels(nerve: Task) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:20, 30:70] = 1
    found = sizes(labels, nerve, None).measurements
    assert found["nerve_area_mm2"].value is None and found["nerve_area_mm2"].note == "pixel spacing unknown"
    assert found["nerve_area_px2"].value == 400 and found["nerve_diameter_px"].marks is not None
    shown = prefer_mm(
        [Quantity("a", "px2", ""), Quantity("a", "mm2", ""), Quantity("b", "px2", ""), Quantity("b", "px", "")]
    )
    assert [one.key for one in shown] == ["a_mm2", "b_px2", "b_px"]


def test_an_ellipse(fetal_head: Task) -> None:
    section = {"kind": "size", "structure": "HEAD", "name": "head"}
    task = changed(fetal_head, measurements=[section], review={}, metadata={})
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    labels = (((columns - 60) / 40) ** 2 + ((rows - 40) / 25) ** 2 <= 1).astype(np.uint8)
    found = values(sizes(labels, task, (0.3, 0.3)))
    assert found["head_area_mm2"] == pytest.approx(math.pi * 40 * 25 * 0.09, rel=0.01)
    assert found["head_diameter_mm"] == pytest.approx(81 * 0.3, abs=0.3)


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 0.2), (0.1, 2.0)])
def test_the_farthest_corners_are_those_of_all_pixels(spacing: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        mask = rng.random((6, 7)) < 0.3
        mask[rng.integers(6), rng.integers(7)] = True
        corners = [(x + dx, y + dy) for y, x in np.argwhere(mask) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)]
        scaled = np.array(corners) * [spacing[1], spacing[0]]
        longest = max(math.dist(one, other) for one, other in itertools.combinations(scaled, 2))
        start, end = farthest_corners(mask, scale_of(spacing)) * scale_of(spacing)
        assert math.dist(start, end) == pytest.approx(longest, rel=1e-6)


def test_lines_have_no_area(spine: Task) -> None:
    with pytest.raises(ValueError, match="size needs a region, rectangle or ellipse, and MID is a line"):
        changed(spine, measurements=[{"kind": "size", "structure": "MID", "name": "mid"}], review={})


def test_the_diameter_is_drawn(nerve: Task) -> None:
    labels = np.zeros(SIZE, np.uint8)
    labels[10:20, 30:70] = 1
    image = np.full(SIZE, 60, np.uint8)
    found = sizes(labels, nerve)
    with_line = draw_overlay(image, found, nerve.structures)
    bare = draw_overlay(image, Findings(**{**vars(found), "measurements": {}}), nerve.structures)
    assert (with_line != bare).any()
    assert measurement_lines(found)[0] == "NERVE area 40.0 mm2"


def test_a_missed_size_counts_as_the_image(nerve: Task) -> None:
    case = Case.__new__(Case)
    object.__setattr__(case, "size", {"px": (30.0, 40.0), "mm": (15.0, 8.0)})
    largest = {one.key: case.largest_error(one) for one in (*nerve.quantities, Quantity("hc", "mm", "HC"))}
    assert largest["nerve_area_mm2"] == 120 and largest["nerve_diameter_px"] == 50 and largest["hc_mm"] == 46
