"""What the node does with an image: what stage 4 does, with DICOM objects as results."""

import os
from pathlib import Path

from sonoseg.dicom.output import DicomOutput
from sonoseg.errors import DataError, ModelError, UsageError
from sonoseg.inference.batch import process_images
from sonoseg.inference.process_image import InferenceRun
from sonoseg.inference.results import claim_files, files_written
from sonoseg.inference.resume import NO_OPTIONAL_FILES, run_fingerprint
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import from_file
from sonoseg.models.registry import shipped_model
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.task_files import load_draft, task_of

WORKERS = os.cpu_count() or 1
"""Frames of a loop that are processed at once."""


def load_segmenter(task: str | None, workspace: Path, model: Path | None) -> Segmenter:
    """Return the segmenter of a model, or of the one that was trained for a task, or comes with SonoSeg.

    Raises UsageError where neither is given, or the model is one of another task; TaskError and ModelError.
    """
    if not task and not model:
        raise UsageError("neither a task nor a model is given; name the task, such as fetal_head, or the model")
    wanted = task_of(load_draft(task)) if task else None  # of a task that is planned, the model has the rest
    if model:
        segmenter = Segmenter.load(model, num_threads=WORKERS)
        if wanted and segmenter.task.name != wanted.name:
            raise UsageError(f"{model} was trained for task {segmenter.task.name}, not {wanted.name}; name one of them")
        return segmenter
    assert wanted is not None
    trained = Workspace(workspace, wanted.name).best_model
    shipped = shipped_model(trained, wanted)
    if not trained.is_file() and shipped is None:
        raise ModelError(f"{trained}: no such file, and no model of this task comes with SonoSeg; run stage 3 first")
    return Segmenter.load(shipped.path if shipped else trained, num_threads=WORKERS)


class ResultWriter:
    """Segments the images of a file and writes their results into a folder."""

    def __init__(self, segmenter: Segmenter, keep_frame: bool = False):
        self._segmenter, self._keep_frame = segmenter, keep_frame

    def __call__(self, image: Path, folder: Path) -> list[Path]:
        """Return the DICOM objects that were written, beside the usual results.

        Raises DataError when no image of the file could be segmented, or no object written.
        """
        sources = from_file(image, keep_frame=self._keep_frame)
        task = self._segmenter.task
        with OutputFolder(folder, "stage4") as output:
            run = InferenceRun(self._segmenter, output, fingerprint=run_fingerprint(self._segmenter, NO_OPTIONAL_FILES))
            objects = DicomOutput(output, task, run.limits)
            files = [files_written(source, task.class_names, run.optional) for source in sources]
            claim_files(output, [name for names in files for name in names])
            output.claim(objects.files(sources))
            output.begin_changes()
            rows = list(process_images(sources, run, WORKERS))
            remarks = objects.write(sources, rows)
        paths = [path for name in objects.files(sources) if (path := folder / name).is_file()]
        if not paths:
            reasons = [str(row["reason"]) for row in rows if row["status"] == "failed"]
            raise DataError("; ".join(reasons or remarks))
        return paths
