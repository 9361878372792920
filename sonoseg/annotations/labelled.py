"""What the formats of annotation tools share: labels, names of images, and images that nobody has annotated."""

import re
import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import TypeVar
from urllib.parse import unquote

from sonoseg.annotations.base import AnnotatedImage, folder_inside, with_ids
from sonoseg.annotations.frames import FrameProblem, ImageFiles
from sonoseg.annotations.unread import Unread
from sonoseg.errors import DataError, choices
from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.names import is_inside
from sonoseg.io.reading import read_text_file
from sonoseg.schema.annotation_formats import LabelledFormat
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size

MAX_SHAPES = 10_000
"""Most shapes of an image that are read, far above what anyone draws: each may take as long as a mask of its image."""

MAX_FAULTS = 100_000
"""A file with more faults than these is refused as a whole: they would take far more memory than the file."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80

_UPLOAD = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Entry:
    """What a file says of an image; the fields are those of `AnnotatedImage`."""

    shapes: tuple[tuple[int, Shape | Bitmap], ...] = ()
    size: Size | None = None
    unread: Unread = field(default_factory=Counter)


class Labels:
    """The labels of a format's files: which structure each means, and how often those occur that mean none."""

    def __init__(self, section: LabelledFormat, structures: Sequence[Structure]):
        self._structures = {structure.name: structure for structure in structures}
        self._mapped = section.labels
        self._unknown: Counter[str] = Counter()

    def structure(self, label: str) -> Structure | None:
        """Return what a label means; None for one that is ignored, or unknown and then counted for `faults`."""
        name = self._mapped.get(label, label)
        if name is None:
            return None
        if name not in self._structures:
            self._unknown[label] += 1
        return self._structures.get(name)

    def label_of(self, structure: str) -> str:
        """Return the label with which a structure is written: the first that means it, else its own name."""
        return next((label for label, name in self._mapped.items() if name == structure), structure)

    def faults(self, where: str) -> list[Fault]:
        """Return an error for each unknown label; `where` names the file or folder."""
        known = choices(list(self._structures))
        return [
            error(
                f"{where}, label {quoted(label)}",
                f"{count} {'shape' if count == 1 else 'shapes'} of no class; map it to {known} in "
                "annotations.labels of the task, or to null to ignore it",
                "labels",
            )
            for label, count in sorted(self._unknown.items())
        ]


class ImageFinder:
    """The images of a data folder, found by the names that annotation files give them.

    Annotation files name an image by its file name, by a path of the machine on which it was annotated, of Windows as
    well, or by an address. Only the last part counts. Names of frames are those of `frames.ImageFiles`.

    source: name of the file whose frames the names of CVAT mean; set when an annotation file states it.
    """

    def __init__(self, data: Path, section: LabelledFormat):
        """Raises DataError when the folder of the images is missing."""
        images, self.faults = folder_inside(data, section.images)
        self.image_of, more = with_ids(images, data)
        self.faults += more
        self.files, self.source = ImageFiles(self.image_of), ""
        self._refused = {path.name for path in images} - {path.name for path in self.image_of.values()}
        self._refused |= {stem_of(Path(name)) for name in self._refused}

    def find(self, name: str) -> str | None:
        """Return the id of the image of this name, with or without its extension; None when there is none."""
        found = self._look_up(name)[0]
        return found[0] if found else None

    def problem(self, name: str, otherwise: str) -> str:
        """Return why there is no image of this name: what is wrong with the number of a frame, or `otherwise`."""
        return self._look_up(name)[1] or otherwise

    def _look_up(self, name: str) -> tuple[tuple[str, ImageRef] | None, str]:
        problem = ""
        for candidate in spellings(name):
            try:
                if found := self.files.find(candidate, self.source):
                    return found, ""
            except FrameProblem as reason:
                problem = problem or str(reason)
        return None, problem

    def is_refused(self, name: str) -> bool:
        """Return whether the image of this name, with or without its extension, has a fault of its own already."""
        return base_name(name) in self._refused


def spellings(name: str) -> tuple[str, ...]:
    """Return the file names that a name in an annotation file may mean, the most probable first."""
    last = base_name(name)
    return last, unquote(last), _UPLOAD.sub("", unquote(last))


def base_name(name: str) -> str:
    """Return the last part of a path of any system, or of an address: `d=images/a.png` gives `a.png`."""
    return PureWindowsPath(name.rsplit("=", 1)[-1] if "?" in name else name).name


def annotated_images(
    entries: Mapping[str, Entry], finder: ImageFinder, section: LabelledFormat, data: Path, asked: Iterable[str] = ()
) -> tuple[list[AnnotatedImage], list[Fault]]:
    """Return the annotated images, sorted by id, and the faults of images without a shape.

    entries: id -> its shapes; without shapes the file states that the image shows no structure. asked: ids in the files
    of which nobody can tell whether they were annotated, as the format says nothing about it; those of images that are
    in no file are added. `section.without_annotation` decides about these. Of a file with several frames, those in no
    file are left out without a fault, those in a file too unless it is `empty`; where no frame remains, a warning names
    the file.
    """
    items: list[AnnotatedImage] = []
    faults: list[Fault] = []
    open_ids = {*asked, *(finder.image_of.keys() - entries.keys())}
    for identity, image in finder.image_of.items():
        if identity in finder.files.frames_of:
            frames = _annotated_frames(identity, entries, finder, section, open_ids)
            if not frames:
                message = f"none of its {finder.files.frames_of[identity]} frames has a shape; left out"
                faults.append(warning(image.relative_to(data).as_posix(), message, "left_out", identity))
            items += frames
            continue
        entry = entries.get(identity, Entry())
        if identity in open_ids and not entry.shapes:
            where = image.relative_to(data).as_posix()
            if section.without_annotation == "leave_out":
                faults.append(warning(where, "has no shape; left out", "left_out", identity))
                continue
            if section.without_annotation is None:
                message = (
                    "has no shape: set annotations.without_annotation in the task to empty, where such images show no "
                    "structure, or to leave_out, where nobody has annotated them"
                )
                faults.append(error(where, message, "not_annotated", identity))
                continue
        items.append(_item(identity, ImageRef(image), entry))
    return sorted(items, key=lambda item: item.id), faults


def _annotated_frames(
    file: str, entries: Mapping[str, Entry], finder: ImageFinder, section: LabelledFormat, open_ids: Collection[str]
) -> list[AnnotatedImage]:
    """Return the frames of the file with this id that have a shape, or of which it is known that they show none."""
    frames = []
    for identity, image in finder.files.frames(file):
        entry = entries.get(identity, Entry())
        listed = identity in entries and (identity not in open_ids or section.without_annotation == "empty")
        if entry.shapes or listed:
            frames.append(_item(identity, image, entry))
    return frames


def _item(identity: str, image: ImageRef, entry: Entry) -> AnnotatedImage:
    return AnnotatedImage(identity, image, shapes=entry.shapes, size=entry.size, unread=entry.unread)


def read_annotation_file(data: Path, name: str) -> bytes:
    """Return the bytes of the file, relative to the data folder, with the annotations of all images.

    Raises DataError for a missing file, one outside the data folder, and what `read_text_file` refuses; OSError.
    """
    path = data / name
    if not is_inside(path, data):
        raise DataError("leads out of the data folder; copy the file there", path)
    try:
        return read_text_file(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("no such annotation file; put it there or name it in annotations.file", path) from None


def first_shapes(entries: Sequence[_T], faults: list[Fault], where: str, image: str | None = None) -> Sequence[_T]:
    """Return the first `MAX_SHAPES` entries of an image; a fault is added where there are more."""
    if len(entries) > MAX_SHAPES:
        faults.append(too_many_shapes(where, image))
    return entries[:MAX_SHAPES]


def too_many_shapes(where: str, image: str | None) -> Fault:
    """Return the fault of an image with more than `MAX_SHAPES` shapes."""
    return error(where, f"more than {MAX_SHAPES} shapes; remove some", "shape", image)


def check_count(faults: Sequence[Fault], path: Path | None, again: str = "export it again") -> None:
    """Raise DataError for more than `MAX_FAULTS` faults in a file or folder; again: what to do."""
    if len(faults) > MAX_FAULTS:
        raise DataError(f"more than {MAX_FAULTS} faults, the first: {faults[0]}; {again}", path)


def quoted(value: object) -> str:
    """Return a value of a file for a message, as Python writes it; a long one is shortened."""
    return _SHORT.repr(value)
