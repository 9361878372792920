"""The DICOM objects of a run of stage 4: which files they are, and how they are written.

They are made of the records, label maps and overlays that were written, so that results of earlier runs have them too.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from sonoseg.errors import DataError, UsageError, is_machine_error, printable
from sonoseg.inference.results import ResultFiles
from sonoseg.inference.sources import Source
from sonoseg.inference.table import Row
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers import is_dicom
from sonoseg.io.readers.opening import read_file
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.task import Task

if TYPE_CHECKING:  # needs packages that may be missing
    from sonoseg.dicom.result import Result
    from sonoseg.dicom.segmentation import Page
    from sonoseg.types import Picture

SHOWN = 10
"""Images without objects that are named; the others are counted."""
INSTALL = "run: pip install sonoseg[dicom]"


class DicomOutput:
    """The DICOM objects of a run, a segmentation, a report and a capture for each image of a DICOM file."""

    def __init__(self, output: OutputFolder, task: Task, limits: ReadLimits):
        """Raises UsageError when the packages that write DICOM are not installed."""
        missing = [name for name in ("pydicom", "highdicom") if find_spec(name) is None]
        if missing:
            raise UsageError(f"DICOM is written by {' and '.join(missing)}, which is not installed; {INSTALL}")
        self._output, self._task, self._limits = output, task, limits

    def files(self, sources: Sequence[Source]) -> list[str]:
        """Return the names of the files of these images, below the output folder."""
        return [name for source in sources if is_dicom(source.path) for name in self._files_of(source).dicom]

    def check(self, sources: Sequence[Source]) -> None:
        """Raise DataError when none of the images is DICOM; called before the work."""
        if not any(is_dicom(source.path) for source in sources):
            raise DataError(
                "none of the images is a DICOM file, and DICOM results need the patient and the examination of one; "
                "choose a folder of DICOM files, or run without DICOM results"
            )

    def write(self, sources: Sequence[Source], rows: Sequence[Row]) -> list[str]:
        """Write the objects of all images that are DICOM and did not fail; return remarks.

        rows: of `results.csv`, in the order of `sources`. An image whose objects cannot be written keeps its other
        results, loses those objects of an earlier run, and its row becomes `incomplete`. Raises OSError, and any error
        of the machine.
        """
        dicom = [(source, row) for source, row in zip(sources, rows, strict=True) if is_dicom(source.path)]
        written, problems = 0, []
        for source, row in dicom:
            problem = "" if row["status"] == "failed" else self._write_image(source)
            if problem or row["status"] == "failed":
                self._output.remove(*self._files_of(source).dicom)
            else:
                written += 1
            if problem:
                row["incomplete"] = True
                problems.append(f"none for {printable(source.name)}: {problem}")
        lines = [f"written for {_images(written)}; research only, not for clinical use"]
        if len(dicom) < len(sources):
            lines.append(f"{_images(len(sources) - len(dicom))} of other files left out")
        lines += problems[:SHOWN]
        lines += [f"none for {_images(len(problems) - SHOWN)} more"] if len(problems) > SHOWN else []
        return [f"DICOM: {line}" for line in lines]

    def _files_of(self, source: Source) -> ResultFiles:
        return ResultFiles.of(source.name, self._task.class_names)

    def _write_image(self, source: Source) -> str:
        """Write the objects of one image; return why they cannot be written, empty when they are."""
        try:
            objects = self._objects(source)
        except Exception as error:  # whatever a header leads to: the other results stay
            if is_machine_error(error):
                raise
            if isinstance(error, DataError):
                return str(error).removeprefix(f"{source.path}: ")
            # The text of another error may contain values of the header.
            return f"its header leads to an unexpected {type(error).__name__}"
        for name, data in objects.items():
            self._output.write_bytes(name, data)
        return ""

    def _objects(self, source: Source) -> dict[str, bytes]:
        """Return the files of an image, name -> bytes. Raises DataError, and other errors for hostile headers."""
        from sonoseg.dicom.capture import capture
        from sonoseg.dicom.loops import shown_frame
        from sonoseg.dicom.report import report
        from sonoseg.dicom.result import Result
        from sonoseg.dicom.segmentation import segmentation
        from sonoseg.dicom.source import read_source

        files = self._files_of(source)
        facts = json.loads(self._output.path(files.record).read_bytes())
        data = read_file(source.path, self._limits)
        if hashlib.sha256(data).hexdigest() != facts["made_from"]["image_sha256"]:
            raise DataError("the file has changed since it was segmented; run the same command again", source.path)
        header = read_source(source.path, data, self._limits)
        result = Result(header, source.image, source.name, facts, self._task)
        if result.is_loop:
            frame = shown_frame(self._output.path(f"{source.name}_frames.csv"), facts)
            result = replace(result, loop_frame=frame)
        made: Mapping[str, Callable[[], bytes]] = {
            files.dicom[0]: lambda: segmentation(result, self._pages(files, result)),
            files.dicom[1]: lambda: report(result),
            files.dicom[2]: lambda: capture(result, self._overlay(files, result)),
        }
        return {name: make() for name, make in made.items()}

    def _pages(self, files: ResultFiles, result: "Result") -> Iterable["Page"]:
        """Return the label maps of an image: one, or those of the frames of a loop."""
        from sonoseg.dicom.loops import label_pages
        from sonoseg.io.masks import read_mask

        if result.is_loop:
            return label_pages(self._output.path(f"{result.name}_masks.tif"))
        return [(result.frame, read_mask(self._output.path(files.mask), self._limits))]

    def _overlay(self, files: ResultFiles, result: "Result") -> "Picture":
        """Return the overlay `(H, W, 3)` uint8 of an image, of a loop that of the frame which stands for it."""
        import numpy as np
        from PIL import Image

        from sonoseg.dicom.loops import video_frame

        if result.is_loop:
            videos = [self._output.path(f"{result.name}_overlay{suffix}") for suffix in (".mp4", ".webp")]
            return video_frame(next(filter(Path.is_file, videos), videos[0]), result.loop_frame, result.source.size)
        with Image.open(self._output.path(files.overlay)) as picture:
            return np.array(picture.convert("RGB"))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
