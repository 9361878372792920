"""A verified dataset and its split: what stage 1 reports and writes."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.io.faults import Fault
from sonoseg.io.image_ref import ImageRef
from sonoseg.prepare.duplicates.near_duplicates import NearDuplicatePairs, find_near_duplicates, near_duplicate_faults
from sonoseg.prepare.duplicates.selection import annotated_twice
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.prepare.outliers import area_faults, ellipse_faults, spacing_faults
from sonoseg.prepare.split import Split, assert_no_leak, split_patients
from sonoseg.prepare.verify import VerifiedImage
from sonoseg.runs.split_tables import Sample
from sonoseg.runs.workspace import Workspace
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
class Dataset:
    """A dataset that is split.

    images, samples: in the same order; `pairs` has indices into them. faults: of verification, split and comparison.
    settings: of the split.
    """

    task: Task
    images: Sequence[VerifiedImage]
    samples: Sequence[Sample]
    meta: Mapping[str, ImageMetadata]
    pairs: NearDuplicatePairs
    faults: Sequence[Fault]
    settings: Mapping[str, Any]


def build_dataset(verified: VerifiedImages, task: Task, workspace: Workspace, settings: Mapping[str, Any]) -> Dataset:
    """Split the images by patient and compare them with each other.

    settings: `test_size`, `folds` and `seed`. Raises DataError for a leak between the parts.
    """
    images, meta = verified.images, verified.meta
    classes_shown = [(meta[image.item.id].patient or image.item.id, list(image.present.values())) for image in images]
    split = split_patients(classes_shown, task.class_names, **settings)
    samples = build_samples(images, meta, split, workspace)
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
                image=ImageRef(image.item.image.path.absolute(), image.item.image.frame),
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
