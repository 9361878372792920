"""Decode every image and its annotation once, and report all their faults."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sonoseg.annotations import AnnotatedImage, MaskFile
from sonoseg.annotations.mask_values import class_indices, fill_label_outlines, is_thin
from sonoseg.errors import DataError, LimitError, is_machine_error
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.image_ref import UNKNOWN
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import encode_label_map, read_mask
from sonoseg.io.readers import read_image
from sonoseg.io.readers.opening import read_file
from sonoseg.prepare.duplicates.near_duplicates import thumbnail_of
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.prepare.rasterize import label_map
from sonoseg.prepare.shape_checks import check_shapes
from sonoseg.prepare.statistics import StructureStatistics, measure_structures
from sonoseg.schema.annotations import Structure, drawing_order, label_values
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing
from sonoseg.types import Pixels

JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True)
class VerifiedImage:
    """An image that can be used, with its mask encoded as PNG (a few kB, so thousands fit into memory).

    `area_px` are pixels per class, `statistics` those of the classes it shows; `sha256` is of the image file's bytes,
    `pixels_sha256` and `labels_sha256` are of decoded pixels; `thumbnail` is the image in 32 x 32 pixels.
    `spacing`, `spacing_from` and `patient` are what the image file itself states, see `ImageRecord`.
    """

    item: AnnotatedImage
    height: int
    width: int
    area_px: dict[str, int]
    mask_png: bytes
    sha256: str
    pixels_sha256: str
    labels_sha256: str
    statistics: dict[str, StructureStatistics]
    thumbnail: Pixels
    spacing: Spacing | None = None
    spacing_from: str = UNKNOWN
    patient: str | None = None

    @property
    def present(self) -> dict[str, bool]:
        return {name: area > 0 for name, area in self.area_px.items()}

    def share(self, name: str) -> float:
        """Return the part of the image, 0 to 1, that a class covers."""
        return self.area_px[name] / (self.height * self.width)


def verify(
    items: Sequence[AnnotatedImage],
    data: Path,
    task: Task,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Iterator[tuple[VerifiedImage | None, list[Fault]]]:
    """Check all items on all cores, and yield what `check` returns for each, in order.

    Faults: an image or mask that cannot be read, sizes that differ, values or shapes that do not fit the task. Only the
    encoded masks stay in memory. Raises the errors of the machine, which are no faults of an image.
    """
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    try:
        yield from pool.map(lambda item: check(item, data, task, limits), items)
    finally:
        pool.shutdown(cancel_futures=True)


def check(
    item: AnnotatedImage, data: Path, task: Task, limits: ReadLimits = DEFAULT_LIMITS
) -> tuple[VerifiedImage | None, list[Fault]]:
    """Decode one image and make its label map, at the image's own size. None when an error makes it unusable."""
    where = item.name_in(data)
    try:
        file = read_file(item.image.path, limits)
        record = read_image(item.image, limits, file)
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        return None, [error(where, _reason(problem), _kind(problem), item.id)]
    image = record.pixels
    labels, faults = read_labels(item, image.shape, data, task.structures, limits)
    if labels is None:
        return None, faults
    area = np.bincount(labels.ravel(), minlength=len(task.class_names) + 1)
    if area[0] == labels.size:
        faults.append(warning(where, "its mask is empty: nothing is annotated on this image", "empty", item.id))
    elif area[0] == 0:
        faults.append(warning(where, "its mask covers the whole image", "full", item.id))
    grey = np.flatnonzero(np.bincount(image.ravel(), minlength=256))
    if len(grey) == 1:
        faults.append(warning(where, f"every pixel has the grey value {grey[0]}", "constant", item.id))
    elif len(grey) == 2:
        message = f"has only the grey values {grey[0]} and {grey[1]}: is it a mask?"
        faults.append(warning(where, message, "constant", item.id))
    result = VerifiedImage(
        item=item,
        height=image.shape[0],
        width=image.shape[1],
        area_px={name: int(area[index]) for index, name in enumerate(task.class_names, start=1)},
        mask_png=encode_label_map(labels, task.colors),
        sha256=hashlib.sha256(file).hexdigest(),
        pixels_sha256=_pixel_hash(image),
        labels_sha256=_pixel_hash(labels),
        statistics=measure_structures(image, labels, task.structures),
        thumbnail=thumbnail_of(image),
        spacing=record.spacing,
        spacing_from=record.spacing_from,
        patient=record.patient,
    )
    return result, faults


def read_labels(
    item: AnnotatedImage, size: tuple[int, ...], data: Path, structures: Sequence[Structure], limits: ReadLimits
) -> tuple[Pixels | None, list[Fault]]:
    """Return the label map `(H, W)` uint8 of an annotation for its image of `size`, and its faults; see `verify`.

    None when an error makes the annotation unusable.
    """
    where = item.name_in(data)
    if item.size and item.size != size:
        sizes = f"{item.size[1]}x{item.size[0]} pixels, this one has {size[1]}x{size[0]}"
        message = f"was annotated as an image of {sizes}; annotate this one, or put that one here"
        return None, [error(where, message, "annotated_size", item.id)]
    if not item.masks:
        return _drawn(item, size, structures, where)
    return _read(item, size, structures, data, limits)


def _drawn(
    item: AnnotatedImage, size: tuple[int, ...], structures: Sequence[Structure], where: str
) -> tuple[Pixels | None, list[Fault]]:
    height, width = size
    faults = check_shapes(item.shapes, (height, width), where, item.id)
    if any(fault.level == "error" for fault in faults):
        return None, faults
    thickness = {structure.name: structure.thickness_px for structure in structures}
    for index, shape in item.shapes:
        if not shape.draw((height, width), thickness[shape.structure])[1].any():
            named = f"{where}, shape {index} ({shape.structure})"
            faults.append(error(named, "covers no pixel of the image; correct its points", "shape", item.id))
    labels = label_map((shape for _, shape in item.shapes), (height, width), structures)
    values = label_values(structures)
    for name in {shape.structure for _, shape in item.shapes}:
        if not (labels == values[name]).any():
            faults.append(warning(f"{where}, {name}", "is completely covered by other classes", "hidden", item.id))
    return (None if any(fault.level == "error" for fault in faults) else labels), faults


def _read(
    item: AnnotatedImage, size: tuple[int, ...], structures: Sequence[Structure], data: Path, limits: ReadLimits
) -> tuple[Pixels | None, list[Fault]]:
    """Return the label map `(H, W)` of an image's masks, one of all classes or one per class, and their faults."""
    maps: dict[str | None, Pixels] = {}
    faults = []
    for mask in item.masks:
        shown = [one for one in structures if mask.structure in (None, one.name)]
        labels, more = _read_mask(mask, item, size, shown, data, limits)
        faults += more
        if labels is not None:
            maps[mask.structure] = labels
    if len(maps) < len(item.masks):
        return None, faults
    if None in maps:
        return maps[None], faults
    labels = np.zeros(size, dtype=np.uint8)
    values = label_values(structures)
    for structure in drawing_order(structures):
        if structure.name in maps:
            labels[maps[structure.name] > 0] = values[structure.name]
    for mask in item.masks:
        name = str(mask.structure)
        if maps[name].any() and not (labels == values[name]).any():
            where = f"{mask.path.relative_to(data).as_posix()}, {name}"
            faults.append(warning(where, "is completely covered by other classes", "hidden", item.id))
    return labels, faults


def _read_mask(
    mask: MaskFile,
    item: AnnotatedImage,
    size: tuple[int, ...],
    structures: Sequence[Structure],
    data: Path,
    limits: ReadLimits,
) -> tuple[Pixels | None, list[Fault]]:
    """Return a mask's indices into the structures that it may show."""
    where = mask.path.relative_to(data).as_posix()
    try:
        values = read_mask(mask.path, limits)
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        return None, [error(where, _reason(problem), _kind(problem), item.id)]
    if values.shape != size:
        sizes = f"{values.shape[1]}x{values.shape[0]} pixels, its image has {size[1]}x{size[0]}"
        return None, [error(where, f"the mask has {sizes}; they have to be equal", "size", item.id)]
    names = [structure.name for structure in structures]
    try:
        labels, note = class_indices(values, names, mask.values)
    except ValueError as problem:
        return None, [error(where, str(problem), "values", item.id)]
    if note is None and len(structures) > 1 and mask.path.suffix.lower() in JPEG:
        note = "a JPEG, which changes the values of single pixels: masks of several classes must be saved as PNG"
    faults = [warning(where, note, "grey", item.id)] if note else []
    if item.outlined:
        labels = fill_label_outlines(labels, structures)
        if labels.any() and is_thin(labels > 0):
            faults.append(
                warning(where, "its outline is open: nothing is enclosed, so it stays a thin line", "open", item.id)
            )
    return labels, faults


def _kind(problem: DataError | OSError) -> str:
    return "too_large" if isinstance(problem, LimitError) else "unreadable"


def _reason(problem: DataError | OSError) -> str:
    """Return why a file cannot be read, without its path: the fault names the file already."""
    return problem.reason if isinstance(problem, DataError) else f"cannot be read: {problem.strerror or problem}"


def _pixel_hash(pixels: Pixels) -> str:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def same_pictures(checked: Sequence[VerifiedImage], meta: Mapping[str, ImageMetadata], data: Path) -> list[Fault]:
    """Return a fault for every picture that exists under two names, compared by its decoded pixels.

    An error when the names belong to two patients, because the split could then put it on both sides; else a warning.
    """
    groups = defaultdict(list)
    for image in checked:
        groups[image.pixels_sha256].append(image)
    faults = []
    for group in groups.values():
        if len(group) < 2:
            continue
        names = [image.item.name_in(data) for image in group]
        same = (
            "the same file"
            if len({(image.sha256, image.item.image.frame) for image in group}) == 1
            else "the same pixels"
        )
        patients = sorted({meta[image.item.id].patient or image.item.id for image in group})
        if len(patients) > 1:
            message = f"{same} as {', '.join(names[1:])}, but of patients {', '.join(patients)}"
            faults.append(
                error(names[0], f"{message}; remove one, or correct the patient", "same_of_two", group[0].item.id)
            )
        else:
            message = f"{same} as {', '.join(names[1:])}, of one patient: it counts twice"
            faults.append(warning(names[0], message, "same_of_one", group[0].item.id))
    return faults
