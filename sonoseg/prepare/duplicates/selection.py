"""Images that stage 1 leaves out, excluded or the same as others, and pictures that were annotated twice."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from sonoseg.annotations.base import AnnotatedImage
from sonoseg.errors import DataError, first_of
from sonoseg.io.faults import Fault, warning
from sonoseg.io.masks import decode_label_map
from sonoseg.io.names import is_inside, patient_key
from sonoseg.io.readers import is_image
from sonoseg.io.reading import read_text_file
from sonoseg.prepare.duplicates.near_duplicates import unit_vectors
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.prepare.verify import VerifiedImage

SAME_CORRELATION = 0.998
"""Pictures of one patient that correlate by this much are one picture; changed gain or compression keeps it above."""


def excluded_names(exclude: Sequence[str] | str, data: Path) -> list[str]:
    """Return the names of a task's `exclude`, those of a file in the data folder when it names one; without blanks.

    Raises DataError for a file that is missing or no text.
    """
    if not isinstance(exclude, str):
        return list(exclude)
    path = data / exclude
    if not is_inside(path, data):
        raise DataError("leads out of the data folder; copy the list there", path)
    try:
        lines = read_text_file(path).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError("no such list of images; put it there, or change exclude in the task", path) from None
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text; expected a name of an image per line", path) from None
    return [line.strip() for line in lines if line.strip()]


def without_excluded(
    items: Sequence[AnnotatedImage], faults: Sequence[Fault], names: Sequence[str]
) -> tuple[list[AnnotatedImage], list[Fault]]:
    """Return the items and faults without those of excluded images, and a warning that names what was left out.

    names: files' names with or without extension, or ids. An image that no item was made of, because of a fault, is
    known by the id of its fault, or by the file that the fault names.
    """
    if not names:
        return list(items), list(faults)
    wanted = set(names)
    spelled = {item.id: {item.id, item.image.path.name, item.image.path.stem} for item in items}
    out = {identity for identity, spellings in spelled.items() if wanted & spellings}
    identities = wanted | {Path(name).stem for name in names if is_image(Path(name))}
    out |= {fault.image for fault in faults if fault.image in identities and fault.image not in spelled}
    unknown = {Path(fault.where) for fault in faults if fault.image is None and is_image(Path(fault.where))}
    files = {path.name for path in unknown if wanted & {path.name, path.stem}}
    kept = [item for item in items if item.id not in out]
    rest = [
        fault
        for fault in faults
        if fault.image not in out and not (fault.image is None and Path(fault.where).name in files)
    ]
    left_out = sorted({str(identity) for identity in out} | files)
    known = {name for spellings in spelled.values() for name in spellings} | out | files
    known |= {Path(name).stem for name in files}
    missing = sorted(name for name in wanted - known if Path(name).stem not in out)
    if left_out:
        count = f"{len(left_out)} image{'s' if len(left_out) > 1 else ''}"
        rest.append(warning("exclude", f"{count} left out: {first_of(left_out, 5)}", "excluded"))
    if missing:
        rest.append(warning("exclude", f"no image is called {first_of(missing, 5)}; correct the name", "excluded"))
    return kept, rest


def without_duplicates(
    images: Sequence[VerifiedImage], data: Path, earlier: Mapping[str, VerifiedImage] = MappingProxyType({})
) -> tuple[list[VerifiedImage], list[Fault]]:
    """Return the first image of each picture that exists under several names, and a warning per other one.

    earlier: id -> image of the folders before, which come first; an image of the same id replaces the earlier one, and
    is kept unless another earlier one has its pixels. Then the order is that of the ids. data: folder of the images.
    """
    replaced = {image.item.id for image in images} & earlier.keys()
    first = {image.pixels_sha256: image for name, image in earlier.items() if name not in replaced}
    kept, faults = [], []
    for image in sorted(images, key=lambda image: (image.item.id not in replaced, image.item.id)):
        other = first.setdefault(image.pixels_sha256, image)
        if other is image:
            kept.append(image)
        else:
            message = f"the same pixels as {other.item.name_in(data)}, which is kept; left out"
            faults.append(warning(image.item.name_in(data), message, "dropped", image.item.id))
    return kept, faults


def annotated_twice(
    images: Sequence[VerifiedImage], meta: Mapping[str, ImageMetadata], names: Mapping[str, str]
) -> list[Fault]:
    """Return a warning per pair of almost identical pictures of one patient, with the agreement of their annotations.

    It is an estimate of what one observer, or two, differ by. Pictures with the same pixels have faults of their own.
    """
    by_patient: dict[str, list[VerifiedImage]] = {}
    for image in images:
        by_patient.setdefault(patient_key(meta[image.item.id].patient or image.item.id), []).append(image)
    faults = []
    for group in by_patient.values():
        if len(group) < 2:
            continue
        vectors, contrast = unit_vectors([image.thumbnail for image in group])
        alike = np.triu(vectors @ vectors.T >= SAME_CORRELATION, k=1) & contrast[:, None] & contrast[None]
        for a, b in zip(*np.nonzero(alike), strict=True):
            first, second = group[a], group[b]
            same_size = (first.height, first.width) == (second.height, second.width)
            if first.pixels_sha256 == second.pixels_sha256 or not same_size:
                continue
            agreement = ", ".join(f"{name} {dice:.3f}" for name, dice in _agreement(first, second).items())
            message = (
                f"almost the same picture as {names[second.item.id]}, of the same patient; Dice of the two "
                f"annotations: {agreement or 'no structure on either'}"
            )
            faults.append(warning(names[first.item.id], message, "annotated_twice", first.item.id))
    return faults


def _agreement(first: VerifiedImage, second: VerifiedImage) -> dict[str, float]:
    """Return the Dice of each class that at least one of two label maps shows."""
    one, other = decode_label_map(first.mask_png), decode_label_map(second.mask_png)
    dice: dict[str, float] = {}
    for index, name in enumerate(first.area_px, start=1):
        both = np.count_nonzero((one == index) & (other == index))
        total = first.area_px[name] + second.area_px[name]
        if total:
            dice[name] = 2 * both / total
    return dice
