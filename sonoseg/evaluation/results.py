"""What scoring a model leaves behind: scores per case and in sum, a page, and a line in the log of scorings."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.cross_validation import forget_results
from sonoseg.evaluation.page import evaluation_page
from sonoseg.evaluation.summary import summarise
from sonoseg.io.files import name_in_errors
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import RUN_OF_SCORING, Workspace
from sonoseg.schema.task import Task


def write_evaluation(
    output: OutputFolder,
    part: str,
    cases: Sequence[Case],
    task: Task,
    workspace: Workspace,
    facts: dict[str, Any],
    history: Sequence[dict[str, float]] = (),
    limits: ReadLimits = DEFAULT_LIMITS,
) -> dict[str, Any]:
    """Write `per_case.csv`, `evaluation.html` and, last, `evaluation.json` of at least one case; return the last.

    `part` is `test`, `validation` or `out-of-fold`; `facts` are of the model, with its `sha256`; `history` is its
    training, a row of scalars per epoch. A scoring of the test split is first recorded in `Models/<task>/
    evaluations.jsonl`: no number of it can be seen that is not counted. Its `scored_before` says how many there were.
    """
    summary = {"use": "not for clinical use", "part": part, **summarise(cases, task), "model": facts}
    if part == "test":
        log = workspace.models / "evaluations.jsonl"
        entry = _log_entry(summary, task)
        summary["scored_before"] = scorings(log, entry["test_split_sha256"])
        append_line(log, {**entry, "scoring": summary["scored_before"] + 1})
    rows = [case.row() for case in cases]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    output.write_csv("per_case.csv", columns, rows)
    output.write_text("evaluation.html", evaluation_page(summary, cases, task, limits, history))
    output.write_json("evaluation.json", summary)
    return summary


def forget_scores(output: OutputFolder) -> None:
    """Remove the scores of the model in `output`, which would be taken for those of the model that replaces it.

    The model of a fold is in a subfolder of a cross-validation, whose results are removed too.
    """
    output.remove("evaluation.json", "evaluation.html", "per_case.csv", RUN_OF_SCORING)
    if output.parent:
        forget_results(output.parent)


def scorings(log: Path, test_split: str | None) -> int:
    """Return how many lines of `evaluations.jsonl` are of the test split whose table has this SHA-256.

    Lines that an interruption cut short are passed over. A file that is not there has none.
    """
    if not log.is_file():
        return 0
    count = 0
    for line in log.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        count += isinstance(entry, dict) and entry.get("test_split_sha256", "") == test_split
    return count


def append_line(log: Path, entry: dict[str, Any]) -> None:
    """Add `entry` to a file of JSON lines by one write that is on the disk when this returns.

    After a line without an end, which an interruption left, it begins a new one.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with name_in_errors(log), log.open("ab+") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
        line = json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
        stream.write(("\n" if size and stream.read(1) != b"\n" else "").encode() + line.encode("utf-8"))
        stream.flush()
        os.fsync(stream.fileno())


def _log_entry(summary: dict[str, Any], task: Task) -> dict[str, Any]:
    facts = summary["model"]
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": task.name,
        "part": summary["part"],
        "model_sha256": facts.get("sha256"),
        "fold": facts.get("fold"),
        "test_split_sha256": facts.get("data", {}).get(f"{task.name}/test_split.csv"),
        "images": summary["images"],
        "patients": summary["patients"],
        "mean_dice": summary["mean_dice"],
        "dice": {name: one["dice"]["mean"] for name, one in summary["classes"].items()},
    }
