"""One loop of stage 4, from its file to its written results."""

import errno
import hashlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sonoseg.errors import DataError, is_machine_error
from sonoseg.inference.cine.chart import loop_chart
from sonoseg.inference.cine.files import LoopFiles, files_besides_record
from sonoseg.inference.cine.frames import segment_frames
from sonoseg.inference.cine.masks import MaskPages
from sonoseg.inference.cine.summary import Frame, summarise
from sonoseg.inference.cine.table import describe_loop, frame_columns, frame_rows
from sonoseg.inference.cine.video import OverlayVideo, video_suffix
from sonoseg.inference.process_image import InferenceRun, check_file_name, fail
from sonoseg.inference.results import ResultFiles, claim_files
from sonoseg.inference.resume import ResultInputs, read_reusable, signed_record
from sonoseg.inference.sources import Loop, Source
from sonoseg.inference.table import Row, result_row
from sonoseg.io.readers.opening import digest_of_file, is_unchanged
from sonoseg.io.tables import csv_text


@dataclass(frozen=True)
class _Made:
    """What was made of a loop: `files`, name -> contents or a file that has them, and the facts of its record."""

    files: dict[str, bytes | Path]
    facts: dict[str, Any]


def process_loop(source: Source, run: InferenceRun, workers: int) -> Row:
    """Segment all frames of a loop, write its results, and return its row of `results.csv`.

    Reuse, failures and errors are those of `process_image`; a frame that cannot be processed fails alone. Nothing is
    written into the output folder before the last frame. The results do not depend on `workers`.
    """
    output, files = run.output, LoopFiles.of(source.name, video_suffix())
    with TemporaryDirectory(prefix="sonoseg-") as folder:
        try:
            check_file_name(source.path)
            claim_files(output, files.written)
            digest, states = digest_of_file(source.path, run.limits)
            inputs = ResultInputs(source, digest, run.fingerprint)
            reusable = read_reusable(output.path(files.record), inputs, files.beside_record)
            if reusable:
                for path, digest in reusable.digests.items():
                    output.keep(path, digest)
                return result_row(source, reusable.facts, reused=True)
            made = _make(source, run, workers, files, Path(folder))
            if not is_unchanged(states):  # the digest has to be that of the frames
                raise DataError("the file has changed while it was read; run the same command again", source.path)
        except Exception as error:  # an unexpected error of one loop must not end the run
            if is_machine_error(error):
                raise
            expected = isinstance(error, DataError)
            return fail(source, run, str(error) if expected else f"{source.path}: unexpected {_text(error)}")
        try:
            _write(run, files, made, inputs)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            reason = "the names of its result files would be too long; shorten the image's file name"
            return fail(source, run, f"{source.path.name}: {reason}")
    return result_row(source, made.facts)


def _make(source: Source, run: InferenceRun, workers: int, files: LoopFiles, folder: Path) -> _Made:
    """Segment the loop; video and masks go to `folder` while it runs. Raises DataError, and errors of the machine."""
    task, loop = run.segmenter.task, source.loop
    assert loop is not None
    video, masks = folder / f"overlay{Path(files.overlay).suffix}", folder / "masks.tif"
    frames: list[Frame] = []
    problem = ""
    drawn = segment_frames(source, run, loop.size, workers)
    try:
        with (
            OverlayVideo(video, loop.size, loop.frame_seconds) as overlay,
            MaskPages(masks, [structure.color for structure in task.structures]) as pages,
        ):
            try:
                for each in drawn:
                    frames.append(each.frame)
                    overlay.write(each.overlay)
                    pages.write(each.labels)
            except DataError as error:
                if not frames:
                    raise
                problem = f": {error.reason}"
    finally:
        drawn.close()
    check_frames(frames, source.path)
    remarks = early_end(len(frames), loop, problem)
    quantities = task.quantities
    summary = summarise(frames, quantities, remarks)
    table = csv_text(frame_columns(run.segmenter), frame_rows(frames, summary, loop))
    chart = loop_chart(source.name, frames, summary, loop, quantities)
    contents: dict[str, bytes | Path] = {
        files.masks: masks,
        files.overlay: video,
        files.chart: chart,
        files.table: table.encode("utf-8"),
    }
    return _Made(contents, describe_loop(source, loop, frames, summary, run.segmenter))


def check_frames(frames: list[Frame], path: Path) -> None:
    """Raise DataError when no frame could be processed."""
    if not frames:
        raise DataError("no frame could be decoded; replace the file, or save it as MP4 (H.264)", path)
    if all(frame.status == "failed" for frame in frames):
        first = frames[0].reasons[0]
        raise DataError(f"none of {len(frames)} frames could be processed; the first: {first}", path)


def early_end(count: int, loop: Loop, problem: str) -> list[str]:
    """Return a sentence on a file with fewer or more frames than it declares."""
    if count > loop.frames:
        return [f"the file has {count} frames and states {loop.frames}{problem}"]
    if count == loop.frames:
        return [problem.removeprefix(": ")] if problem else []
    return [f"the file ends after {count} of {loop.frames} frames{problem}"]


def _write(run: InferenceRun, files: LoopFiles, made: _Made, inputs: ResultInputs) -> None:
    """Write the files and then the record, whose presence means that all files are of the same run. Raises OSError."""
    output, name = run.output, inputs.source.name
    stale = {*ResultFiles.of(name, run.segmenter.task.class_names).all, *files_besides_record(name)}
    output.remove(files.record)
    output.remove(*sorted(stale - set(files.written)))  # of an image that the file was before
    digests = {}
    for file, contents in made.files.items():
        if isinstance(contents, Path):
            digests[file] = output.write_copy(file, contents)
        else:
            output.write_bytes(file, contents)
            digests[file] = hashlib.sha256(contents).hexdigest()
    output.write_json(files.record, signed_record(made.facts, inputs, digests))


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
