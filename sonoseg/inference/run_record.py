"""The record `run.json` of a run of stage 4."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.errors import UsageError, counted, first_of
from sonoseg.inference.results import DISCLAIMER
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.inference.table import STATUSES, Row
from sonoseg.io.limits import DEFAULT_LIMITS
from sonoseg.io.readers.opening import digest_of_file
from sonoseg.io.reading import read_own_object
from sonoseg.models.members import Member
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.provenance import run_record, settings_of_runs
from sonoseg.runs.workspace import INFERENCE_RECORD

MOST_EARLIER = 20
_NAMED = 3


def check_earlier_runs(
    folder: Path, images: Path | None, workspace: Path, sources: Sequence[Source] | None
) -> list[dict[str, str | None]]:
    """Return `images` and `workspace` of the earlier runs whose results are in a folder, the latest first.

    images: folder of the images of this run, None for the test split of the workspace. sources: the images, None for
    those that will arrive in a watched folder. Raises UsageError when results of other images, which have the same
    names in another folder, would be replaced; of images that will arrive, when there are results from another folder.
    """
    runs = settings_of_runs(read_own_object(folder / INFERENCE_RECORD))
    earlier = [{"images": run.get("images"), "workspace": run.get("workspace")} for run in runs]
    present = {"images": None if images is None else str(images), "workspace": str(workspace)}
    if earlier and earlier[0]["images"] != present["images"]:
        whose = earlier[0]["images"] or "the test split"
        if sources is None:
            raise UsageError(
                f"{folder}: has results of images from {whose}; images of the same names may arrive in the watched "
                "folder, and their results would replace them; choose another output folder"
            )
        replaced = [source.name for source in sources if _is_of_other_image(folder, source)]
        if replaced:
            raise UsageError(
                f"{folder}: has results of {counted(len(replaced), 'other image')} of the same name from {whose} "
                f"({first_of(replaced, _NAMED)}), which would be replaced; choose another output folder"
            )
    unique = {json.dumps(run, sort_keys=True): run for run in earlier if run != present}
    return list(unique.values())[:MOST_EARLIER]


def _is_of_other_image(folder: Path, source: Source) -> bool:
    """Return whether the results of this name are of an image with other bytes."""
    made_from = read_own_object(folder / f"{source.name}.json").get("made_from")
    digest = made_from.get("image_sha256") if isinstance(made_from, dict) else None
    if not digest or source.problem:
        return False
    return bool(digest_of_file(source.path, DEFAULT_LIMITS)[0] != digest)


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
