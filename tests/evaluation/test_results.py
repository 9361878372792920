"""Files of an evaluation, and the number of scorings of a test split."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.results import append_line, count_scorings, write_evaluation
from sonoseg.evaluation.terminal import quality_line, score_report
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task import Task
from tests.evaluation.made_cases import head_map, made_case, output_of, scoring_of, spine_map, summary_of


def facts(digest: str = "aa") -> dict[str, Any]:
    return {"fold": 1, "seed": 42, "data": {"spine/test_split.csv": digest}}


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page has tests of its own, and takes a while."""
    monkeypatch.setattr("sonoseg.evaluation.results.evaluation_page", lambda *_: "a page")


@pytest.fixture
def cases(spine: Task, tmp_path: Path) -> list[Case]:
    found = [spine_map(tilt=n) for n in range(3)] + [spine_map(without=(3,))]
    return [made_case(f"case{n}", str(n), one, spine_map(), spine, root=tmp_path) for n, one in enumerate(found)]


def test_each_scoring_of_a_test_split_is_one_more_line(spine: Task, tmp_path: Path, cases: list[Case]) -> None:
    workspace = Workspace(tmp_path, "spine")
    folder = workspace.models / "somewhere"
    before = []
    for digest in ("aa", "bb", "aa", "aa"):
        summary = write_evaluation(output_of(folder), scoring_of("test", spine, facts(digest)), cases, workspace)
        assert json.loads((folder / "evaluation.json").read_text()) == summary
        before.append(summary["scored_before"])
    assert before == [0, 0, 1, 2]
    lines = [json.loads(line) for line in (workspace.models / "evaluations.jsonl").read_text().splitlines()]
    assert [(line["test_split_sha256"], line["scoring"]) for line in lines] == [
        ("aa", 1),
        ("bb", 1),
        ("aa", 2),
        ("aa", 3),
    ]
    last = lines[-1]
    assert last["time"].endswith("+00:00") and (last["task"], last["part"]) == ("spine", "test")
    assert (last["model_sha256"], last["fold"], last["images"], last["patients"]) == ("m0", 1, 4, 4)
    assert last["mean_dice"] == summary["mean_dice"]
    assert last["dice"] == {name: one["dice"]["mean"] for name, one in summary["classes"].items()}


@pytest.mark.parametrize("part", ["validation", "out-of-fold"])
def test_other_parts_are_not_counted(part: str, spine: Task, tmp_path: Path, cases: list[Case]) -> None:
    summary = write_evaluation(
        output_of(tmp_path / "out"), scoring_of(part, spine, facts()), cases, Workspace(tmp_path, "spine")
    )
    assert "scored_before" not in summary and not list(tmp_path.rglob("evaluations.jsonl"))


@pytest.mark.parametrize("damage", [b'{"test_split_sha256": "aa", "ima', b"\xff\xfe", b"[1]\n", b"\n"])
def test_a_damaged_line_does_not_count_and_leaves_the_next_one_whole(damage: bytes, tmp_path: Path) -> None:
    log = tmp_path / "Models" / "evaluations.jsonl"
    assert count_scorings(log, "aa") == 0
    append_line(log, {"test_split_sha256": "aa"})
    with log.open("ab") as stream:
        stream.write(damage)
    assert count_scorings(log, "aa") == 1
    append_line(log, {"test_split_sha256": "aa", "word": "Wörth"})
    append_line(log, {"test_split_sha256": "bb"})
    assert (count_scorings(log, "aa"), count_scorings(log, "bb")) == (2, 1)
    lines = log.read_bytes().split(b"\n")
    assert json.loads(lines[-2]) == {"test_split_sha256": "bb"} and lines[-1] == b""


def test_a_scoring_is_recorded_before_its_numbers_can_be_seen(
    spine: Task, tmp_path: Path, cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("sonoseg.evaluation.results.evaluation_page", stop)
    workspace = Workspace(tmp_path, "spine")
    with pytest.raises(KeyboardInterrupt):
        write_evaluation(output_of(workspace.models), scoring_of("test", spine, facts()), cases, workspace)
    assert count_scorings(workspace.models / "evaluations.jsonl", "aa") == 1
    assert not (workspace.models / "evaluation.json").exists()


def test_the_table_has_every_value_of_every_case(spine: Task, tmp_path: Path, cases: list[Case]) -> None:
    write_evaluation(
        output_of(tmp_path / "out"),
        scoring_of("validation", spine, facts()),
        cases,
        Workspace(tmp_path, "spine"),
    )
    with (tmp_path / "out" / "per_case.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["id"] for row in rows] == ["case0", "case1", "case2", "case3"]
    for row, case in zip(rows, cases, strict=True):
        assert float(row["EPI_surface_dice"]) == case.agreement["EPI"].surface_dice
        assert float(row["VTB_hausdorff"]) == case.agreement["VTB"].hausdorff
        assert float(row["MID_end_point_error_mm"]) == case.shape_errors["MID"]["end_point_error_mm"].value
        assert float(row["pixel_accuracy"]) == case.pixel_accuracy
    assert float(rows[0]["MID_dice"]) == 1 and float(rows[3]["EPI_dice"]) == 0
    assert rows[3]["EPI_angle_error_deg"] == "" and rows[3]["skin_to_epi_mm"] == ""
    assert float(rows[3]["skin_to_epi_mm_reference"]) > 0


def test_an_evaluation_of_version_0_2_is_shown(spine: Task, tmp_path: Path, cases: list[Case]) -> None:
    """Its entries do not state the method of their intervals, which was the bootstrap, and limits have none."""
    summary = write_evaluation(output_of(tmp_path), scoring_of("test", spine, facts()), cases, Workspace(tmp_path, "a"))

    def older(entry: Any) -> Any:
        added = (
            "dice_where_present",
            "mean_dice_where_present",
            "interval_method",
            "mean_dice_interval_method",
            "limits_of_agreement_intervals_95",
        )
        return {k: older(v) for k, v in entry.items() if k not in added} if isinstance(entry, dict) else entry

    console = Console(width=100, record=True, file=io.StringIO())
    console.print(*score_report(older(summary), "test"), sep="\n")
    text = console.export_text()
    assert "95 % intervals: percentile bootstrap over patients" in text and "t intervals" not in text


def test_the_report_fits_80_columns(spine: Task, tmp_path: Path, cases: list[Case]) -> None:
    workspace = Workspace(tmp_path, "spine")
    for _ in range(2):
        summary = write_evaluation(output_of(workspace.models), scoring_of("test", spine, facts()), cases, workspace)
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(*score_report(summary, "test"), sep="\n")
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    rows = {name: next(line for line in text.splitlines() if name in line) for name in spine.class_names}
    cells = {name: [cell.strip() for cell in row.strip("│ ").split("│")] for name, row in rows.items()}
    scores = summary["classes"]["MID"]
    expected = [f"{scores[score]['mean']:.4f}" for score in ("dice", "dice_where_present", "iou", "surface_dice")]
    assert cells["MID"][1:5] == expected and len(set(expected)) == 3
    assert cells["EPI"][6:] == ["1 of 4", "0 of 0"]
    assert "95 % intervals: t intervals on patient means" in text
    assert "within 1 mm" in text and "scoring number 2 of this test split" in text and "Not for clinical use" in text


def test_the_report_of_heads_fits_80_columns(fetal_head: Task) -> None:
    cases = [made_case(str(n), str(n), head_map(x=80 + n), head_map(), fetal_head, (1.0, 1.0)) for n in range(4)]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(*score_report(summary_of(cases, fetal_head), "test"), sep="\n")
    text = console.export_text()
    said = " ".join(text.split())
    assert "note: gestational age: its error is that of the head circumference" in said and "no error of dating" in said
    assert "gestational_age_weeks" in text and "…" not in text and max(map(len, text.splitlines())) <= 80


def test_the_terminal_says_what_the_quality_score_did() -> None:
    quality = {
        **{"images": 40, "rejected": 5, "failures": 4, "failures_rejected": 3, "failure_below": 0.9},
        **{"acceptable_dice": 0.95, "accepted_below_acceptable": 2},
    }
    found = "quality score: 5 of 40 images rejected, 3 of 4 with a Dice below 0.9 among them"
    assert quality_line(quality) == f"{found}; 2 accepted with a Dice below 0.95"
