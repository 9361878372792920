"""What is written for each image, the table over all of them, and the record of the run."""

import errno
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoseg.annotations.base import name_problem
from sonoseg.errors import DataError, printable
from sonoseg.inference.heatmap import draw_heatmap, probability_levels
from sonoseg.inference.overlay import draw_overlay
from sonoseg.inference.resume import finished, sealed
from sonoseg.inference.segmenter import Segmenter, check_image
from sonoseg.inference.sources import Source
from sonoseg.io.files import sha256_of
from sonoseg.io.images import encode_label_map, read_image
from sonoseg.io.png import encode_png
from sonoseg.postprocess.interpret import Findings
from sonoseg.postprocess.measure import measurement_names
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.provenance import run_record
from sonoseg.schema.task import Task
from sonoseg.types import Pixels

DISCLAIMER = "not for clinical use"
STATUSES = ("ok", "flagged", "failed")


def segment_source(
    source: Source, segmenter: Segmenter, output: OutputFolder, heatmap: bool = False, by: str = ""
) -> dict[str, Any]:
    """Segment one image, write its results, and return its row of `results.csv`; `heatmap` also writes probabilities.

    `by`: what `finished.fingerprint` gives; an image that an earlier run has finished by the same stays as it is, and
    its row has `earlier`: True. An image that cannot be used gives a row with status `failed` and the reason, and what
    an earlier run wrote for it is removed. Raises OSError when a result cannot be written: then the next one cannot
    either.
    """
    task = segmenter.task
    mask, picture, record, *maps = result_files(output.folder, source.name, task)
    drawn = [picture, *(maps if heatmap else [])]
    problem = name_problem(source.path.name)
    if problem:
        return _failed(source, output, task, f"{printable(source.path.name)}: {problem} in the file name; rename it")
    digest = _digest_of(source.path)
    earlier = finished(record, source, digest, by, [mask, *drawn]) if by else None
    if earlier:
        for path, kept in earlier.digests.items():
            output.keep(path, kept)
        return {**_row(source, earlier.facts), "earlier": True}
    try:
        image = check_image(read_image(source.path))
        found = segmenter(image, source.spacing)
        pictures = [draw_overlay(image, found, task), *(heatmap_pictures(image, found, task) if heatmap else [])]
        files = {mask: encode_label_map(found.labels, task.colors)}
        files |= dict(zip(drawn, map(encode_png, pictures), strict=True))
        facts = describe(source, image, found, segmenter)
    except DataError as error:
        return _failed(source, output, task, str(error))
    except Exception as error:  # whatever one image brings about must not end the batch
        return _failed(source, output, task, f"{source.path}: unexpected {type(error).__name__}: {error}")
    try:
        output.remove(record)  # written last: while it exists, all of them belong together
        output.remove(*maps)  # an earlier run may have drawn them, and this one may not
        for path, data in files.items():
            output.write_bytes(path, data)
        output.write_json(record, sealed(facts, source, digest, by, files))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return _failed(source, output, task, f"{source.path.name}: too long a name for its results; shorten it")
    return _row(source, facts)


def result_files(folder: Path, name: str, task: Task) -> list[Path]:
    """Return the paths of all that an image may get: mask, overlay, record, heat map, probability of each class."""
    classes = [""] if task.is_binary else [f"_{one}" for one in task.class_names]
    ends = ["_mask.png", "_overlay.png", ".json", "_heatmap.png", *(f"_probability{one}.png" for one in classes)]
    return [folder / f"{name}{end}" for end in ends]


def heatmap_pictures(image: Pixels, found: Findings, task: Task) -> list[NDArray[np.uint8]]:
    """Return the heat map and the probability of each class, in the order of `result_files`."""
    assert found.probabilities is not None  # those of an image always are; references have none
    return [draw_heatmap(image, found.probabilities, task), *probability_levels(found.probabilities[1:])]


def remove_results(output: OutputFolder, name: str, task: Task) -> None:
    """Remove all results of the image of this name."""
    for path in result_files(output.folder, name, task):
        with suppress(OSError):  # a name that no file can have left nothing behind
            output.remove(path)


def describe(source: Source, image: Pixels, found: Findings, segmenter: Segmenter) -> dict[str, Any]:
    """Return the findings as JSON values; shapes are in the form of annotation files."""
    return {
        "image": source.path.name,
        "width": image.shape[1],
        "height": image.shape[0],
        "spacing_mm": {"row": source.spacing[0], "col": source.spacing[1]} if source.spacing else None,
        "spacing_from": source.spacing_from,
        "status": found.status,
        "reasons": found.reasons,
        "shapes": [shape.to_json() for shape in found.shapes],
        "measurements": found.measurements,
        "notes": found.notes,
        "confidence": found.confidence,
        "suppressed": found.suppressed,
        "task": segmenter.task.name,
        "model_sha256": segmenter.sha256,
        "threshold": segmenter.threshold,
        "notice": DISCLAIMER,
    }


def write_table(output: OutputFolder, rows: Sequence[Mapping[str, Any]], task: Task) -> Path:
    """Write `results.csv`: one row per input, empty cells for what is absent."""
    columns = ["image", "name", "status", "reason", "width", "height", "row_mm", "col_mm", "spacing_from"]
    columns += measurement_names(task) + [f"confidence_{name}" for name in task.class_names]
    return output.write_csv("results.csv", columns, rows)


def write_run(
    output: OutputFolder,
    rows: Sequence[Mapping[str, Any]],
    segmenter: Segmenter,
    settings: Mapping[str, Any],
    seconds: float,
    command: Sequence[str] = (),
) -> Path:
    """Write `run.json`, the last file of a run: its presence means that the run came to its end."""
    statuses = Counter(row["status"] for row in rows)
    models = {one.file: one.sha256 for one in segmenter.members}
    record = run_record(command, segmenter.task, settings, models)
    return output.write_json(
        "run.json",
        {
            "task": segmenter.task.name,
            "counts": {"inputs": len(rows), **{status: statuses[status] for status in STATUSES}},
            "seconds": round(seconds, 3),
            "model_sha256": segmenter.sha256,
            "model_info": segmenter.info,
            "models": [
                {
                    "file": one.file,
                    "sha256": one.sha256,
                    "task": one.task.name,
                    "engine": one.engine.describe(),
                    "info": one.info,
                }
                for one in segmenter.members
            ],
            "threshold": segmenter.threshold,
            "task_settings": record.pop("task"),
            **record,
            "notice": DISCLAIMER,
        },
    )


def _failed(source: Source, output: OutputFolder, task: Task, reason: str) -> dict[str, Any]:
    remove_results(output, source.name, task)
    return {"image": printable(source.path.name), "name": printable(source.name), "status": "failed", "reason": reason}


def _digest_of(path: Path) -> str:
    """Return an image's digest; empty when it cannot be read, of which `read_image` says why."""
    try:
        return sha256_of(path)
    except OSError:
        return ""


def _row(source: Source, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of `results.csv` from what `describe` says."""
    spacing = facts["spacing_mm"] or {"row": None, "col": None}
    return {
        **{name: facts[name] for name in ("image", "status", "width", "height", "spacing_from")},
        "name": source.name,
        "reason": "; ".join(facts["reasons"]),
        "row_mm": spacing["row"],
        "col_mm": spacing["col"],
        **facts["measurements"],
        **{f"confidence_{name}": value for name, value in facts["confidence"].items()},
    }
