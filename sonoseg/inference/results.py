"""The result files of one image: their names, their contents, and how they are written and removed."""

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sonoseg.annotations import FORMATS
from sonoseg.annotations.base import matching_folders
from sonoseg.errors import DataError
from sonoseg.inference.cine.files import LoopFiles, files_besides_record
from sonoseg.inference.cine.video import video_suffix
from sonoseg.inference.heatmap import draw_heatmap, probability_levels
from sonoseg.inference.overlay import draw_overlay
from sonoseg.inference.resume import OptionalFiles, recorded_files
from sonoseg.inference.segmenter import Segmenter
from sonoseg.inference.sources import Source
from sonoseg.io.image_ref import stem_of
from sonoseg.io.masks import encode_label_map
from sonoseg.io.png import encode_png
from sonoseg.postprocess.interpret import Findings
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.runs.workspace import RESULTS_TABLE
from sonoseg.schema.annotation_formats import Annotations
from sonoseg.schema.annotations import Structure
from sonoseg.types import Pixels

DISCLAIMER = "not for clinical use"
ALL_OPTIONAL_FILES = OptionalFiles(heatmap=True, full_masks=True)

_SECONDS_PER_IMAGE = 10
"""At most this long before or after the last record are the pictures of an image in progress written."""


@dataclass(frozen=True)
class ResultFiles:
    """Names of the result files of an image; `record` is the JSON of its findings, written last.

    `heatmap`, `probabilities` and `full_masks` (a file per class each) are optional. `dicom` are the DICOM objects that
    are made of the others, and removed with them: segmentation, structured report, secondary capture.
    """

    mask: str
    overlay: str
    record: str
    heatmap: str
    probabilities: tuple[str, ...]
    full_masks: tuple[str, ...]
    dicom: tuple[str, str, str]

    @classmethod
    def of(cls, name: str, class_names: Sequence[str]) -> "ResultFiles":
        """Return the file names of the image whose results are called `name`."""
        classes = [""] if len(class_names) == 1 else [f"_{class_name}" for class_name in class_names]
        probabilities = tuple(f"{name}_probability{suffix}.png" for suffix in classes)
        full_masks = tuple(f"{name}_full_mask_{class_name}.png" for class_name in class_names)
        usual = f"{name}_mask.png", f"{name}_overlay.png", f"{name}.json"
        dicom = f"{name}_seg.dcm", f"{name}_sr.dcm", f"{name}_capture.dcm"
        return cls(*usual, f"{name}_heatmap.png", probabilities, full_masks, dicom)

    def optional(self, chosen: OptionalFiles) -> tuple[str, ...]:
        """Return the names of the chosen optional files."""
        maps = (self.heatmap, *self.probabilities) if chosen.heatmap else ()
        return (*maps, *(self.full_masks if chosen.full_masks else ()))

    @property
    def all(self) -> tuple[str, ...]:
        """Return the names of all files that the image may have."""
        return (*self.written(ALL_OPTIONAL_FILES), *self.dicom)

    def pictures(self, chosen: OptionalFiles) -> tuple[str, ...]:
        """Return the PNG files of a run with these optional files."""
        return (self.mask, self.overlay, *self.optional(chosen))

    def written(self, chosen: OptionalFiles) -> tuple[str, ...]:
        """Return the files that a run with these optional files writes."""
        return (*self.pictures(chosen), self.record)


def render(
    image: Pixels,
    findings: Findings,
    structures: Sequence[Structure],
    threshold: float,
    files: ResultFiles,
    optional: OptionalFiles,
) -> dict[str, bytes]:
    """Return the PNG files of one image, name -> bytes: label map, overlay, and the chosen optional files.

    image: `(H, W)` uint8; all pictures have its height and width, except the heat map of several classes. threshold: of
    a single class, drawn on its heat map.
    """
    pictures = {
        files.mask: encode_label_map(findings.labels, [structure.color for structure in structures]),
        files.overlay: encode_png(draw_overlay(image, findings, structures)),
    }
    if optional.full_masks:
        masks = findings.masks.astype(np.uint8) * 255
        pictures |= {name: encode_png(mask) for name, mask in zip(files.full_masks, masks, strict=True)}
    if optional.heatmap:
        assert findings.probabilities is not None  # None for references only
        levels = probability_levels(findings.probabilities[1:])
        heatmap_picture = draw_heatmap(image, findings.probabilities, structures, threshold)
        pictures[files.heatmap] = encode_png(heatmap_picture)
        pictures |= {name: encode_png(level) for name, level in zip(files.probabilities, levels, strict=True)}
    return pictures


def describe(source: Source, image: Pixels, findings: Findings, segmenter: Segmenter) -> dict[str, Any]:
    """Return the findings as JSON values; shapes are in the format of annotation files."""
    return {
        "image": source.path.name,
        "frame": source.image.frame_number,
        "width": image.shape[1],
        "height": image.shape[0],
        "spacing_mm": {"row": source.spacing[0], "col": source.spacing[1]} if source.spacing else None,
        "spacing_from": source.spacing_from,
        "status": findings.status,
        "reasons": findings.reasons,
        "quality": findings.quality,
        "quality_note": findings.quality_note,
        "shapes": [shape.to_json() for shape in findings.shapes],
        "measurements": {key: measurement.value for key, measurement in findings.measurements.items()},
        "marks": {
            key: measurement.marks.round(2).tolist()
            for key, measurement in findings.measurements.items()
            if measurement.marks is not None
        },
        "intervals": {key: list(interval) for key, interval in findings.intervals.items()},
        "notes": {key: measurement.note for key, measurement in findings.measurements.items() if measurement.note},
        "confidence": findings.confidence,
        "shape_agreement": findings.shape_agreement,
        "suppressed": findings.suppressed,
        "task": segmenter.task.name,
        "model_sha256": segmenter.sha256,
        "threshold": segmenter.threshold,
        "notice": DISCLAIMER,
    }


def files_written(source: Source, class_names: Sequence[str], optional: OptionalFiles) -> tuple[str, ...]:
    """Return the names of the files that a run writes of an image or a loop."""
    if source.loop:
        return LoopFiles.of(source.name, video_suffix()).written
    return ResultFiles.of(source.name, class_names).written(optional)


def claim_files(output: OutputFolder, names: Sequence[str]) -> None:
    """Claim files of stage 4. Raises DataError when one of them exists and was not written by it.

    Raises DataError also when two images would have a file of the same name.

    Without an integrity list that names them, earlier results are recognised by the records of their images, and the
    pictures of an image in progress by their time.
    """
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise DataError(f"{doubled[0]} would be the name of a result of two images; rename one of the images")
    unclaimed = [path.name for path in output.unclaimed(names)]
    if unclaimed:
        recorded = recorded_files(output.folder, [name for name in unclaimed if name.endswith(".json")])
        output.adopt(recorded)
        if recorded and not output.has_earlier_run:
            output.adopt(_unfinished(output.folder, unclaimed, recorded))
    output.claim(names)


def _unfinished(folder: Path, unclaimed: Sequence[str], recorded: Sequence[str]) -> list[str]:
    """Return what an unfinished run of version 0.2 or earlier left besides complete results, given by `recorded`.

    That are its table, and the pictures of images that had no record yet: written just before or after the last record.
    """
    last = max((folder / name).stat().st_mtime for name in recorded if name.endswith(".json"))
    found = []
    for name in unclaimed:
        if name == RESULTS_TABLE and (folder / name).read_bytes().startswith(b"image,"):
            found.append(name)
        record = folder / f"{name.rpartition('_')[0]}.json"
        if name.endswith(".png") and not record.exists():
            found += [name] if abs((folder / name).stat().st_mtime - last) <= _SECONDS_PER_IMAGE else []
    return found


def write_results(
    output: OutputFolder, files: ResultFiles, pictures: Mapping[str, bytes], record: Mapping[str, Any]
) -> None:
    """Write the pictures and then the record, whose presence means that all files are of the same run.

    Optional files of an earlier run are removed, those of a loop that the file was before, and DICOM objects that were
    made of its results. Raises OSError.
    """
    output.remove(files.record)
    output.remove(*files.optional(ALL_OPTIONAL_FILES), *files_besides_record(Path(files.record).stem), *files.dicom)
    for name, data in pictures.items():
        output.write_bytes(name, data)
    output.write_json(files.record, record)


def check_output_folder(output: Path, images: Path | None, data: Path, annotations: Annotations) -> None:
    """Raise DataError when results would be written into the folder of the images, or into one of annotated data.

    images: the folder that is segmented; when it is that of annotated data, so are those of its annotations. data: the
    task's data folder.
    """
    folders = FORMATS[annotations.format].folders(annotations)
    roots = [data.resolve()]
    if images:
        roots.append(images.resolve())
        parts = Path(os.path.normpath(annotations.images)).parts
        if roots[-1].parts[-len(parts) :] == parts:
            roots.append(roots[-1].parents[len(parts) - 1])
    taken = [root / folder for root in roots for name in folders for folder in _meant(root, name)]
    taken += [images] if images else []
    if output.resolve() in {path.resolve() for path in taken}:
        raise DataError(f"{output}: results cannot be written among the images or annotations; choose another folder")


def _meant(root: Path, name: str) -> list[str]:
    """Return the folders that a section's name with `*` means, and the name itself."""
    return [name, *matching_folders(root, name).values()] if root.is_dir() else [name]


def check_results(output: OutputFolder) -> None:
    """Raise DataError when a result file of this run is no longer there; the table, which names it, is then removed."""
    try:
        output.check_complete()
    except DataError:
        with suppress(DataError):  # the folder is no longer there either
            output.remove(RESULTS_TABLE)
        raise


def outdated_names(folder: Path, sources: Sequence[Source]) -> list[str]:
    """Return names of results in `folder` that none of `sources` has any more, although their file is among them.

    A file whose number of frames or regions has changed leaves results of those that it no longer has, and so does a
    loop of whose frames an earlier version has made a result each. Results of files that are not among the sources are
    not outdated.
    """
    current, files = {source.name for source in sources}, {source.path.name for source in sources}
    parts = [source for source in sources if source.image.frame is not None or source.image.region is not None]
    records = {folder / f"{stem_of(source.path)}.json" for source in parts}
    for pattern in ("*_frame[0-9]*.json", "*_region[0-9]*.json"):
        records |= set(folder.glob(pattern))
    outdated = []
    for record in sorted(records):
        if record.stem not in current:
            with suppress(OSError, ValueError, KeyError, TypeError):  # not a record of an image
                if json.loads(record.read_text(encoding="utf-8"))["image"] in files:
                    outdated.append(record.stem)
    return outdated


def remove_results(output: OutputFolder, name: str, class_names: Sequence[str]) -> None:
    """Remove every result file of the image whose results are called `name`."""
    files = ResultFiles.of(name, class_names)
    output.adopt(recorded_files(output.folder, [files.record]))
    for file in (*files.all, *files_besides_record(name)):
        with suppress(OSError):  # the name is too long, so there is no such file
            output.remove(file)
