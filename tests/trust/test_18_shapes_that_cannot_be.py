"""Check 18: invalid shapes are rejected, or clipped with a warning, each with its file and index."""

import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import train_test_data_preparation as stage1
from sonoseg.io.masks import read_mask
from sonoseg.io.png import write_image

TASK = """
extends: fetal_head
name: regions
title: Regions and lines
structures:
  - {name: NERVE, shape: region, color: "#ffd23f"}
  - {name: NEEDLE, shape: line, thickness_px: 1, color: "#3bceac"}
annotations: {format: shapes_json, images: images, file: annotations.json}
metadata: null
patients: {pattern: '^(.)_'}
measurements: []
review: null
postprocessing: {threshold: 0.5}
"""
HEIGHT, WIDTH = 20, 30
GOOD = ["NERVE", "polygon", [[5, 5], [12, 5], [12, 12], [5, 12]]]
NAN, INF = float("nan"), float("inf")


def prepare(root: Path, shapes: dict[str, list[Any]], *more: str) -> int:
    """Run stage 1 on a picture per name, and valid ones of other patients; NaN and Infinity are written as such."""
    rng = np.random.default_rng(1)
    every = {**shapes, "x_1": [GOOD], "y_1": [GOOD], "z_1": [GOOD]}
    for name in every:
        write_image(root / "data" / "images" / f"{name}.png", rng.integers(0, 255, (HEIGHT, WIDTH), np.uint8))
    (root / "data" / "annotations.json").write_text(json.dumps(every))
    (root / "task.yaml").write_text(TASK)
    where = ["--task", str(root / "task.yaml"), "--workspace", str(root), "--data", str(root / "data")]
    return stage1.main([*where, "--folds", "2", *more])


def polygon(*points: list[float]) -> list[Any]:
    return ["NERVE", "polygon", [list(point) for point in points]]


REJECTED = {
    "not a number": (polygon([5, 5], [NAN, 5], [12, 12]), "points have to be [x, y] pairs of finite numbers"),
    "infinite": (polygon([5, 5], [INF, 5], [12, 12]), "points have to be [x, y] pairs of finite numbers"),
    "minus infinite": (["NEEDLE", "line", [[5, 5], [-INF, 5]]], "points have to be [x, y] pairs of finite numbers"),
    "too large for a float": (polygon([5, 5], [10**400, 5], [12, 12]), "pairs of finite numbers"),
    "far away": (polygon([5, 5], [1e12, 5], [12, 12]), "point (1e+12, 5) lies outside the image of 30x20 pixels"),
    "far below zero": (polygon([5, 5], [-1e12, 5], [12, 12]), "point (-1e+12, 5) lies outside"),
    "of another picture": (polygon([5, 5], [60, 5], [12, 12]), "was it annotated on an image of another size?"),
    "two points": (polygon([5, 5], [12, 12]), "2 points; a polygon has 3 or more"),
    "three ends": (["NEEDLE", "line", [[5, 5], [9, 9], [12, 12]]], "3 points; a line has 2"),
    "no point": (polygon(), "0 points; a polygon has 3 or more"),
    "no area": (polygon([5, 5], [9, 9], [12, 12]), "its points lie on one line"),
    "no length": (["NEEDLE", "line", [[5, 5], [5, 5]]], "both ends of the line are the same point"),
    "unknown label": (["VESSEL", "polygon", GOOD[2]], "unknown class 'VESSEL'; the classes are NERVE or NEEDLE"),
    "unknown shape": (["NERVE", "blob", GOOD[2]], "unknown shape 'blob'"),
    "another kind": (["NERVE", "line", [[5, 5], [12, 12]]], "NERVE is annotated as line; the task says region"),
    "text for a number": (["NERVE", "polygon", [["5", 5], [12, 5], [12, 12]]], "pairs of finite numbers"),
    "no shape at all": (["NERVE", "polygon"], "expected [class, shape, points]"),
}


def test_all_are_listed_at_once_by_file_and_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {f"a_{number:02}": what for number, what in enumerate(REJECTED)}
    assert prepare(tmp_path, {name: [GOOD, REJECTED[what][0]] for name, what in names.items()}, "--report-only") == 2
    said = capsys.readouterr().err
    assert f"{len(REJECTED)} faults found and nothing was written" in said and "Traceback" not in said
    folder = tmp_path / "Train_Test_Dataset" / "regions"
    page = re.sub(r"<[^>]+>", "", (folder / "dataset_check.html").read_text())
    listed = [html.unescape(line) for line in page.splitlines()]
    for name, what in names.items():
        (line,) = [line for line in listed if re.search(rf"{name}\S*, shape 1\b.*: ", line)]
        assert REJECTED[what][1] in line, f"{what}: {line}"
        assert line.lstrip().startswith(("annotations.json, ", f"images/{name}.png, "))
    assert [path.name for path in folder.iterdir()] == ["dataset_check.html"]


@pytest.mark.parametrize("what", REJECTED)
def test_each_is_rejected_alone(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(tmp_path, {"a_1": [REJECTED[what][0]]}) == 2
    said = capsys.readouterr().err
    assert REJECTED[what][1] in said and re.search(r"a_1\S*, shape 0", said) and "1 fault found" in said
    assert not (tmp_path / "Train_Test_Dataset").exists()


def test_what_reaches_a_little_out_is_clipped_and_what_crosses_itself_is_filled_by_the_even_odd_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bow_tie = polygon([4, 4], [16, 16], [16, 4], [4, 16])
    shapes = {
        "a_1": [polygon([-1, -1], [3, -1], [3, 3], [-1, 3])],
        "b_1": [polygon([27, 17], [31, 17], [31, 20.5], [27, 20.5])],
        "c_1": [bow_tie],
        "d_1": [["NEEDLE", "line", [[-1, 6], [4, 6]]]],
    }
    assert prepare(tmp_path, shapes) == 0
    said = capsys.readouterr().out
    masks = {name: read_mask(tmp_path / "Train_Test_Dataset" / "regions" / "masks" / f"{name}.png") for name in shapes}
    expected = {name: np.zeros((HEIGHT, WIDTH), np.uint8) for name in shapes}
    expected["a_1"][:4, :4] = 1
    expected["b_1"][17:, 27:] = 1
    for row in range(4, 17):  # two triangles that meet in (10, 10): open above and below, the four sides included
        reach = abs(row - 10)
        expected["c_1"][row, 4 : 10 - reach + 1 if row != 10 else 11] = 0
        low, high = min(row, 20 - row), max(row, 20 - row)
        expected["c_1"][row, 4 : low + 1] = 1
        expected["c_1"][row, high:17] = 1
    expected["d_1"][6, :5] = 2
    for name, mask in masks.items():
        assert np.array_equal(mask, expected[name]), f"{name}\n{mask}"
    report = json.loads((tmp_path / "Train_Test_Dataset" / "regions" / "dataset_report.json").read_text())
    warned = {one["where"]: one["message"] for one in report["warnings"]}
    for name in ("a_1", "b_1"):
        assert "only the part inside is drawn" in warned[f"images/{name}.png, shape 0 (NERVE)"]
    assert "only the part inside" in warned["images/d_1.png, shape 0 (NEEDLE)"]
    assert "filled by the even-odd rule" in warned["images/c_1.png, shape 0 (NERVE)"]
    assert "even-odd" in said and "c_1" in said
