"""How many groups of similar images stage 1 makes where patients are unknown: the images are compared as it does."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sonoseg.annotations import AnnotatedImage
from sonoseg.errors import DataError, counted, is_machine_error
from sonoseg.io.image_ref import ImageRecord
from sonoseg.io.readers import read_frames, read_image_header
from sonoseg.new_task.findings import Findings
from sonoseg.prepare.duplicates.near_duplicates import thumbnail_of
from sonoseg.prepare.duplicates.unknown_patients import groups_of_similar, natural_key
from sonoseg.prepare.reading.regions import images_of
from sonoseg.prepare.statistics import evenly
from sonoseg.schema.annotations import UNKNOWN_PATIENTS
from sonoseg.types import Pixels

MOST_PIXELS = 500_000_000
"""Pixels of the images that are decoded, a thousand of usual size; of further ones a sample is compared."""
STRETCH = 32
"""Images, one after the other by their names, that a sample takes at a time: frames of a sweep stay together."""
SIZES_SAMPLED = 12


@dataclass(frozen=True)
class _Small:
    """An image and its thumbnail `(32, 32)`."""

    item: AnnotatedImage
    thumbnail: Pixels


def with_similar_groups(findings: Findings) -> Findings:
    """Return the findings with the number of groups that `patients: unknown` gives, by the images of all, or a sample.

    Where files state patients, `unknown` stands for these, and nothing is compared. Images that cannot be read are left
    out, and where none can be, nothing changes. Raises the errors of the machine.
    """
    at = next((at for at, one in enumerate(findings.patients) if one.settings == UNKNOWN_PATIENTS), None)
    if at is None or findings.patients[at].groups:
        return findings
    items = images_of(findings.items, findings.folder)[0]
    sample = _sample(items)
    group_of, _ = groups_of_similar(list(_small(sample)), {})
    if not group_of:
        return findings
    sizes = Counter(group_of.values())
    several = sum(size > 1 for size in sizes.values())
    rule = findings.patients[at]
    reason = f"{rule.reason}: {counted(len(sizes), 'group')} of {counted(len(group_of), 'image')}, "
    reason += f"{several} of which are frames of one sweep, or almost equal pictures"
    if len(sample) < len(items):
        reason += f"; of {len(items)} images, {len(sample)} evenly over their names were compared"
    rules = list(findings.patients)
    rules[at] = replace(rule, groups=len(sizes), images=len(group_of), reason=reason)
    return replace(findings, patients=rules)


def _sample(items: Sequence[AnnotatedImage]) -> list[AnnotatedImage]:
    """Return all images, or stretches of them, evenly over their names, where they have more than MOST_PIXELS."""
    pixels = [size for item in evenly(items, SIZES_SAMPLED) if (size := _pixels(item))]
    most = int(MOST_PIXELS // np.median(pixels)) if pixels else len(items)
    if len(items) <= most:
        return list(items)
    ordered = sorted(items, key=lambda item: natural_key(item.id))
    stretches = [ordered[start : start + STRETCH] for start in range(0, len(ordered), STRETCH)]
    return [item for stretch in evenly(stretches, max(1, most // STRETCH)) for item in stretch]


def _pixels(item: AnnotatedImage) -> int:
    """Return height times width of an image by its header; 0 where it cannot be read."""
    try:
        height, width = read_image_header(item.image.path).size
        return height * width
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        return 0


def _small(items: Sequence[AnnotatedImage]) -> Iterator[_Small]:
    """Yield the thumbnails of the images that can be read; those of a file are read in one pass."""
    of_file: dict[Path, list[AnnotatedImage]] = defaultdict(list)
    for item in items:
        of_file[item.image.path].append(item)
    with ThreadPoolExecutor() as pool:
        for found in pool.map(_of_file, of_file.values()):
            yield from found


def _of_file(items: Sequence[AnnotatedImage]) -> list[_Small]:
    ordered = sorted(items, key=lambda item: item.image.frame or 0)
    found = []
    try:
        for item, record in zip(ordered, read_frames([item.image for item in ordered]), strict=False):
            if isinstance(record, ImageRecord):
                found.append(_Small(item, thumbnail_of(record.pixels)))
            elif is_machine_error(record):
                raise record
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
    return found
