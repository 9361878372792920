"""The files of a folder of masks: which are images, which are masks of which image, and which are neither."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import normpath

from sonoseg.annotations.base import folder_inside, matching_folders
from sonoseg.errors import DataError, TaskError, choices
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.image_ref import stem_of
from sonoseg.schema.annotation_formats import MaskFolder, MaskSet

Masks = dict[str, list[Path]]
"""Name that masks share with their image, after the folders that `*` stand for -> masks."""
FURTHER = re.compile(r"[ _-]?[0-9]{1,3}")
"""End of the name of a further mask, after that of the first."""


@dataclass
class Listed:
    """The files that a section names. folder_of: image -> folders that `*` stand for, each with `/` after it; empty
    without `*`. masks_of: masks of each set of the section.
    """

    folder_of: dict[Path, str]
    masks_of: dict[MaskSet, Masks]
    faults: list[Fault] = field(default_factory=list)


def list_files(data: Path, section: MaskFolder) -> Listed:
    """Return images, masks by name, and the faults of other files in the folders of masks, and of links that lead out.

    Raises DataError when a folder is missing, TaskError when images and masks share a folder and have the same names.
    """
    listed = Listed({}, {masks: defaultdict(list) for masks in section.mask_sets})
    if "*" not in section.images or (data / section.images).is_dir():  # a name may have the letter
        _add_place(data, "", section, section, listed)
        return listed
    stars_of = matching_folders(data, section.images)
    if not stars_of:
        raise DataError(f"no folder {section.images} in it; correct annotations.images of the task", data)
    for stars in stars_of:
        _add_place(data, "".join(f"{star}/" for star in stars), section, section.without_stars(stars), listed)
    for pattern in dict.fromkeys(masks.folder for masks in section.mask_sets):
        for stars, folder in matching_folders(data, pattern).items():
            if stars not in stars_of and (masks := folder_inside(data, folder)[0]):
                message = f"a folder of masks ({len(masks)}), and no folder {section.images} of their images"
                listed.faults.append(error(f"{folder}/", message, "no_image"))
    return listed


def _add_place(data: Path, folder: str, section: MaskFolder, here: MaskFolder, listed: Listed) -> None:
    """Add the files of one folder of images and of its folders of masks; here: the section without `*`."""
    images, faults = folder_inside(data, here.images)
    listed.faults += faults
    original = dict(zip(here.mask_sets, section.mask_sets, strict=True))
    by_folder: dict[Path, list[MaskSet]] = defaultdict(list)
    for masks in here.mask_sets:
        by_folder[(data / masks.folder).resolve()].append(masks)
    for place, sets in by_folder.items():
        shared = place == (data / here.images).resolve()
        same = section.image_prefix == section.mask_prefix
        if shared and same and any(masks.suffix == section.image_suffix for masks in sets):
            raise TaskError(
                "annotations.mask_suffix: images and masks share a folder, so their suffixes have to differ"
            )
        if folder and not place.is_dir():  # the images of this folder have no mask
            continue
        paths, more = folder_inside(data, sets[0].folder)
        listed.faults += more
        others, found_stems = [], set()
        for path in paths:
            found = set_of(path, sets, section, shared)
            if found is None:
                others.append(path)
            else:
                listed.masks_of[original[found]][folder + _shared_name(path, found, section)].append(path)
                found_stems.add(stem_of(path))
        wrong = [_no_mask(path, data, sets, found_stems, (section, shared)) for path in others]
        listed.faults += [fault for fault in wrong if fault is not None]
        if shared:
            images = [path for path, fault in zip(others, wrong, strict=True) if fault is None]
    listed.folder_of |= {path: folder for path in images if is_image_name(path, section)}


def is_image_name(path: Path, section: MaskFolder) -> bool:
    """Return whether a file has prefix and suffix of an image; in a folder of images alone, others are not used."""
    return stem_of(path).startswith(section.image_prefix) and stem_of(path).endswith(section.image_suffix)


def image_name(path: Path, section: MaskFolder) -> str:
    """Return the part of the name that an image and its masks share."""
    return stem_of(path).removeprefix(section.image_prefix).removesuffix(section.image_suffix)


def set_of(path: Path, sets: Iterable[MaskSet], section: MaskFolder, shared: bool) -> MaskSet | None:
    """Return the masks of one folder to which a file belongs, by its name; None for any other file.

    When several suffixes match, the longest one decides. shared: with the images; `a_image_mask` is a mask of
    `a_image`, and with the image suffix `_img_mask` the file `a_img_mask` is an image.
    """
    stem = stem_of(path)
    if not stem.startswith(section.mask_prefix) or _is_ignored(stem, section):
        return None
    matching = [masks for masks in sets if stem.endswith(masks.suffix) or _further(stem, masks, section)]
    masks = max(matching, key=lambda masks: len(masks.suffix), default=None)
    if masks is None or not shared:
        return masks
    if section.image_prefix != section.mask_prefix:
        longer = len(section.image_prefix) > len(section.mask_prefix)
        return None if longer and is_image_name(path, section) else masks
    is_image = len(section.image_suffix) > len(masks.suffix) and stem.endswith(section.image_suffix)
    return None if is_image else masks


def _further(stem: str, masks: MaskSet, section: MaskFolder) -> str:
    """Return the end of the name of a further mask, which is united with the first; empty for any other name."""
    start, found, number = stem.rpartition(masks.suffix) if section.unite else ("", "", "")
    return masks.suffix + number if start and found and FURTHER.fullmatch(number) else ""


def _shared_name(path: Path, masks: MaskSet, section: MaskFolder) -> str:
    stem = stem_of(path)
    end = masks.suffix if stem.endswith(masks.suffix) else _further(stem, masks, section)
    return stem.removeprefix(section.mask_prefix).removesuffix(end)


def _is_ignored(stem: str, section: MaskFolder) -> bool:
    return any(stem.endswith(end) for end in section.ignore)


def _no_mask(
    path: Path, data: Path, sets: Sequence[MaskSet], masks: Collection[str], place: tuple[MaskFolder, bool]
) -> Fault | None:
    """Return the fault of a picture in a folder of masks that is none, by its name; None for an image of that folder.

    masks: stems of the masks in the folder. place: the section, and whether the images are in the same folder.
    """
    section, shared = place
    where, stem = path.relative_to(data).as_posix(), stem_of(path)
    if _is_ignored(stem, section):
        return warning(where, "annotations.ignore names the end of its name; not used", "other_picture")
    if shared and section.image_prefix + section.image_suffix and is_image_name(path, section):
        return None
    for one in sets:
        end = stem[-len(one.suffix) :]
        if end.casefold() == one.suffix.casefold() and end != one.suffix:
            message = f"ends with {end}, and annotations.mask_suffix of the task is {one.suffix}; rename the mask"
            return error(where, message, "names")
    mask = next((stem[:end] for end in range(len(stem) - 1, 0, -1) if stem[:end] in masks), None)
    if mask:
        message = (
            f"its name begins with that of the mask {mask}: set annotations.unite to true, where both show parts of a "
            "structure, name its end in annotations.mask_suffix for a structure of its own, or move it away"
        )
        return error(where, message, "further_mask")
    if shared:
        return None
    message = f"ends with no annotations.mask_suffix ({choices([one.suffix for one in sets])}); not used"
    if not stem.startswith(section.mask_prefix):
        message = f"does not begin with annotations.mask_prefix ({section.mask_prefix}); not used"
    return warning(where, message, "other_picture")


def without_image(names: Collection[str], masks_of: Mapping[MaskSet, Masks], data: Path) -> list[Fault]:
    """Return an error for each mask without an image; names: those of the images."""
    lonely = [mask for by_name in masks_of.values() for name in by_name.keys() - names for mask in by_name[name]]
    message = "a mask for an image that is not there"
    return [error(mask.relative_to(data).as_posix(), message, "no_image") for mask in lonely]


def is_shared(masks: MaskSet, section: MaskFolder) -> bool:
    """Return whether masks are in the folder of the images, by the names of the folders; no links are resolved."""
    return normpath(masks.folder) == normpath(section.images)
