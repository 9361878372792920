"""A stray piece of the midline on label maps of simulated spines."""

import math

import numpy as np

from sonoseg.geometry.points import length
from sonoseg.phantom.layout import Settings
from sonoseg.phantom.spine.dataset import annotate, plan_spine
from sonoseg.phantom.spine.medium import SpineMedium
from sonoseg.postprocess.interpret import Findings, interpret
from sonoseg.schema.task import Task


def spine_label_maps() -> list[tuple[np.ndarray, tuple[float, float]]]:
    """Return label map and spacing of each view that shows the midline."""
    found = []
    for case in plan_spine(Settings(images=70, seed=7)):
        device = case.patient.device
        frame = SpineMedium(case.patient, case.view, np.random.default_rng(0)).frame
        shapes = {shape.structure: shape for shape in annotate(frame, case.patient, case.view)}
        labels = np.zeros((device.height, device.width), np.uint8)
        for value, name in ((2, "VTB"), (1, "MID"), (3, "EPI")):
            if name in shapes:
                window, mask = shapes[name].draw(labels.shape, 10)
                labels[window][mask] = value
        if "MID" in shapes:
            found.append((labels, (device.row_mm, device.col_mm)))
    return found


def findings(labels: np.ndarray, task: Task, spacing: tuple[float, float]) -> Findings:
    image = np.full(labels.shape, 60, np.uint8)
    image[20:23] = 200
    probabilities = np.where(np.arange(4)[:, None, None] == labels, 0.91, 0.03).astype(np.float32)
    return interpret(probabilities, image, task, spacing)


def test_a_stray_piece_stays_in_the_label_map_and_changes_no_measurement(spine: Task) -> None:
    cases = spine_label_maps()
    assert len(cases) > 50
    for seed, (labels, spacing) in enumerate(cases):
        rng, with_stray = np.random.default_rng(seed), labels.copy()
        side = int(rng.integers(9, 22))
        row, column = (int(rng.integers(0, size - side)) for size in labels.shape)
        with_stray[row : row + side, column : column + side] = 1
        expected, found = (findings(values, spine, spacing) for values in (labels, with_stray))
        (line, expected_line) = (result.shapes[0].points for result in (found, expected))
        angles = [math.atan2(*(points[1] - points[0]) * spacing[::-1]) for points in (line, expected_line)]
        assert abs(math.degrees(angles[0] - angles[1])) < 0.2, seed
        assert length(line[0], expected_line[0], spacing) < 3, seed
        assert np.array_equal(found.labels, with_stray) and (found.masks[0] | (with_stray != 1)).all()
