"""The record `run.json` of a run of stage 4."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.inference.results import DISCLAIMER
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.table import STATUSES, Row
from sonoseg.models.members import Member
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.provenance import run_record
from sonoseg.runs.workspace import INFERENCE_RECORD


def write_run_record(
    output: OutputFolder,
    counts: Mapping[str, int],
    segmenter: Segmenter,
    settings: Mapping[str, Any],
    seconds: float,
    command: Sequence[str],
) -> Path:
    """Write `run.json`: counts of images by status (`count_rows`), duration, models, threshold and provenance.

    The last file of a run: its presence means that the run was completed.
    """
    models = {member.file: member.sha256 for member in segmenter.members}
    record = run_record(command, segmenter.task, settings, models)
    return output.write_json(
        INFERENCE_RECORD,
        {
            "task": segmenter.task.name,
            "counts": dict(counts),
            "seconds": round(seconds, 3),
            "model_sha256": segmenter.sha256,
            "model_info": segmenter.info,
            "models": [_describe(member) for member in segmenter.members],
            "threshold": segmenter.threshold,
            "task_settings": record.pop("task"),
            **record,
            "notice": DISCLAIMER,
        },
    )


def count_rows(rows: Sequence[Row]) -> dict[str, int]:
    """Return the number of rows as `inputs`, and those of each status."""
    statuses = Counter(row["status"] for row in rows)
    return {"inputs": len(rows), **{status: statuses[status] for status in STATUSES}}


def _describe(member: Member) -> dict[str, Any]:
    return {
        "file": member.file,
        "sha256": member.sha256,
        "task": member.task.name,
        "engine": member.engine.to_json(),
        "info": member.info,
    }
