"""The table of a loop's frames, and the record of the loop."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from sonoseg.errors import printable
from sonoseg.inference.cine.summary import Frame, Summary
from sonoseg.inference.results import DISCLAIMER
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Loop, Source
from sonoseg.inference.table import STATUSES


def frame_columns(segmenter: Segmenter) -> list[str]:
    """Return the columns of `<name>_frames.csv`: those of `results.csv` that vary from frame to frame."""
    columns = ["frame", "time_s", "chosen", "status", "reason", "quality"]
    for key in (quantity.key for quantity in segmenter.task.quantities):
        columns += [key, f"{key}_low", f"{key}_high"] if key in segmenter.interval_keys else [key]
    return [*columns, *(f"confidence_{name}" for name in segmenter.task.class_names)]


def frame_rows(frames: Sequence[Frame], summary: Summary, loop: Loop) -> list[dict[str, Any]]:
    """Return the rows of that table. time_s: since the first frame, None when the rate is unknown; chosen: 0 or 1."""
    chosen = set(summary.chosen)
    return [
        {
            "frame": frame.number,
            "time_s": time_of(frame.number, loop),
            "chosen": int(frame.number in chosen),
            "status": frame.status,
            "reason": printable("; ".join(frame.reasons)),
            "quality": frame.quality,
            **frame.measurements,
            **{f"{key}_low": low for key, (low, _) in frame.intervals.items()},
            **{f"{key}_high": high for key, (_, high) in frame.intervals.items()},
            **{f"confidence_{name}": value for name, value in frame.confidence.items()},
        }
        for frame in frames
    ]


def time_of(number: int, loop: Loop) -> float | None:
    """Return the time of a frame in seconds since the first, in whole microseconds; None when the rate is unknown."""
    return None if loop.frame_seconds is None else round((number - 1) * loop.frame_seconds, 6)


def describe_loop(
    source: Source, loop: Loop, frames: Sequence[Frame], summary: Summary, segmenter: Segmenter
) -> dict[str, Any]:
    """Return the summary of a loop as JSON values: those of an image (`results.describe`), and those of the frames."""
    statuses = Counter(frame.status for frame in frames)
    return {
        "image": source.path.name,
        "frame": None,
        "width": loop.size[1],
        "height": loop.size[0],
        "spacing_mm": {"row": source.spacing[0], "col": source.spacing[1]} if source.spacing else None,
        "spacing_from": source.spacing_from,
        "status": summary.status,
        "reasons": summary.reasons,
        "quality": summary.quality,
        "quality_note": summary.quality_note,
        "frames": len(frames),
        "frames_declared": loop.frames,
        "frame_seconds": loop.frame_seconds,
        "frames_by_status": {status: statuses[status] for status in STATUSES},
        "chosen_frames": summary.chosen,
        "chosen_by": summary.chosen_by,
        "measurements": summary.measurements,
        "spread": summary.spread,
        "intervals": {key: list(interval) for key, interval in summary.intervals.items()},
        "notes": summary.notes,
        "confidence": summary.confidence,
        "task": segmenter.task.name,
        "model_sha256": segmenter.sha256,
        "threshold": segmenter.threshold,
        "notice": DISCLAIMER,
    }
