"""Decode every image and its annotation once, and report all their faults."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sonoseg.annotations import AnnotatedImage
from sonoseg.errors import DataError, is_machine_error
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.image_ref import UNKNOWN, ImageRecord, ImageRef
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import encode_label_map
from sonoseg.io.readers import read_frames, read_image, read_image_header
from sonoseg.io.readers.opening import read_file
from sonoseg.prepare.duplicates.near_duplicates import thumbnail_of
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.prepare.reading.labels import kind_of, read_labels, reason_of
from sonoseg.prepare.statistics import StructureStatistics, measure_structures
from sonoseg.schema.task import Task
from sonoseg.sizes import Spacing
from sonoseg.types import Pixels


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
    patient: str | None = field(default=None, repr=False)

    @property
    def present(self) -> dict[str, bool]:
        return {name: area > 0 for name, area in self.area_px.items()}

    def share(self, name: str) -> float:
        """Return the part of the image, 0 to 1, that a class covers."""
        return self.area_px[name] / (self.height * self.width)


Checked = tuple[VerifiedImage | None, list[Fault]]
"""An image, None where it cannot be used, and the faults of it and its annotation."""


def verify(
    items: Sequence[AnnotatedImage],
    data: Path,
    task: Task,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Iterator[Checked]:
    """Check all items on all cores, and yield what `check` returns for each, in order.

    The images of a file are read in one pass.

    Faults: an image or mask that cannot be read, sizes that differ, values or shapes that do not fit the task. Only the
    encoded masks stay in memory. Raises the errors of the machine, which are no faults of an image.
    """
    of_file: dict[Path, list[AnnotatedImage]] = defaultdict(list)
    for item in items:
        of_file[item.image.path].append(item)
    pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1)
    try:
        waiting = {path: pool.submit(_check_file, group, data, task, limits) for path, group in of_file.items()}
        checked: dict[Path, Iterator[Checked]] = {}
        for item in items:
            path = item.image.path
            if path in waiting:
                checked[path] = iter(waiting.pop(path).result())
            yield next(checked[path])
    finally:
        pool.shutdown(cancel_futures=True)


def with_unreadable(faults: Sequence[Fault], data: Path, limits: ReadLimits = DEFAULT_LIMITS) -> list[Fault]:
    """Return the faults of a reader, in which images without annotation that cannot be read are said to be so.

    What the lack of an annotation means is asked of those only that can be read; loops are not looked at.
    """
    return [_unreadable(fault, data, limits) or fault if fault.kind in ASKED else fault for fault in faults]


ASKED = ("without_mask", "not_annotated")
"""Kinds of faults that `without_annotation` of a section decides about."""


def _unreadable(fault: Fault, data: Path, limits: ReadLimits) -> Fault | None:
    path = data / fault.where
    try:
        refs = read_image_header(path, limits).refs(path)
        if len(refs) == 1:
            read_image(refs[0], limits)
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        return error(fault.where, reason_of(problem), kind_of(problem), fault.image) if path.is_file() else None
    return None


def check(item: AnnotatedImage, data: Path, task: Task, limits: ReadLimits = DEFAULT_LIMITS) -> Checked:
    """Decode one image and make its label map, at the image's own size.

    None when an error makes it unusable and, without an error, when nobody has annotated it, see `read_labels`.
    """
    (checked,) = _check_file([item], data, task, limits)
    return checked


def _check_file(items: Sequence[AnnotatedImage], data: Path, task: Task, limits: ReadLimits) -> list[Checked]:
    """Return what `check` returns for each of the images of one file, which is read in one pass."""
    order = sorted(range(len(items)), key=lambda index: items[index].image.frame or 0)
    records = _records([items[index].image for index in order], limits)
    found: dict[int, Checked] = {}
    for index, (record, digest) in zip(order, records, strict=True):
        item = items[index]
        if isinstance(record, ImageRecord):
            found[index] = _check_record(item, record, digest, data, task, limits)
        else:
            found[index] = None, [error(item.name_in(data), reason_of(record), kind_of(record), item.id)]
    return [found[index] for index in range(len(items))]


def _records(images: Sequence[ImageRef], limits: ReadLimits) -> Iterator[tuple[ImageRecord | DataError | OSError, str]]:
    """Yield each of the images of one file, in the order of their frames, or its error, with SHA-256 of the file."""
    done = 0
    try:
        file = read_file(images[0].path, limits)
        digest = hashlib.sha256(file).hexdigest()
        for record in read_frames(images, limits, file):
            if isinstance(record, DataError) and is_machine_error(record):
                raise record
            yield record, digest
            done += 1
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        yield from [(problem, "")] * (len(images) - done)


def _check_record(
    item: AnnotatedImage, record: ImageRecord, digest: str, data: Path, task: Task, limits: ReadLimits
) -> Checked:
    """Return what `check` returns for a decoded image; digest: SHA-256 of its file's bytes."""
    where = item.name_in(data)
    image = record.pixels
    size = record.frame_size or (image.shape[0], image.shape[1])
    labels, faults = read_labels(item, size, data, task.structures, limits, record.region)
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
        sha256=digest,
        pixels_sha256=_pixel_hash(image),
        labels_sha256=_pixel_hash(labels),
        statistics=measure_structures(image, labels, task.structures),
        thumbnail=thumbnail_of(image),
        spacing=record.spacing,
        spacing_from=record.spacing_from,
        patient=record.patient,
    )
    return result, faults


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
            if len({(image.sha256, image.item.image.frame, image.item.image.region) for image in group}) == 1
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
