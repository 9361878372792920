"""Lines that stage 4 prints: images and models, an image of a watched folder, and the summary."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sonoseg.inference.resume import OptionalFiles
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.inference.table import STATUSES
from sonoseg.io.image_ref import UNKNOWN
from sonoseg.io.readers import image_folders_below
from sonoseg.runs.workspace import RESULTS_TABLE

SHOWN = 10
"""Images in the summary that failed, are rejected or to be checked; the table contains all of them."""


def count_text(sources: Sequence[Source]) -> str:
    """Return the number of images and of loops: `3 images, 2 loops of 420 frames`."""
    loops = [source.loop for source in sources if source.loop]
    count = len(sources) - len(loops)
    stills = ["1 image" if count == 1 else f"{count} images"] if count or not loops else []
    number = "1 loop" if len(loops) == 1 else f"{len(loops)} loops"
    return ", ".join([*stills, *([f"{number} of {sum(loop.frames for loop in loops)} frames"] if loops else [])])


def loop_remarks(sources: Sequence[Source], optional: OptionalFiles) -> list[str]:
    """Return a sentence on the optional files that are not written of loops, when there is a loop."""
    wanted = [*(["heat maps"] if optional.heatmap else []), *(["full masks"] if optional.full_masks else [])]
    if not wanted or not any(source.loop for source in sources):
        return []
    return [f"{' and '.join(wanted)} are written of single images, and not of loops"]


def subfolder_remarks(folder: Path) -> list[str]:
    """Return a sentence on the sub-folders with images, which are not read, when there are any."""
    names = [path.relative_to(folder).as_posix() for path in image_folders_below(folder)]
    if not names:
        return []
    which = f"1 sub-folder with images is not read: {names[0]}"
    if len(names) > 1:
        which = f"{len(names)} sub-folders with images are not read, such as {names[0]}"
    return [f"{which}; run once more for each folder, into an output folder of its own"]


def start_lines(segmenter: Segmenter, images: str, remarks: Iterable[str]) -> list[str]:
    """Return the lines at the start of a run: `images`, the models, and remarks on engines and images."""
    engine_remarks = [remark for member in segmenter.members for remark in member.engine.remarks]
    remarks = dict.fromkeys([*engine_remarks, *remarks])
    return [f"{images}, {model_line(segmenter)}", *(f"  {remark}" for remark in remarks)]


def model_line(segmenter: Segmenter) -> str:
    """Return task, model or number of models, device, engines, test-time augmentation, threshold of a single class."""
    count, name = len(segmenter.members), segmenter.sha256[:12]
    line = f"task {segmenter.task.name}, {f'mean of {count} models' if count > 1 else 'model'} {name}"
    engines = dict.fromkeys(f"{member.engine.name} {member.engine.version}" for member in segmenter.members)
    line += f" on {segmenter.device}, {' and '.join(engines)}"
    if segmenter.tta:
        line += ", mean over flips"
    if segmenter.threshold is not None:
        line += f", threshold {segmenter.threshold:g}"
    return line + (f"; rules and measurements are those of {segmenter.members[0].file}" if count > 1 else "")


def row_line(row: Mapping[str, Any]) -> str:
    """Return the status of an image, its name, and the reason if there is one, from its row of `results.csv`."""
    places = [f"{place} {row[place]}" for place in ("frame", "region") if row.get(place)]
    image = ", ".join([row["image"], *places])
    return ": ".join(str(part) for part in (row["status"], image, row["reason"]) if part)


def watch_line(row: Mapping[str, Any]) -> str:
    """Return the line of an image of a watched folder, with a note when its pixel spacing is unknown."""
    unknown = row.get("spacing_from") == UNKNOWN
    remark = f" ({row['remark']})" if row.get("remark") else ""
    return row_line(row) + (" (pixel spacing unknown: lengths in pixels only)" if unknown else "") + remark


def summary_lines(rows: Sequence[Mapping[str, Any]], folder: Path, seconds: float | None) -> list[str]:
    """Return the counts, the first images to review, and the folder of the results; `seconds` None: no rate."""
    lines = []
    reused = sum(row["reused"] for row in rows)
    if reused:
        lines.append(f"{reused} of them reused from an earlier run with this model and these settings")
    repeated = [row["remark"] for row in rows if row.get("remark")]
    if repeated:
        lines.append(f"{len(repeated)} of them {repeated[0]}")
    count = Counter(row["status"] for row in rows)
    pictures = sum(row.get("frames") or 1 for row in rows)
    each = "an image" if pictures == len(rows) else "an image or frame"
    rate = "" if seconds is None else f"; {seconds / pictures:.2f} s {each}"
    lines.append(", ".join(f"{count[status]} {status}" for status in STATUSES) + rate)
    to_review = [row for status in ("failed", "reject", "check") for row in rows if row["status"] == status]
    lines += [f"  {row_line(row)}" for row in to_review[:SHOWN]]
    if len(to_review) > SHOWN:
        lines.append(f"  ... and {len(to_review) - SHOWN} more in {RESULTS_TABLE}")
    return [*lines, f"written to {folder}; not for clinical use"]
