"""One image of stage 4, from its file to its written results: read, predict, render, write."""

import errno
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from sonoseg.errors import DataError, is_machine_error, printable
from sonoseg.inference.results import ResultFiles, claim_files, describe, remove_results, render, write_results
from sonoseg.inference.resume import NO_OPTIONAL_FILES, OptionalFiles, ResultInputs, build_record, read_reusable
from sonoseg.inference.segmenter import Segmenter, check_image
from sonoseg.inference.sources import Source
from sonoseg.inference.table import Row, failed_row, result_row
from sonoseg.io.image_ref import ImageRecord
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.names import name_problem
from sonoseg.io.readers import read_image
from sonoseg.io.readers.opening import read_file
from sonoseg.postprocess.interpret import Findings
from sonoseg.postprocess.placement import place_findings, place_pixels
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.types import Pixels


@dataclass(frozen=True)
class InferenceRun:
    """What all images of a run share.

    optional: which optional files are written. fingerprint: see `resume.run_fingerprint`; empty when
    results of earlier runs are not reused.
    """

    segmenter: Segmenter
    output: OutputFolder
    optional: OptionalFiles = NO_OPTIONAL_FILES
    fingerprint: str = ""
    limits: ReadLimits = DEFAULT_LIMITS


def process_image(source: Source, run: InferenceRun) -> Row:
    """Segment one image, write its results, and return its row of `results.csv`.

    Results that an earlier run has written from the same inputs are reused. An image that cannot be processed gives a
    row with status `failed` and the reason, and its earlier results are removed. Raises OSError when a result cannot be
    written, for example to a full disk, and any error of which `is_machine_error` is true: such an error is no fault of
    the image, and its earlier results stay.
    """
    task, output = run.segmenter.task, run.output
    files = ResultFiles.of(source.name, task.class_names)
    try:
        check_file_name(source.path)
        if source.problem:
            raise DataError(source.problem)
        claim_files(output, files.written(run.optional))
        # Digest and pixels are of the same bytes, also when the file is replaced meanwhile.
        data = read_file(source.path, run.limits)
        inputs = ResultInputs(source, hashlib.sha256(data).hexdigest(), run.fingerprint)
        reusable = read_reusable(output.path(files.record), inputs, files.pictures(run.optional))
        if reusable:
            for path, digest in reusable.digests.items():
                output.keep(path, digest)
            return result_row(source, reusable.facts, reused=True)

        image, findings = segment_record(read_image(source.image, run.limits, data), source, run.segmenter)
        pictures = render(image, findings, task.structures, task.postprocessing.threshold, files, run.optional)
        facts = describe(source, image, findings, run.segmenter)
    except Exception as error:  # an unexpected error of one image must not end the run
        if is_machine_error(error):
            raise
        if isinstance(error, DataError):
            return fail(source, run, str(error))
        return fail(source, run, f"{source.path}: unexpected {type(error).__name__}: {error}")
    try:
        write_results(output, files, pictures, build_record(facts, inputs, pictures))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        reason = "the names of its result files would be too long; shorten the image's file name"
        return fail(source, run, f"{source.path.name}: {reason}")
    return result_row(source, facts)


def segment_record(
    record: ImageRecord, source: Source, segmenter: Segmenter, with_probabilities: bool = True
) -> tuple[Pixels, Findings]:
    """Return the frame `(H, W)` uint8 of a decoded image, black around its region, and the findings in it.

    The network sees the region alone. with_probabilities: whether the findings keep them, which takes time and memory.
    Raises DataError for an image that cannot be segmented.
    """
    image = check_image(record.pixels)
    findings = segmenter(image, source.spacing)
    if not with_probabilities:
        findings = replace(findings, probabilities=None)
    if record.region and record.frame_size:
        findings = place_findings(findings, record.region, record.frame_size)
        image = place_pixels(image, record.region, record.frame_size)
    return image, findings


def check_file_name(path: Path) -> None:
    """Raise DataError for a file name that cannot be written into a table."""
    problem = name_problem(path.name)
    if problem:
        raise DataError(f"{printable(path.name)}: {problem} in the file name; rename it")


def fail(source: Source, run: InferenceRun, reason: str) -> Row:
    """Remove earlier results of an image and return its row with status `failed`."""
    remove_results(run.output, source.name, run.segmenter.task.class_names)
    return failed_row(source, reason)
