"""A verified dataset and its split: what stage 1 reports and writes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sonoseg.annotations.base import AnnotatedImage
from sonoseg.io.faults import Fault
from sonoseg.io.pseudonyms import PseudonymKey, is_pseudonym
from sonoseg.prepare.duplicates.near_duplicates import NearDuplicatePairs, find_near_duplicates, near_duplicate_faults
from sonoseg.prepare.duplicates.selection import annotated_twice, without_duplicates
from sonoseg.prepare.duplicates.unknown_patients import with_groups
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.prepare.outliers import area_faults, ellipse_faults, spacing_faults
from sonoseg.prepare.patients import collect_metadata, pattern_faults
from sonoseg.prepare.split import Split, assert_no_leak, split_patients
from sonoseg.prepare.verify import VerifiedImage, same_pictures
from sonoseg.runs.split_tables import Sample
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.drafts import StatedIn
from sonoseg.schema.task import Task


@dataclass(frozen=True)
class VerifiedImages:
    """The images of a data folder that can be used, their metadata by id, and the faults of all images.

    annotated: number of images with an annotation, those that cannot be used included.
    """

    folder: Path
    images: Sequence[VerifiedImage]
    meta: Mapping[str, ImageMetadata]
    faults: Sequence[Fault]
    annotated: int


@dataclass(frozen=True)
class FolderImages:
    """What verification found in one folder: its annotated images, those that could be read, and all faults."""

    folder: Path
    items: Sequence[AnnotatedImage]
    images: Sequence[VerifiedImage]
    faults: Sequence[Fault]


def combine(
    parts: Sequence[FolderImages], task: Task, key: PseudonymKey, stated: StatedIn, drop_duplicates: bool = False
) -> VerifiedImages:
    """Return the images of all folders, at least one, with their metadata.

    key: replaces the patients that image files state by pseudonyms. stated: where the task states how patients are told
    apart, for messages. drop_duplicates: of equal pictures of all folders the first is kept. An image of a later folder
    replaces that of the same id, whose faults no longer count; spacing, patient and references that the later folder
    does not state are those of the earlier one. Where patients are unknown, similar images of all folders are grouped
    together.
    """
    meta: dict[str, ImageMetadata] = {}
    images: dict[str, VerifiedImage] = {}
    items: dict[str, AnnotatedImage] = {}
    faults: list[Fault] = []
    for part in parts:
        kept, rest, more = list(part.images), list(part.items), list(part.faults)
        if drop_duplicates:
            kept, dropped = without_duplicates(kept, part.folder, images)
            left_out = {fault.image for fault in dropped}
            rest = [item for item in rest if item.id not in left_out]
            more += dropped
        found, of_table = collect_metadata(rest, kept, part.folder, task, key, stated)
        if known := {item.id for item in rest} & meta.keys():  # nothing is missing of an image that is corrected
            new = [item for item in rest if item.id not in known]
            read = [image for image in kept if image.item.id not in known]
            of_new = collect_metadata(new, read, part.folder, task, key, stated)[1] if new else []
            of_table = [*_missing(of_table, False), *_missing(of_new, True)]
        replaced = {item.id for item in rest} & (items.keys() | {str(fault.image) for fault in faults})
        faults = [fault for fault in faults if fault.image is None or fault.image not in replaced]
        faults += [*more, *of_table]
        for identity in replaced:
            images.pop(identity, None)
        images |= {image.item.id: image for image in kept}
        items |= {item.id: item for item in rest}
        meta |= {name: _completed(entry, meta.get(name)) for name, entry in found.items()}
    if task.patients.unknown:
        meta, more = with_groups(list(items.values()), meta, list(images.values()))
        faults += more
    faults += pattern_faults(list(items.values()), meta, task.patients, stated)
    faults += same_pictures(list(images.values()), meta, parts[0].folder)
    return VerifiedImages(parts[0].folder, list(images.values()), meta, faults, len(items))


def _missing(faults: Sequence[Fault], wanted: bool) -> list[Fault]:
    """Return the faults about metadata that no image of a folder has, or the others."""
    return [fault for fault in faults if (fault.kind in ("no_spacing", "no_patients")) == wanted]


def _completed(entry: ImageMetadata, earlier: ImageMetadata | None) -> ImageMetadata:
    if earlier is None:
        return entry
    if entry.spacing is None:
        entry = replace(entry, spacing=earlier.spacing, spacing_from=earlier.spacing_from)
    if not entry.patient_known:
        entry = replace(entry, patient=earlier.patient, patient_known=earlier.patient_known)
    return replace(entry, reference={**earlier.reference, **entry.reference})


@dataclass(frozen=True)
class Dataset:
    """A dataset that is split.

    images, samples: in the same order, by id; `pairs` has indices into them. faults: of verification, split and
    comparison. settings: of the split.
    """

    task: Task
    images: Sequence[VerifiedImage]
    samples: Sequence[Sample]
    meta: Mapping[str, ImageMetadata]
    pairs: NearDuplicatePairs
    faults: Sequence[Fault]
    settings: Mapping[str, Any]


def classes_shown(verified: VerifiedImages) -> list[tuple[str, list[bool]]]:
    """Return the patient of each image, and which classes it shows."""
    return [
        (verified.meta[image.item.id].patient or image.item.id, list(image.present.values()))
        for image in verified.images
    ]


def order_of_pseudonyms(verified: VerifiedImages) -> dict[str, str]:
    """Return pseudonym -> id of the patient's first image.

    Patients are divided in this order: pseudonyms are random, and the same data would be split differently in each
    workspace.
    """
    patients = {image.item.id: verified.meta[image.item.id].patient or "" for image in verified.images}
    return {patients[name]: name for name in sorted(patients, reverse=True) if is_pseudonym(patients[name])}


def build_dataset(
    verified: VerifiedImages,
    task: Task,
    workspace: Workspace,
    settings: Mapping[str, Any],
    split: Split | None = None,
) -> Dataset:
    """Split the images by patient, unless a split is given, and compare them with each other.

    settings: `test_size`, `folds` and `seed`. Raises DataError for a leak between the parts.
    """
    images, meta = sorted(verified.images, key=lambda image: image.item.id), verified.meta
    split = split or split_patients(
        classes_shown(verified), task.class_names, **settings, order=order_of_pseudonyms(verified)
    )
    samples = build_samples(images, meta, split, workspace)
    assert [image.item.id for image in images] == [sample.id for sample in samples], "two orders of the images"
    assert_no_leak(
        [sample for sample in samples if sample.fold is not None], [sample for sample in samples if sample.fold is None]
    )

    names = {image.item.id: image.item.name_in(verified.folder) for image in images}
    pairs = find_near_duplicates([image.thumbnail for image in images], samples)
    faults = [
        *verified.faults,
        *split.warnings,
        *near_duplicate_faults(pairs, samples, names),
        *annotated_twice(images, meta, names),
        *spacing_faults(samples, names),
        *area_faults(images, task.class_names, names),
        *ellipse_faults(images, names),
    ]
    return Dataset(task, images, samples, meta, pairs, faults, settings)


def build_samples(
    checked: Sequence[VerifiedImage], meta: Mapping[str, ImageMetadata], split: Split, workspace: Workspace
) -> list[Sample]:
    """Return the rows of both tables, sorted by id; `fold` is None for the test table's."""
    samples = []
    for image in sorted(checked, key=lambda image: image.item.id):
        known = meta[image.item.id]
        patient = known.patient or image.item.id
        samples.append(
            Sample(
                id=image.item.id,
                image=replace(image.item.image, path=image.item.image.path.absolute()),
                mask=workspace.label_map(image.item.id).absolute(),
                patient=patient,
                fold=split.fold_of[patient],
                present=image.present,
                height=image.height,
                width=image.width,
                spacing=known.spacing,
                sha256=image.sha256,
                mask_sha256=hashlib.sha256(image.mask_png).hexdigest(),
                reference=known.reference,
            )
        )
    return samples
