"""Groups that stand for patients where nobody says which images show one: near-duplicates and runs of frames."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sonoseg.annotations.base import AnnotatedImage
from sonoseg.io.faults import Fault, warning
from sonoseg.prepare.duplicates.near_duplicates import similar_pairs, unit_vectors
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.prepare.verify import VerifiedImage

RUN_CORRELATION = 0.8
"""Pictures with consecutive numbers in their names that correlate by this much are frames of one run."""

_NUMBER = re.compile(r"^(.*?)(\d+)(\D*)$")


def grouped_patients(
    items: Sequence[AnnotatedImage], known: Mapping[str, ImageMetadata], images: Sequence[VerifiedImage]
) -> tuple[dict[str, str], list[Fault]]:
    """Return {id: patient}, and a warning that says how many were guessed.

    A patient that the table or the image file states is kept. The other images are grouped: all frames of a file,
    almost equal pictures, and runs of frames. A group has the name of its first image. Images that could not be read
    are groups of their own.
    """
    patient_of = {item.id: known[item.id].patient or item.file_id for item in items}
    unknown = [image for image in images if known[image.item.id].patient is None]
    group_of = groups_of_similar(unknown)
    patient_of |= group_of
    if not unknown:
        return patient_of, []
    count, groups = len(unknown), len(set(group_of.values()))
    message = (
        f"unknown for {count} images; almost equal pictures and runs of frames make {groups} groups, which count as "
        "patients. Images of one patient that look different may still be in training and in test, and then the test "
        "score is too good; state the patients in the task: a column, or a pattern on the file names"
    )
    return patient_of, [warning("patients", message, "no_patients")]


def groups_of_similar(images: Sequence[VerifiedImage]) -> dict[str, str]:
    """Return {id: id of the first image of its group}, in the order of names with their numbers as numbers."""
    images = sorted(images, key=lambda image: _natural(image.item.id))
    names = [image.item.id for image in images]
    if not images:
        return {}
    thumbnails = [image.thumbnail for image in images]
    pairs = similar_pairs(thumbnails, names, np.zeros(len(names), dtype=bool))
    vectors, contrast = unit_vectors(thumbnails)
    links = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    first_of_file: dict[Path, int] = {}
    links += [(first_of_file.setdefault(image.item.image.path, at), at) for at, image in enumerate(images)]
    for at in range(len(images) - 1):
        alike = contrast[at] and contrast[at + 1] and float(vectors[at] @ vectors[at + 1]) >= RUN_CORRELATION
        if alike and _follows(names[at], names[at + 1]):
            links.append((at, at + 1))
    first, second = np.array(links, dtype=np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(len(names), len(names)))
    _, label = connected_components(graph, directed=False)
    leader: dict[int, str] = {}
    return {name: leader.setdefault(int(group), name) for name, group in zip(names, label, strict=True)}


def _follows(name: str, other: str) -> bool:
    """Return whether two names differ in their last number only, by one."""
    first, second = _NUMBER.match(name), _NUMBER.match(other)
    if not first or not second:
        return False
    same = first.group(1) == second.group(1) and first.group(3) == second.group(3)
    return same and int(second.group(2)[:15]) - int(first.group(2)[:15]) == 1


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return a sort key in which numbers in a name count as numbers: a2 before a10."""
    parts = re.split(r"(\d+)", name)
    return [(1, int(part[:15]), part) if part.isdigit() else (0, 0, part) for part in parts]
