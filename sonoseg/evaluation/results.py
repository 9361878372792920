"""The files of an evaluation: scores in total and per image, a page, and a line in the log of scorings."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sonoseg.evaluation.cases import Case
from sonoseg.evaluation.folds import FoldData, table_name
from sonoseg.evaluation.history import read_history
from sonoseg.evaluation.model_card import write_model_card
from sonoseg.evaluation.page import evaluation_page
from sonoseg.evaluation.quality.files import read_observations
from sonoseg.evaluation.quality.validation import Judged, judge_cases, judge_observations, summarise_quality
from sonoseg.evaluation.scoring import Scoring
from sonoseg.evaluation.summary import summarise
from sonoseg.io import files
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import (
    CASES_TABLE,
    CROSS_VALIDATION,
    ENSEMBLE,
    EVALUATION,
    EVALUATION_PAGE,
    OUT_OF_FOLD,
    QUALITY_MODEL,
    SCORING_RECORD,
    SCORINGS_LOG,
    Workspace,
)


def write_model_evaluation(
    output: OutputFolder, scoring: Scoring, cases: Sequence[Case], data: FoldData, workspace: Workspace
) -> dict[str, Any] | None:
    """Write the evaluation of a single model beside it, with the curves of its training, and its model card.

    Without cases there is only a model card, and the result is None.
    """
    summary, history = None, read_history(output.folder)
    if cases:
        observations = read_observations(output.folder) if scoring.part == "validation" else []
        judged = judge_observations(observations, scoring.task)
        summary = write_evaluation(output, scoring, cases, workspace, history, judged)
    write_model_card(output, scoring.models[0], data, summary)
    return summary


def write_evaluation(
    output: OutputFolder,
    scoring: Scoring,
    cases: Sequence[Case],
    workspace: Workspace,
    history: Sequence[dict[str, float]] = (),
    judged: Sequence[Judged] = (),
) -> dict[str, Any]:
    """Write `per_case.csv`, `evaluation.html` and, last, `evaluation.json` of at least one case; return the last.

    `history` is that of the training, the scalars of each epoch; `judged` validates the quality model where the part is
    not the test split, whose images are new to it. A scoring of the test split is first recorded in
    `Models/<task>/evaluations.jsonl`, so that every scoring is counted before its numbers can be seen; `scored_before`
    is the number of earlier ones.
    """
    task = scoring.task
    scores = summarise(cases, task.class_names, task.evaluation, task.threshold)
    summary = {"use": "not for clinical use", "part": scoring.part, **scores, "model": scoring.facts}
    summary |= _quality(scoring, judge_cases(cases) if scoring.part == "test" else judged)
    if scoring.part == "test":
        log = workspace.models / SCORINGS_LOG
        entry = _log_entry(summary, workspace)
        summary["scored_before"] = count_scorings(log, entry["test_split_sha256"])
        append_line(log, {**entry, "scoring": summary["scored_before"] + 1})
    rows = [case.row() for case in cases]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    output.write_csv(CASES_TABLE, columns, rows)
    output.write_text(EVALUATION_PAGE, evaluation_page(summary, cases, task, scoring.limits, history))
    output.write_json(EVALUATION, summary)
    return summary


def _quality(scoring: Scoring, judged: Sequence[Judged]) -> dict[str, Any]:
    """Return the entry `quality` of an evaluation; nothing without a quality model."""
    qualities = [model.quality for model in scoring.models if model.quality]
    if not qualities or all(one.quality is None for one in judged):
        return {}
    return {"quality": summarise_quality(judged, qualities[0].acceptable_dice)}


def remove_scores(output: OutputFolder) -> None:
    """Remove the scores of a model that is about to be replaced.

    The model of a fold is in a subfolder of a cross-validation, whose scores are removed too.
    """
    output.remove(EVALUATION, EVALUATION_PAGE, CASES_TABLE, SCORING_RECORD)
    if output.parent:
        remove_fold_scores(output.parent)


def remove_fold_scores(output: OutputFolder) -> None:
    """Remove the scores of a cross-validation over all folds; those of each fold are beside its model."""
    output.remove(CROSS_VALIDATION, QUALITY_MODEL, SCORING_RECORD)
    for name in (OUT_OF_FOLD, ENSEMBLE):
        output.remove(*output.path(name).glob("*"))


def count_scorings(log: Path, test_split: str | None) -> int:
    """Return the number of scorings in `evaluations.jsonl` of the test split whose table has this SHA-256.

    Incomplete lines, left by an interruption, do not count. Without a file it is 0.
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
    """Append `entry` to a file of JSON lines, as `io.files.append_line` does."""
    log.parent.mkdir(parents=True, exist_ok=True)
    files.append_line(log, json.dumps(entry, ensure_ascii=False, allow_nan=False))


def check_log(workspace: Workspace) -> None:
    """Raise UsageError when the log of scorings exists and cannot be appended to, before a model is trained."""
    with suppress(FileNotFoundError):
        os.close(files.open_in_place(workspace.models / SCORINGS_LOG, os.O_RDWR))


def _log_entry(summary: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    facts, table = summary["model"], workspace.split_table("test")
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "task": workspace.task,
        "part": summary["part"],
        "model_sha256": facts.get("sha256"),
        "fold": facts.get("fold"),
        "test_split_sha256": facts.get("data", {}).get(table_name(table)),
        "images": summary["images"],
        "patients": summary["patients"],
        "mean_dice": summary["mean_dice"],
        "dice": {name: scores["dice"]["mean"] for name, scores in summary["classes"].items()},
    }
