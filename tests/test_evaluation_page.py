"""evaluation.html: right numbers, nothing from outside, no markup out of names, and a browser shows it."""

import base64
import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.intervals import limits_of_agreement
from sonoseg.evaluation.page import SHOWN, worst_and_typical
from sonoseg.evaluation.results import append_line, write_evaluation
from sonoseg.evaluation.summary import summarise
from sonoseg.io.images import rgb
from sonoseg.reporting.charts import (
    PREDICTION_COLOR,
    REFERENCE_COLOR,
    bland_altman,
    dice_distribution,
    outlines,
)
from sonoseg.reporting.pages import figure_uri
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task
from tests.browser import open_page, outside
from tests.evaluation.made_cases import head_map, made_case, spine_map

MARKUP = "<script>alert('a&b')<"
FACTS: dict[str, Any] = {
    "sha256": "5e" * 32,
    "fold": 2,
    "seed": 42,
    "best_epoch": 2,
    "epochs": 3,
    "validation_dice": 0.75,
    "images": {"train": 40, "validation": 10},
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "data": {"spine/test_split.csv": "7a" * 32, "spine/train_split.csv": "8b" * 32},
}


def history(task: Task) -> list[dict[str, float]]:
    names = [f"dice/{name}" for name in (*task.class_names, "mean")]
    names += ["loss/total", "loss/dice_ce", "loss/validation", "schedule/learning_rate", "schedule/hausdorff_weight"]
    return [dict.fromkeys(names, 0.25 * epoch) for epoch in range(1, 4)]


def spine_cases(task: Task, root: Path | None = None, last: str = "case14") -> list[Case]:
    maps = [spine_map(tilt=n % 5, drop=n % 4) for n in range(13)] + [
        spine_map(without=(3,)),
        spine_map(without=(1, 2, 3)),
    ]
    names = [*(f"case{n:02}" for n in range(len(maps) - 1)), last]
    return [
        made_case(name, f"p{n // 2}", one, spine_map(), task, root=root)
        for n, (name, one) in enumerate(zip(names, maps, strict=True))
    ]


@pytest.fixture(scope="module")
def page(spine: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    workspace = Workspace(root, "spine")
    cases = spine_cases(spine, root, last=MARKUP)
    write_evaluation(OutputFolder(workspace.models, "stage3"), "test", cases, spine, workspace, FACTS, history(spine))
    return workspace.models / "evaluation.html"


def text_of(page: Path) -> str:
    """Return what a reader sees of a page, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page.read_text(), flags=re.S)).split())


def test_the_page_says_what_the_summary_says(page: Path, spine: Task) -> None:
    text = text_of(page)
    summary = summarise(spine_cases(spine), spine)
    low, high = summary["mean_dice_interval_95"]
    assert f"{summary['mean_dice']:.3f} mean Dice, 95 % interval {low:.3f} to {high:.3f}" in text
    assert "4 missed, of 45 structures" in text
    assert "15 images" in text and "8 patients" in text and "Not for clinical use" in text
    depth = summary["measurements"]["skin_to_epi_mm"]
    assert f"{depth['mean_absolute_error']['mean']:.2f}" in text and "Skin to EPI" in text
    assert "skin_to_epi_px" not in text
    for fact in (FACTS["sha256"], *FACTS["data"].values(), "torch 2.13.0", "8 patients: intervals are wide"):
        assert fact in text
    assert "The first scoring of this test split" in text


def test_names_are_no_markup(page: Path) -> None:
    source = page.read_text()
    assert "<script" not in source and MARKUP not in source
    assert MARKUP in text_of(page)


def test_the_page_is_small_and_complete(page: Path) -> None:
    source = page.read_text()
    assert len(source) < 3_000_000
    sources = re.findall(r'(?:src|href)="([^"]*)"', source)
    assert all(one.startswith(("data:", "#")) for one in sources)
    pictures = [one for one in sources if one.startswith("data:image/")]
    # twelve cases as pairs; angle, offset and two depths; the distribution; the curves
    assert len(pictures) == 2 * 12 + 4 + 2
    for one in pictures:
        assert (
            cv2.imdecode(np.frombuffer(base64.b64decode(one.partition(",")[2]), np.uint8), cv2.IMREAD_COLOR) is not None
        )
    numbers = [int(number) for number in re.findall(r"Figure (\d+)\.", source)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) == 1 + 4 + 2 + 1


def test_a_browser_shows_it_without_a_complaint(page: Path) -> None:
    messages, requests = open_page(page)
    assert not messages and not outside(requests, page)


def test_later_scorings_and_other_parts_say_so(spine: Task, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "spine")
    cases = spine_cases(spine, tmp_path)[:3]
    for _ in range(2):
        append_line(
            workspace.models / "evaluations.jsonl", {"test_split_sha256": FACTS["data"]["spine/test_split.csv"]}
        )
    write_evaluation(OutputFolder(workspace.models, "stage3"), "test", cases, spine, workspace, FACTS)
    said = text_of(workspace.models / "evaluation.html")
    assert "Scoring number 3 of this test split" in said and "Images around the median" not in said
    write_evaluation(OutputFolder(workspace.models, "stage3"), "validation", cases, spine, workspace, {"sha256": "ab"})
    said = text_of(workspace.models / "evaluation.html")
    assert "Not the test split" in said and "Scoring number" not in said and "ab" in said


def test_a_page_where_nothing_was_found(fetal_head: Task, tmp_path: Path) -> None:
    nothing = np.zeros_like(head_map())
    cases = [made_case(f"c{n}", "p", nothing, head_map(), fetal_head, spacing=None, root=tmp_path) for n in range(2)]
    write_evaluation(
        OutputFolder(tmp_path / "out", "stage3"), "validation", cases, fetal_head, Workspace(tmp_path, "fetal_head"), {}
    )
    text = text_of(tmp_path / "out" / "evaluation.html")
    assert "2 missed, of 2 structures" in text and "HEAD missed" in text and "pixels, because not every image" in text


def test_worst_and_typical_cases(spine: Task) -> None:
    cases = spine_cases(spine)
    dice, good = sorted(case.dice for case in cases), cases[0].agreement["MID"]
    worst, typical = worst_and_typical(cases)
    assert [case.dice for case in worst] == dice[:SHOWN] and worst[0].id == "case14"
    assert not {case.id for case in worst} & {case.id for case in typical}
    many = [replace(cases[0], agreement={"MID": replace(good, dice=n / 20)}) for n in range(21)]
    _, typical = worst_and_typical(many)
    ranked = sorted(case.dice for case in many)
    assert [case.dice for case in typical] == ranked[10 - 3 : 10 + 3]


def test_bland_altman_draws_bias_and_limits() -> None:
    # Errors 1, 3, -1, 1: bias 1, standard deviation sqrt(8/3).
    axes = bland_altman("HC", "mm", [11, 23, 29, 41], [10, 20, 30, 40], limits_of_agreement([1, 3, -1, 1])).axes[0]
    heights = sorted(float(line.get_ydata()[0]) for line in axes.lines if len(line.get_xdata()) == 2)
    deviation = 1.96 * (8 / 3) ** 0.5
    assert heights == pytest.approx([1 - deviation, 0, 1, 1 + deviation])
    points = next(line for line in axes.lines if len(line.get_xdata()) == 4)
    assert list(points.get_xdata()) == [10.5, 21.5, 29.5, 40.5] and list(points.get_ydata()) == [1, 3, -1, 1]
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["+1.96 SD\n+4.20 mm", "bias\n+1.00 mm", "\N{MINUS SIGN}1.96 SD\n\N{MINUS SIGN}2.20 mm"]
    assert "(mm)" in axes.get_xlabel() and "n = 4" in axes.get_title(loc="left")
    assert figure_uri(bland_altman("A", "°", [1, 1], [1, 1], [0, 0])).startswith("data:image/png")


def test_labels_of_close_lines_stay_apart() -> None:
    theirs = np.zeros(200)
    ours = np.r_[np.full(199, 0.01), 100.0]  # limits 14 from the bias, on an axis of more than 100
    axes = bland_altman("HC", "mm", ours.tolist(), theirs.tolist(), limits_of_agreement((ours - theirs).tolist())).axes[
        0
    ]
    bottom, top = axes.get_ylim()
    places = [text.get_position()[1] for text in axes.texts]
    assert places[0] - places[1] >= 0.13 * (top - bottom) and places[1] - places[2] >= 0.13 * (top - bottom)


def test_the_distribution_shows_every_image() -> None:
    axes = dice_distribution({"A": [0.5, 0.7, 0.9], "B": [1.0]}).axes[0]
    shown = [sorted(line.get_xdata()) for line in axes.lines if line.get_marker() == "o"]
    assert shown == [[0.5, 0.7, 0.9], [1.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["A", "B"]


def test_outlines_are_where_the_masks_end() -> None:
    image = np.full((100, 200), 100, np.uint8)
    reference, prediction = np.zeros((2, 100, 200), np.uint8)
    reference[20:80, 40:160] = 1
    prediction[20:80, 40:120] = 1
    plain, drawn = outlines(image, reference, prediction, 400)
    assert plain.shape == (200, 400) and drawn.shape == (200, 400, 3) and (plain == 100).all()
    assert tuple(drawn[100, 319]) == rgb(REFERENCE_COLOR)  # only the reference reaches so far
    assert tuple(drawn[100, 239]) == tuple(drawn[100, 80]) == rgb(PREDICTION_COLOR)
    assert tuple(drawn[100, 150]) == (100, 100, 100) == tuple(drawn[10, 10])  # both, and none
    tinted = drawn[100, 280]
    assert tinted[2] > 140 > 100 > tinted[0]  # blue: the prediction lacks it
    small, _ = outlines(image, reference, prediction, 50)
    assert small.shape == (25, 50)


def test_quantities_have_keys_titles_and_symbols(spine: Task, fetal_head: Task) -> None:
    quantities = {quantity.key: quantity for task in (spine, fetal_head) for quantity in task.quantities}
    for key, title, symbol in (
        ("hc_mm", "HC", "mm"),
        ("skin_to_epi_px", "Skin to EPI", "px"),
        ("cephalic_index_pct", "Cephalic index", "%"),
        ("midline_angle_deg", "Midline angle", "°"),
        ("gestational_age_weeks", "Gestational age", "weeks"),
    ):
        assert (quantities[key].title, quantities[key].symbol) == (title, symbol)
