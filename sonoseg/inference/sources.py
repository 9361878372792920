"""The images of a run of stage 4: files and frames, the names of their results, and their pixel spacing."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from sonoseg.annotations import FORMATS
from sonoseg.errors import DataError, NoImageError, counted, first_of, is_machine_error, printable
from sonoseg.io.file_state import FileState, file_state
from sonoseg.io.image_ref import UNKNOWN, ImageHeader, ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.names import name_key
from sonoseg.io.readers import image_folders_below, image_suffixes, is_dicom, is_image, list_images, read_image_header
from sonoseg.prepare.metadata import ImageMetadata, meta_of, read_metadata
from sonoseg.runs.split_tables import Sample, read_split
from sonoseg.runs.workspace import INFERENCE_RECORD, Workspace
from sonoseg.schema.annotations import Metadata
from sonoseg.schema.task import Task
from sonoseg.sizes import Size, Spacing

_RESERVED_NAMES = (Path(INFERENCE_RECORD).stem,)
"""An image of this name would give a `run.json` of its own."""
_LISTED = 3
"""Names of files in a remark."""
UNSUPPORTED_SUFFIXES = (".gif", ".webp", ".heic", ".jp2", ".nrrd", ".mkv", ".webm", ".wmv")
"""Suffixes of images in other formats: each is listed as failed with its reason, and not ignored."""


@dataclass(frozen=True)
class Loop:
    """What a file states about its loop: size (height, width) of a frame, their number, and the time between two.

    frame_seconds: None when it is unknown.
    """

    size: Size
    frames: int
    frame_seconds: float | None = None


@dataclass(frozen=True)
class Source:
    """An image to be segmented, or a loop: `loop` is None for a single image.

    `name` begins the file names of its results; `spacing_from` is where the spacing comes from: a flag, a table or the
    file itself; `problem` is why the file's header cannot be read, empty when it can.
    """

    image: ImageRef
    name: str
    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN
    problem: str = ""
    loop: Loop | None = None

    @property
    def path(self) -> Path:
        return self.image.path


@dataclass(frozen=True)
class Inputs:
    """The images of a run, and remarks on their choice for the terminal."""

    sources: list[Source]
    remarks: list[str]


@dataclass(frozen=True)
class SpacingOptions:
    """What is given about the pixel spacing of a folder of images.

    spacing: of all images, None when it is not given; spacing_from: what it is recorded as. metadata: table of the
    spacings, None when it is not given.
    """

    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN
    metadata: Path | None = None


NOTHING_GIVEN = SpacingOptions()


def from_folder(
    folder: Path,
    task: Task,
    given: SpacingOptions = NOTHING_GIVEN,
    limits: ReadLimits = DEFAULT_LIMITS,
    keep_frame: bool = False,
) -> Inputs:
    """Return the images directly in `folder`, by name.

    A file with several pictures gives one image per picture, a loop is one source, and a DICOM file with several
    ultrasound regions side by side gives one for each; keep_frame: whole frames instead of their regions.

    Spacing: the one that is `given`, else from the table that is given, else from one in the folder, under the name
    that the task gives or `metadata.csv`, else from the task's beside the folder when it names every image, else from
    the file. Masks that lie among a mask_folder task's images are left out, and DICOM files without an image, such as
    reports; images in formats that are not read come last, and fail. Raises DataError for a missing or empty folder,
    and a table that cannot be read.
    """
    paths = list_images(folder)
    count = len(paths)
    annotations = FORMATS[task.annotations.format]
    paths = [path for path in paths if not annotations.is_annotation(path, task.annotations)]
    masks = count - len(paths)
    remarks = []
    if masks:
        remarks.append(f"{masks} masks, by their names, lie among the images and are left out")
    files = [_File(path, *_header(path, limits)) for path in paths]
    remarks += _file_remarks(files, keep_frame)
    files = [file for file in files if file.has_image]
    if not files:
        raise DataError(_nothing_here(folder))
    paths = [file.path for file in files]
    table, table_name = ({}, "") if given.spacing else _spacing_table(folder, paths, task, given.metadata)
    images = [(image, file) for file in files for image in file.images(keep_frame)]
    sources = []
    for (image, file), name in zip(images, output_names([image for image, _ in images]), strict=True):
        known = meta_of(table, image.path)
        if given.spacing:
            spacing: tuple[Spacing | None, str] = given.spacing, given.spacing_from
        elif known and known.spacing:
            spacing = known.spacing, table_name
        else:
            spacing = file.header.spacing_of(image)
        sources.append(Source(image, name, *spacing, file.problem, file.loop))
    remarks += _overridden(given, [file.header.spacing_of(image)[0] for image, file in images])
    without = sum(source.spacing is None for source in sources)
    if without:
        remarks.append(
            f"pixel spacing unknown for {without} of {len(sources)} images: their lengths are in pixels only"
        )
    others = [path for path in folder.iterdir() if path.suffix.lower() in UNSUPPORTED_SUFFIXES and path.is_file()]
    sources += [Source(ImageRef(path), path.name) for path in sorted(others) if not is_image(path)]
    return Inputs(sources, remarks)


def from_file(path: Path, limits: ReadLimits = DEFAULT_LIMITS, keep_frame: bool = False) -> list[Source]:
    """Return the images of one file, named as in a folder, with the spacings that it states.

    Raises NoImageError for a file that is no image, such as a DICOM report, DataError, and errors of the machine.
    """
    try:
        file = _File(path, read_image_header(path, limits), is_dicom(path), "", True)
    except OSError as error:
        if is_machine_error(error):
            raise
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    images = file.images(keep_frame)
    return [
        Source(image, name, *file.header.spacing_of(image), loop=file.loop)
        for image, name in zip(images, output_names(images), strict=True)
    ]


def from_test_split(workspace: Workspace, class_names: Sequence[str]) -> Inputs:
    """Return the original images of the test split, with the spacings of its table. Raises DataError if none."""
    table = workspace.split_table("test")
    if not table.is_file():
        raise DataError(
            f"{table}: no such table; choose a folder of images, or run stage 1 (train_test_data_preparation.py) first"
        )
    samples = read_split(table, class_names, workspace.root)
    sources = [
        Source(sample.image, name, sample.spacing, table.name if sample.spacing else UNKNOWN)
        for name, sample in zip(split_names(samples), samples, strict=True)
    ]
    if not sources:
        raise DataError(f"{table}: the test split is empty; choose a folder of images")
    return Inputs(sources, [f"no folder of images given: the {len(sources)} images of the test split are used"])


def split_names(samples: Sequence[Sample]) -> list[str]:
    """Return a name per image of a split: as `output_names`, or the ids where files of several folders share a name."""
    names = output_names([sample.image for sample in samples])
    files, ids = {name_key(sample.image.name) for sample in samples}, [sample.id for sample in samples]
    reserved = {*map(name_key, _RESERVED_NAMES)} & {*map(name_key, ids)}
    return names if len(files) == len(samples) or reserved else ids


def output_names(images: Sequence[ImageRef]) -> list[str]:
    """Return a name per image: the same for the same images, and all different also where case or Unicode form is
    ignored.

    A name is the file's stem, with the number of the frame if there are several; where several images share it, the
    suffix is added (`a_png`, `a_jpg`), then a number.
    """
    shared = Counter([*_RESERVED_NAMES, *(name_key(image.name) for image in images)])
    taken = {name for name, count in shared.items() if count == 1}
    names: list[str] = []
    for image in images:
        name = image.name
        if shared[name_key(name)] > 1:
            plain = name = f"{image.name}_{image.path.suffix.lstrip('.')}"
            number = 2
            while name_key(name) in taken:
                name, number = f"{plain}_{number}", number + 1
            taken.add(name_key(name))
        names.append(name)
    return names


@dataclass(frozen=True)
class _File:
    """A file of the folder with its header; of a file that cannot be read, `problem` is why."""

    path: Path
    header: ImageHeader
    is_dicom: bool
    problem: str
    has_image: bool

    def images(self, keep_frame: bool) -> list[ImageRef]:
        """Return its images; one for a loop, and for a file that cannot be read."""
        refs = self.header.loop_refs if self.header.is_loop else self.header.refs
        return refs(self.path, keep_frame)

    @property
    def loop(self) -> Loop | None:
        header = self.header
        return Loop(header.size, header.frames, header.frame_seconds) if header.is_loop else None


def _header(path: Path, limits: ReadLimits) -> tuple[ImageHeader, bool, str, bool]:
    """Return the header of a file, whether it is DICOM, why it cannot be read, and whether it has an image."""
    try:
        return *_cached_header(path, file_state(path), limits), "", True
    except (DataError, OSError) as error:
        if is_machine_error(error):
            raise
        problem = str(error) if isinstance(error, DataError) else ""
        return ImageHeader((0, 0)), False, problem, not isinstance(error, NoImageError)


@lru_cache(maxsize=2**16)
def _cached_header(path: Path, state: FileState, limits: ReadLimits) -> tuple[ImageHeader, bool]:
    """Return the header of a file in this state, and whether it is DICOM: a watched folder is listed each second.

    Raises DataError.
    """
    return read_image_header(path, limits), is_dicom(path)


def _overridden(given: SpacingOptions, stated: Sequence[Spacing | None]) -> list[str]:
    """Return that the spacing which is given for all images differs from what some of their files state."""
    own = [one for one in stated if one and given.spacing and not np.allclose(one, given.spacing, rtol=0.01)]
    return [
        f"{len(own)} of {len(stated)} images state another pixel spacing than given, such as {row:g} x {col:g} mm"
        for row, col in own[:1]
    ]


def _nothing_here(folder: Path) -> str:
    below = image_folders_below(folder)
    if not below:
        return f"{folder}: no image in this folder; expected {', '.join(image_suffixes())} files"
    return f"{folder}: no image in this folder itself, but in {below[0]}; sub-folders are not read: name one of them"


def _file_remarks(files: Sequence[_File], keep_frame: bool) -> list[str]:
    """Return what is said about the DICOM files of a folder."""
    remarks = []
    left_out = [printable(file.path.name) for file in files if not file.has_image]
    if left_out:
        has, is_left = ("has", "is") if len(left_out) == 1 else ("have", "are")
        remarks.append(
            f"{counted(len(left_out), 'DICOM file')} {has} no image, such as a report, and {is_left} left out: "
            f"{first_of(left_out, _LISTED)}"
        )
    bare = sum(file.is_dicom and not file.header.regions for file in files)
    if bare and not keep_frame:
        number = "1 DICOM file states" if bare == 1 else f"{bare} DICOM files state"
        remarks.append(f"{number} no ultrasound regions: nothing around the image could be removed, such as a name")
    return remarks


def _spacing_table(
    folder: Path, paths: Sequence[Path], task: Task, metadata: Path | None
) -> tuple[dict[str, ImageMetadata], str]:
    if metadata is not None:
        return read_metadata(metadata, task.metadata, task.patients), metadata.name
    for name in dict.fromkeys((task.metadata.file, Metadata().file)):
        if (folder / name).is_file():
            return read_metadata(folder / name, task.metadata, task.patients), name
    beside = folder.resolve().parent / task.metadata.file
    if beside.is_file():
        # A dataset's table lies beside its folder of images. One that does not name them all is about other images,
        # which may share a name with these.
        with suppress(DataError):
            table = read_metadata(beside, task.metadata, task.patients)
            if all(meta_of(table, path) for path in paths):
                return table, beside.name
    return {}, ""
