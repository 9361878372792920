"""Results of stage 4 as annotations of a tool, in which a person corrects them.

They are made of the records and label maps that were written, so that results of earlier runs are among them.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sonoseg.annotations import FORMATS, Annotation
from sonoseg.annotations.shapes_json import KIND_OF
from sonoseg.annotations.shapes_of_masks import BITMAP, has_hole, kind_of, outlines, stand_in_lines
from sonoseg.errors import DataError
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.inference.results import ResultFiles
from sonoseg.inference.sources import Source
from sonoseg.inference.table import Row
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.limits import ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.io.png import encode_png
from sonoseg.io.readers import is_dicom, read_image
from sonoseg.postprocess.gaps import full_masks
from sonoseg.postprocess.placement import place_pixels
from sonoseg.prepare.shape_checks import check_shapes
from sonoseg.runs.output_folder import OutputFolder
from sonoseg.schema.annotation_formats import annotations_section
from sonoseg.schema.annotations import Structure
from sonoseg.schema.task import Task
from sonoseg.types import Mask, Pixels

FOLDER = "annotations"
"""Folder of the annotations in that of the results."""

BY_STEM = ("labelme", "shapes_json")
"""Formats that name an image without its extension, so that `a.png` and `a.jpg` need the names of their results."""

EDITED = (
    "was changed since it was written, for example corrected by a person, and is not overwritten; move it away, or "
    "choose another output folder"
)


@dataclass
class _Remarks:
    """What is said about the annotations of all images: numbers of shapes by kind, and of images."""

    kinds: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    frames: int = 0
    renamed: int = 0
    loops: int = 0
    pictures: int = 0
    other_kinds: Counter[str] = field(default_factory=Counter)


class ToolAnnotations:
    """The annotations of a run: its images in one format, below the output folder.

    They are those of whole frames: the regions of a DICOM file have one annotation. labelme opens no DICOM: such a
    frame has a picture beside its annotation, black around its regions.
    """

    def __init__(self, output: OutputFolder, name: str, task: Task, limits: ReadLimits):
        """name: of the format. The labels are those of the task, where its annotations have the same format."""
        labels = getattr(task.annotations, "labels", {}) if task.annotations.format == name else {}
        more = {"annotations": "."} if name == "labelme" else {}
        self._name, self._format = name, FORMATS[name]
        self._section = annotations_section(name, **more, **({"labels": labels} if labels else {}))
        self._output, self._task, self._limits = output, task, limits
        self._remarks = _Remarks()
        self._names: dict[ImageRef, str] = {}

    def files(self, sources: Sequence[Source]) -> list[str]:
        """Return the names of the files of these images, below the output folder.

        The first call names the images, and has to be with all images of the run.
        """
        shared = self._format.shared_files(self._section)
        single = [
            name
            for frame, regions in self._frames(sources).items()
            for name in (*self._files_of(frame), *filter(None, [self._picture_of(frame, regions[0])]))
        ]
        return [f"{FOLDER}/{os.path.normpath(name)}" for name in (*shared, *single)]

    def check(self, sources: Sequence[Source]) -> None:
        """Raise DataError when a file of these images was changed by somebody; called before the work."""
        edited = self._output.edited(self.files(sources))
        if edited:
            more = f" (and {len(edited) - 1} more)" if len(edited) > 1 else ""
            raise DataError(f"{EDITED}{more}", edited[0])

    def write(self, sources: Sequence[Source], rows: Sequence[Row]) -> list[str]:
        """Write the annotations of all images but those that failed; return remarks.

        rows: of `results.csv`, in the order of `sources`. Annotations that an earlier run has written of images that
        failed now are removed. Raises DataError for a file that cannot be told from a corrected one, and OSError.
        """
        self._frames(sources)
        pairs = list(zip(sources, rows, strict=True))
        done = [source for source, row in pairs if row["status"] != "failed"]
        with tempfile.TemporaryDirectory() as made:
            try:
                self._format.write(Path(made), self._section, self._annotations(done, Path(made)), sync=False)
            except ValueError as problem:
                raise DataError(f"{problem}; choose another format") from None
            files = {f"{FOLDER}/{path.relative_to(made).as_posix()}": path for path in Path(made).rglob("*.*")}
            self.check(done)
            for name, path in sorted(files.items()):
                self._check_unchanged(name, path.read_bytes())
            for name, path in sorted(files.items()):
                self._output.write_bytes(name, path.read_bytes())
        failed = [source for source, row in pairs if row["status"] == "failed"]
        self._output.remove(*(name for name in self.files(failed) if name not in files))
        return self._lines()

    def _check_unchanged(self, name: str, data: bytes) -> None:
        """Raise DataError for a file of an unfinished run, of which no list has the digest, with other bytes."""
        path = self._output.path(name)
        if path.is_file() and not self._output.is_listed(name) and path.read_bytes() != data:
            raise DataError(EDITED.replace("was changed", "may have been changed"), path)

    def _fits(self, source: Source) -> bool:
        """Return whether the format can name an image: no loop, and labelme opens the first frame of a file only."""
        return source.loop is None and (self._name != "labelme" or source.image.frame is None)

    def _frames(self, sources: Sequence[Source]) -> dict[ImageRef, list[Source]]:
        """Return frame -> its images, one or a few regions, without those that the format cannot name."""
        frames: dict[ImageRef, list[Source]] = {}
        for source in filter(self._fits, sources):
            frames.setdefault(replace(source.image, region=None), []).append(source)
        taken = {*self._names.values(), *(source.name for source in sources if not source.image.region_number)}
        for frame, (first, *_) in frames.items():
            if frame not in self._names:
                self._names[frame] = self._new_name(frame, first, taken)
                taken.add(self._names[frame])
        return frames

    def _new_name(self, frame: ImageRef, first: Source, taken: set[str]) -> str:
        """Return the name of a frame without an extension: that of its results, or of the frame of several regions."""
        if not first.image.region_number:
            return first.name
        return frame.name if frame.name not in taken else f"{frame.name}_{frame.path.suffix.lstrip('.')}"

    def _files_of(self, frame: ImageRef) -> list[str]:
        return self._format.image_files(self._section, self._image_name(frame))

    def _picture_of(self, frame: ImageRef, source: Source) -> str | None:
        """Return the name of the picture of a frame beside its annotation; None where the tool opens the file."""
        return f"{self._names[frame]}.png" if self._name == "labelme" and is_dicom(source.path) else None

    def _image_name(self, frame: ImageRef) -> str:
        if frame.frame is not None:
            return f"{self._names[frame]}.png"
        suffix = frame.path.name.removeprefix(stem_of(frame.path))
        return f"{self._names[frame]}{suffix}" if self._name in BY_STEM else frame.path.name

    def _annotations(self, sources: Sequence[Source], made: Path) -> Iterator[Annotation]:
        """Yield the annotation of each frame, and write its picture, where it has one, into the folder `made`."""
        folder = (self._output.folder / FOLDER).resolve()
        frames = self._frames(sources)
        self._remarks.frames = len({source.image for source in sources if source.image.frame is not None})
        self._remarks.loops = sum(source.loop is not None for source in sources)
        for frame, regions in frames.items():
            image, picture = self._image_name(frame), self._picture_of(frame, regions[0])
            self._remarks.renamed += frame.frame is None and image != frame.path.name
            shapes: list[Shape | Bitmap] = []
            for source in regions:
                files = ResultFiles.of(source.name, self._task.class_names)
                record = json.loads(self._output.path(files.record).read_bytes())
                shapes += self._shapes(files, record["shapes"])
            self._remarks.kinds.update(kind_of(shape) for shape in shapes)
            self._remarks.empty += not shapes
            path = picture or Path(os.path.relpath(frame.path.resolve(), folder)).as_posix()
            if picture:
                self._remarks.pictures += 1
                (made / picture).write_bytes(encode_png(self._pixels(regions)))
            yield Annotation(image, tuple(shapes), size=(record["height"], record["width"]), path=path)

    def _pixels(self, regions: Sequence[Source]) -> Pixels:
        """Return a frame `(H, W)` uint8 with the regions that were segmented, black around them."""
        shown = []
        for source in regions:
            record = read_image(source.image, self._limits)
            pixels = record.pixels
            if record.region and record.frame_size:
                pixels = place_pixels(pixels, record.region, record.frame_size)
            shown.append(pixels)
        return np.maximum.reduce(shown)

    def _shapes(self, files: ResultFiles, entries: Sequence[Any]) -> Iterator[Shape | Bitmap]:
        """Yield the shapes of an image; entries: the fitted ones, as its record has them."""
        fitted = [
            Shape(name, KIND_OF[word], SHAPE_KINDS[KIND_OF[word]].read_points(points)) for name, word, points in entries
        ]
        labels = read_mask(self._output.path(files.mask), self._limits)
        masks = full_masks(labels, self._task.structures, self._task.postprocessing)
        for structure, mask in zip(self._task.structures, masks, strict=True):
            own = [shape for shape in fitted if shape.structure == structure.name]
            if mask.any():
                yield from self._of_structure(structure, own, mask)

    def _of_structure(self, structure: Structure, fitted: Sequence[Shape], mask: Mask) -> Sequence[Shape | Bitmap]:
        """Return the fitted shape where it reproduces the mask `(H, W)` bool, which has a pixel, else its outlines."""
        if structure.shape == "line":
            return fitted
        if structure.shape != "region" and fitted:
            if self._is_reproduced(structure, fitted[0], mask):
                return fitted
            if not self._format.mixed_kinds:
                self._remarks.other_kinds[structure.shape] += 1
                return fitted
        with_bitmaps = BITMAP not in self._format.written_as
        if not with_bitmaps and has_hole(mask):
            self._remarks.kinds[BITMAP] += 1
        return outlines(mask, structure.name, with_bitmaps)

    def _is_reproduced(self, structure: Structure, shape: Shape, mask: Mask) -> bool:
        height, width = mask.shape
        if any(fault.level == "error" for fault in check_shapes(((0, shape),), (height, width), "", "")):
            return False
        least: float = getattr(self._task.review.shape_agreement, structure.shape)
        return SHAPE_KINDS[structure.shape].agreement(shape.points, mask) >= least

    def _lines(self) -> list[str]:
        """Return what was written in another way than the results are."""
        remarks, name = self._remarks, self._name
        lines = ["annotations have shapes only: status, quality, confidence and measurements are in the JSON files"]
        lines += stand_in_lines(remarks.kinds, name, self._format)
        for kind, count in remarks.other_kinds.items():
            number = f"1 {kind} does" if count == 1 else f"{count} {kind}s do"
            lines.append(
                f"{number} not reproduce the mask, and is written all the same: {name} has no other kind there"
            )
        if remarks.frames:
            how = "left out: it opens the first frame of a file only" if name == "labelme" else "named as their results"
            lines.append(f"{remarks.frames} frames of files with several are {how}")
        if remarks.loops:
            number = "1 loop is" if remarks.loops == 1 else f"{remarks.loops} loops are"
            lines.append(f"{number} left out: annotations are written of single images")
        if remarks.pictures:
            number = "1 DICOM file" if remarks.pictures == 1 else f"{remarks.pictures} DICOM files"
            lines.append(f"{number}, of which it opens none: a picture of each is beside its annotation")
        if remarks.renamed:
            lines.append(f"{remarks.renamed} images share a name without the extension, and are named as their results")
        if remarks.empty and not self._format.states_empty:
            number = "1 image shows" if remarks.empty == 1 else f"{remarks.empty} images show"
            lines.append(f"{number} no structure; {name} does not tell that from images that nobody annotated")
        return [f"{name}: {line}" for line in lines]
