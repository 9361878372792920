"""Which images are to be segmented, what their results are called, and how large their pixels are."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sonoseg.errors import DataError
from sonoseg.io.images import SUFFIXES, list_images
from sonoseg.prepare.metadata import Meta, meta_of, read_metadata
from sonoseg.runs.split_tables import read_split
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.annotations import MaskFolder
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing

UNKNOWN = "unknown"
_OWN_NAMES = ("run",)
"""An image of this name would give a `run.json` of its own."""
_NOT_READ = (".dcm", ".dicom", ".ima", ".gif", ".webp", ".heic", ".jp2", ".mha", ".nii", ".nrrd", ".avi", ".mp4")
"""Images that a person expects to be read: each fails with its reason, rather than being passed over in silence."""


@dataclass(frozen=True)
class Source:
    """One image to be segmented. `name` begins its results' file names; `spacing_from` says who gave the spacing."""

    path: Path
    name: str
    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN


@dataclass(frozen=True)
class Inputs:
    """The images of a run, and what a person should be told about the choice."""

    sources: list[Source]
    remarks: list[str]


def from_folder(folder: Path, task: Task, spacing: Spacing | None = None, metadata: Path | None = None) -> Inputs:
    """Return the pictures directly in `folder`, by name.

    Spacing: `spacing` for all, else the table `metadata`, else one in the folder, under the name that the task gives or
    `metadata.csv`, else the task's beside the folder when it names every image. Masks that lie among a mask_folder
    task's images are left out; images in formats that are not read come last, and fail. Raises DataError for a
    missing or empty folder, and a table that cannot be read.
    """
    paths = list_images(folder)
    count = len(paths)
    paths = [path for path in paths if not _is_mask(path, task)]
    masks = count - len(paths)
    remarks = []
    if masks:
        remarks.append(f"{masks} masks (names ending in {_mask_suffix(task)}) lie among the images and are left out")
    if not paths:
        raise DataError(f"{folder}: no image in this folder; expected {', '.join(SUFFIXES)} files")
    table, source = ({}, "") if spacing else _spacing_table(folder, paths, task, metadata)
    sources = []
    for path, name in zip(paths, output_names(paths), strict=True):
        if spacing:
            sources.append(Source(path, name, spacing, "--spacing"))
            continue
        known = meta_of(table, path)
        sources.append(Source(path, name, known.spacing, source) if known and known.spacing else Source(path, name))
    others = [path for path in folder.iterdir() if path.suffix.lower() in _NOT_READ and path.is_file()]
    sources += [Source(path, path.name) for path in sorted(others)]
    without = sum(one.spacing is None for one in sources[: len(paths)])
    if without:
        remarks.append(f"pixel spacing unknown for {without} of {len(paths)} images: their lengths are in pixels only")
    return Inputs(sources, remarks)


def check_apart(folder: Path, results: Path) -> None:
    """Raise DataError when results would lie among the images."""
    if results.resolve() == folder.resolve():
        raise DataError(f"{folder}: results cannot go among the images; name another folder with --output")


def from_test_split(workspace: Workspace, task: Task) -> Inputs:
    """Return the original images of the test split, with the spacing that stage 1 found. Raises DataError if none."""
    table = workspace.split_table("test")
    if not table.is_file():
        raise DataError(f"{table}: no such table; name a folder of images with --images, or run stage 1 first")
    samples = read_split(table, task.class_names)
    paths = [workspace.locate(sample.image_path) for sample in samples]
    sources = [
        Source(path, name, sample.spacing, table.name if sample.spacing else UNKNOWN)
        for path, name, sample in zip(paths, output_names(paths), samples, strict=True)
    ]
    if not sources:
        raise DataError(f"{table}: the test split is empty; name a folder of images with --images")
    return Inputs(sources, [f"no --images given: the {len(sources)} images of the test split are used"])


def output_names(paths: Sequence[Path]) -> list[str]:
    """Return one name per path, the same for the same paths, all different also where case or Unicode form is ignored.

    A name is the file's stem; where several share it, the suffix is added (`a_png`, `a_jpg`), then a number.
    """
    shared = Counter([*_OWN_NAMES, *(_folded(path.stem) for path in paths)])
    taken = {stem for stem, count in shared.items() if count == 1}
    names: list[str] = []
    for path in paths:
        name = path.stem
        if shared[_folded(name)] > 1:
            plain = name = f"{path.stem}_{path.suffix.lstrip('.')}"
            number = 2
            while _folded(name) in taken:
                name, number = f"{plain}_{number}", number + 1
            taken.add(_folded(name))
        names.append(name)
    return names


def _folded(name: str) -> str:
    """Return what is equal for names that are one on some disks: those of other case, or other Unicode form."""
    return unicodedata.normalize("NFC", name).casefold()


def _mask_suffix(task: Task) -> str:
    return task.annotations.mask_suffix if isinstance(task.annotations, MaskFolder) else ""


def _is_mask(path: Path, task: Task) -> bool:
    suffix = _mask_suffix(task)
    return bool(suffix) and path.stem.endswith(suffix)


def _spacing_table(
    folder: Path, paths: Sequence[Path], task: Task, metadata: Path | None
) -> tuple[dict[str, Meta], str]:
    if metadata is not None:
        return read_metadata(metadata, task), metadata.name
    for name in dict.fromkeys((task.metadata.file, "metadata.csv")):
        if (folder / name).is_file():
            return read_metadata(folder / name, task), name
    beside = folder.resolve().parent / task.metadata.file
    if beside.is_file():
        # A dataset's table lies beside its folder of images. One that does not name them all is about other images,
        # which may share a name with these.
        with suppress(DataError):
            table = read_metadata(beside, task)
            if all(meta_of(table, path) for path in paths):
                return table, beside.name
    return {}, ""
