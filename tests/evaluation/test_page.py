"""evaluation.html: its numbers, escaped names, no external files, and its display in a browser."""

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
from sonoseg.evaluation.page import MIN_FOR_TYPICAL, SHOWN, evaluation_page, worst_and_typical
from sonoseg.evaluation.results import append_line, write_evaluation
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task
from tests.browser import open_page, outside
from tests.evaluation.made_cases import head_map, made_case, output_of, scoring_of, spine_map, summary_of

MARKUP = "<script>alert('a&b')<"
SHA256 = "5e" * 32
FACTS: dict[str, Any] = {
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
        made_case(name, f"p{n // 2}", labels, spine_map(), task, root=root)
        for n, (name, labels) in enumerate(zip(names, maps, strict=True))
    ]


@pytest.fixture(scope="module")
def page(spine: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("page")
    workspace = Workspace(root, "spine")
    cases = spine_cases(spine, root, last=MARKUP)
    write_evaluation(
        output_of(workspace.models),
        scoring_of("test", spine, FACTS, SHA256),
        cases,
        workspace,
        history(spine),
    )
    return workspace.models / "evaluation.html"


def text_of(page: Path) -> str:
    """Return the visible text of a page, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page.read_text(), flags=re.S)).split())


def test_the_page_contains_the_numbers_of_the_summary(page: Path, spine: Task) -> None:
    text = text_of(page)
    summary = summary_of(spine_cases(spine), spine)
    low, high = summary["mean_dice_interval_95"]
    assert f"{summary['mean_dice']:.3f} mean Dice, 95 % t interval {low:.3f} to {high:.3f}" in text
    assert "4 missed, of 45 structures" in text
    assert "15 images" in text and "8 patients" in text and "Not for clinical use" in text
    depth = summary["measurements"]["skin_to_epi_mm"]
    assert f"{depth['mean_absolute_error']['mean']:.2f}" in text and "Skin to EPI" in text
    bias, (low, high) = depth["bias"]["mean"], depth["limits_of_agreement"]
    assert abs((low + high) / 2 - bias) < 1e-9 and f"{low:.2f}".replace("-", "\N{MINUS SIGN}") in text
    (first, last), _ = depth["limits_of_agreement_intervals_95"]
    assert f"{first:.2f} to {last:.2f}".replace("-", "\N{MINUS SIGN}") in text
    assert text.count("95 % intervals: t intervals on patient means") == 3
    assert "skin_to_epi_px" not in text
    for fact in (SHA256, *FACTS["data"].values(), "torch 2.13.0", "8 patients: intervals are wide"):
        assert fact in text
    assert "The first scoring of this test split" in text


def test_names_are_escaped(page: Path) -> None:
    source = page.read_text()
    assert "<script" not in source and MARKUP not in source
    assert MARKUP in text_of(page)


def test_the_page_is_small_and_complete(page: Path) -> None:
    source = page.read_text()
    assert len(source) < 3_000_000
    sources = re.findall(r'(?:src|href)="([^"]*)"', source)
    assert all(uri.startswith(("data:", "#")) for uri in sources)
    pictures = [uri for uri in sources if uri.startswith("data:image/")]
    # twelve cases as pairs; angle, offset and two depths; the distribution; the curves
    assert len(pictures) == 2 * 12 + 4 + 2
    for uri in pictures:
        data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR) is not None
    numbers = [int(number) for number in re.findall(r"Figure (\d+)\.", source)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) == 1 + 4 + 2 + 1


def test_a_browser_shows_it_without_messages(page: Path) -> None:
    messages, requests = open_page(page)
    assert not messages and not outside(requests, page)


def test_later_scorings_and_other_parts_are_named(spine: Task, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "spine")
    cases = spine_cases(spine, tmp_path)[:3]
    for _ in range(2):
        append_line(
            workspace.models / "evaluations.jsonl", {"test_split_sha256": FACTS["data"]["spine/test_split.csv"]}
        )
    write_evaluation(output_of(workspace.models), scoring_of("test", spine, FACTS), cases, workspace)
    text = text_of(workspace.models / "evaluation.html")
    assert "Scoring number 3 of this test split" in text and "Images around the median" not in text
    write_evaluation(output_of(workspace.models), scoring_of("validation", spine, {}, "ab"), cases, workspace)
    text = text_of(workspace.models / "evaluation.html")
    assert "Not the test split" in text and "Scoring number" not in text and "ab" in text


def test_an_error_of_gestational_age_is_explained(fetal_head: Task, spine: Task, tmp_path: Path) -> None:
    maps = head_map(), head_map()
    for task, spacing, explained in ((fetal_head, (1.0, 1.0), True), (fetal_head, None, False), (spine, None, False)):
        pair = maps if task is fetal_head else (spine_map(), spine_map())
        cases = [made_case("a", "p", *pair, task, spacing, root=tmp_path)]
        write_evaluation(
            output_of(tmp_path / "out"), scoring_of("validation", task, {}), cases, Workspace(tmp_path, task.name)
        )
        text = text_of(tmp_path / "out" / "evaluation.html")
        assert ("no error of dating" in text and "3.0 weeks from 30 to 36 weeks" in text) == explained


def test_a_page_of_missed_structures(fetal_head: Task, tmp_path: Path) -> None:
    nothing = np.zeros_like(head_map())
    cases = [made_case(f"c{n}", "p", nothing, head_map(), fetal_head, spacing=None, root=tmp_path) for n in range(2)]
    write_evaluation(
        output_of(tmp_path / "out"),
        scoring_of("validation", fetal_head, {}),
        cases,
        Workspace(tmp_path, "fetal_head"),
    )
    text = text_of(tmp_path / "out" / "evaluation.html")
    assert "2 missed, of 2 structures" in text and "HEAD missed" in text and "pixels, because not every image" in text


def test_dice_where_present_stands_beside_dice(spine: Task, tmp_path: Path) -> None:
    pairs = [(spine_map(without=(3,)), spine_map(without=(3,)))] * 3 + [(spine_map(drop=2), spine_map())]
    cases = [made_case(f"c{n}", f"p{n}", *pair, spine, root=tmp_path) for n, pair in enumerate(pairs)]
    facts = {**FACTS, "validation_without": ["EPI"]}
    workspace = Workspace(tmp_path, "spine")
    summary = write_evaluation(output_of(tmp_path / "out"), scoring_of("validation", spine, facts), cases, workspace)
    text, epi = text_of(tmp_path / "out" / "evaluation.html"), summary["classes"]["EPI"]
    assert epi["dice"]["mean"] > 0.9 > epi["dice_where_present"]["mean"]
    low, high = epi["dice"]["interval_95"]
    row = f"EPI {epi['dice']['mean']:.3f} {low:.3f}\N{EN DASH}{high:.3f} {epi['dice_where_present']['mean']:.3f}"
    assert f"; where present {summary['mean_dice_where_present']:.3f}" in text
    assert "Dice Dice where present Median (SD)" in text and row in text
    assert "(validation Dice 0.7500 without EPI, absent from the fold)" in text


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


def test_the_best_of_few_cases_are_not_said_to_be_around_the_median(page: Path, spine: Task, tmp_path: Path) -> None:
    text = text_of(page)
    assert "Images with the next higher Dice" in text and "around the median" not in text and "typical" not in text
    cases = spine_cases(spine, tmp_path)
    many = [*cases, *(replace(case, id=f"{case.id}b") for case in cases[: MIN_FOR_TYPICAL - len(cases)])]
    summary = {"part": "test", **summary_of(many, spine), "model": FACTS}
    source = evaluation_page(summary, many, spine, DEFAULT_LIMITS)
    assert "Images around the median" in source and "Worst and typical cases" in source
