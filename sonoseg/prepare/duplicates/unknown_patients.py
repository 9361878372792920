"""Groups that stand for patients where nobody says which images show one: near-duplicates and runs of frames."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sonoseg.annotations.base import AnnotatedImage
from sonoseg.errors import counted, first_of
from sonoseg.io.faults import Fault, warning
from sonoseg.prepare.duplicates.near_duplicates import similar_pairs, unit_vectors
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.prepare.verify import VerifiedImage
from sonoseg.types import Pixels

RUN_CORRELATION = 0.8
"""Pictures with consecutive numbers in their names that correlate by this much are frames of one run."""

_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$")


def with_groups(
    items: Sequence[AnnotatedImage], meta: Mapping[str, ImageMetadata], images: Sequence[VerifiedImage]
) -> tuple[dict[str, ImageMetadata], list[Fault]]:
    """Return the metadata with a patient for every item, and warnings that say how many were guessed.

    items, images: of all folders; images are the items that could be read. A patient that the table or the image file
    states is kept. The other images are grouped: all frames of a file, almost equal pictures, and runs of frames. A
    group has the name of its first image; one that is similar to images of one stated patient is of that patient.
    Images that could not be read are groups of their own.
    """
    patient_of = {item.id: meta[item.id].patient or item.file_id for item in items}
    stated = {name: entry.patient for name, entry in meta.items() if entry.patient}
    group_of, patients_like = groups_of_similar(images, stated)
    joined = {group: min(patients) for group, patients in patients_like.items() if len(patients) == 1}
    patient_of |= {name: joined.get(group, group) for name, group in group_of.items()}
    faults = _warnings(group_of, joined, patients_like) if group_of else []
    return {name: replace(meta[name], patient=patient) for name, patient in patient_of.items()}, faults


def _warnings(
    group_of: Mapping[str, str], joined: Mapping[str, str], patients_like: Mapping[str, set[str]]
) -> list[Fault]:
    like = sum(group in joined for group in group_of.values())
    known = f", and {like} of them are similar to images of a known patient and count as its images" if like else ""
    groups = len(set(group_of.values()) - joined.keys())
    message = (
        f"unknown for {counted(len(group_of), 'image')}: {counted(groups, 'group')} of almost equal pictures and runs "
        f"of frames, each of which counts as a patient{known}. Images of one patient "
        "that look different may still be in training and in test, and then the test score is too good; state the "
        "patients in the task: a column, or a pattern on the file names"
    )
    faults = [warning("patients", message, "no_patients")]
    for group in sorted(patients_like.keys() - joined.keys()):
        names = [name for name in group_of if group_of[name] == group]
        message = (
            f"{first_of(names, 5)}: similar to images of the patients "
            f"{', '.join(sorted(patients_like[group]))}, so it is open whose they are; they count as a patient of "
            "their own, which may be in another part; state their patient, or correct those of the others"
        )
        faults.append(warning("patients", message, "no_patients"))
    return faults


class SmallPicture(Protocol):
    """An image and its thumbnail of `thumbnail_of`, such as a `VerifiedImage`."""

    @property
    def item(self) -> AnnotatedImage: ...

    @property
    def thumbnail(self) -> Pixels: ...


def groups_of_similar(
    images: Sequence[SmallPicture], stated: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Return {id: id of the first image of its group} of the images without a patient, and {group: patients}.

    stated: id -> patient. The patients of a group are those of the images that one of its images is similar to; groups
    without any are left out. Ids are in the order of names with their numbers as numbers.
    """
    images = sorted(images, key=lambda image: natural_key(image.item.id))
    names = [image.item.id for image in images]
    if not names or all(name in stated for name in names):
        return {}, {}
    links = _links(images, stated)
    unknown = np.array([name not in stated for name in names])
    first, second = links[unknown[links].all(axis=1)].T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(names), len(names)))
    _, label = connected_components(graph, directed=False)
    leader: dict[int, str] = {}
    group_of = {
        name: leader.setdefault(int(group), name)
        for name, group in zip(names, label, strict=True)
        if name not in stated
    }
    patients_like: dict[str, set[str]] = defaultdict(set)
    for one, other in links[unknown[links].sum(axis=1) == 1]:
        alone, known = (one, other) if unknown[one] else (other, one)
        patients_like[group_of[names[alone]]].add(stated[names[known]])
    return group_of, dict(patients_like)


def _links(images: Sequence[SmallPicture], stated: Mapping[str, str]) -> NDArray[np.intp]:
    """Return the pairs `(N, 2)` of places of images that show one patient, as far as their pictures and files tell.

    images: in the order of `natural_key`. Pairs of one stated patient may be missing.
    """
    names = [image.item.id for image in images]
    thumbnails = [image.thumbnail for image in images]
    owners = [f"patient {stated[name]}" if name in stated else f"image {name}" for name in names]
    pairs = similar_pairs(thumbnails, owners, np.zeros(len(names), dtype=bool))
    links = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    first_of_file: dict[Path, int] = {}
    for at in sorted(range(len(images)), key=lambda at: names[at] in stated):
        links.append((first_of_file.setdefault(images[at].item.image.path, at), at))
    vectors, contrast = unit_vectors(thumbnails)
    for at in range(len(images) - 1):
        alike = contrast[at] and contrast[at + 1] and float(vectors[at] @ vectors[at + 1]) >= RUN_CORRELATION
        if alike and _follows(names[at], names[at + 1]):
            links.append((at, at + 1))
    return np.array(links, dtype=np.intp).reshape(-1, 2)


def _follows(name: str, other: str) -> bool:
    """Return whether two names differ in their last number only, by one."""
    first, second = _NUMBER.match(name), _NUMBER.match(other)
    if not first or not second:
        return False
    same = first.group(1) == second.group(1) and first.group(3) == second.group(3)
    return same and int(second.group(2)[:15]) - int(first.group(2)[:15]) == 1


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key in which numbers in a name count as numbers: a2 before a10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part[:15]), part) if part.isdigit() else (0, 0, part) for part in parts]
