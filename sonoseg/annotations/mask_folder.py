"""Annotation format `mask_folder`: a mask file for each image, or one per structure, paired by file name."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from posixpath import normpath
from typing import ClassVar, Literal

from sonoseg.annotations.base import AnnotatedImage, Annotation, MaskFile, folder_inside, with_ids
from sonoseg.annotations.frame_masks import FrameMasks
from sonoseg.annotations.frames import ImageFiles
from sonoseg.errors import TaskError, choices
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.files import write_bytes
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.masks import LOSSLESS_SUFFIXES, encode_picture
from sonoseg.io.names import is_inside
from sonoseg.schema.annotation_formats import MaskFolder, MaskSet
from sonoseg.schema.annotations import Structure

_ASKED = (
    "set annotations.without_annotation in the task to empty, where such images do not show it, or to leave_out, where "
    "nobody has annotated them; or add the mask"
)
_WRONG_NAMES = "correct annotations.masks or annotations.mask_suffix of the task, or add the masks"

_Masks = dict[str, list[Path]]
"""Name that masks share with their image -> masks."""


class MaskFolderFormat:
    written_as: ClassVar[Mapping[str, str]] = dict.fromkeys(("line", "rectangle", "ellipse", "region"), "its pixels")
    states_empty: ClassVar[bool] = True
    mixed_kinds: ClassVar[bool] = True

    def read(
        self, data: Path, section: MaskFolder, structures: Sequence[Structure]
    ) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Pair `<name><image_suffix>` with `<name><mask_suffix>`, in one folder or several, whatever their extensions.

        Masks of the frames of a file have their number, or are the pages of one file, see `FrameMasks`. What an image
        without a mask, or without one of a structure with masks of its own, means, `section.without_annotation`
        decides; without it, it is a fault. Other faults: a mask without an image, several masks for an image, invalid
        names, links that lead out of `data`. Raises DataError when a folder is missing, TaskError when images and masks
        share a folder and have the same suffix.
        """
        images, masks_of, faults = _list_files(data, section)
        items: list[AnnotatedImage] = []
        image_of, more = with_ids(images, data)
        faults += more
        values = tuple(section.values.items())
        image_files, frames = ImageFiles(image_of), _frame_masks(data, section, masks_of)
        names = {_name(stem_of(image), section) for image in images}
        names |= {key for name in names for key in frames.numbered.get(name, ())}
        never = {masks.structure for masks in section.mask_sets if not names & masks_of[masks].keys()}
        if never and names and section.without_annotation == "empty":
            which = f"no image has a mask{_of([*never], section)}"
            faults.append(warning(section.images, f"{which}; {_WRONG_NAMES}", "none_with_mask"))
        for identity, image in image_of.items():
            name = _name(stem_of(image), section)
            if identity in image_files.frames_of:
                of_file, more = frames.read(identity, name, image_files)
                items += of_file
                faults += more
                if not of_file and not more:
                    fault = _no_frame(image, data, section, image_files.frames_of[identity])
                    faults.append(replace(fault, image=identity))
                continue
            found = {masks: by_name.get(name, []) for masks, by_name in masks_of.items()}
            where = image.relative_to(data).as_posix()
            problem = _wrong_masks(found.values(), data)
            missing = [masks for masks, paths in found.items() if not paths]
            if problem:
                faults.append(error(where, problem, "no_mask", identity))
            elif missing and section.without_annotation != "empty":
                lacking = [masks.structure for masks in missing]
                expected = " and ".join(f"{masks.folder}/{name}{masks.suffix}.png" for masks in missing)
                level, remedy, kind = _without_mask(section, bool(never & {*lacking}))
                message = f"has no mask{_of(lacking, section)} (expected {expected}); {remedy}"
                faults.append(Fault(level, where, message, kind, identity))
            else:
                files = tuple(MaskFile(paths[0], masks.structure, values) for masks, paths in found.items() if paths)
                items.append(AnnotatedImage(identity, ImageRef(image), files, section.fill_outlines))
        return sorted(items, key=lambda item: item.id), [*faults, *_without_image(names, masks_of, data)]

    def write(self, data: Path, section: MaskFolder, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write each mask in the file format of its image when that is lossless, otherwise as PNG.

        Raises ValueError also for a section with a folder or a suffix per structure.
        """
        if section.per_structure:
            raise ValueError("masks of one structure each are only read; name one folder and one suffix to write masks")
        for annotation in annotations:
            if annotation.mask is None:
                raise ValueError(f"{annotation.image}: has no mask, which this format stores")
            (name,) = self.image_files(section, annotation.image)
            write_bytes(data / name, encode_picture(annotation.mask, Path(name).suffix), sync)

    def image_files(self, section: MaskFolder, image: str) -> list[str]:
        path = Path(image)
        suffix = path.suffix if path.suffix.lower() in LOSSLESS_SUFFIXES else ".png"
        name = _name(path.stem, section)
        return [f"{masks.folder}/{name}{masks.suffix}{suffix}" for masks in section.mask_sets]

    def shared_files(self, section: MaskFolder) -> list[str]:
        return []

    def folders(self, section: MaskFolder) -> list[str]:
        return list(dict.fromkeys([section.images, *(masks.folder for masks in section.mask_sets)]))

    def is_annotation(self, path: Path, section: MaskFolder) -> bool:
        # The data folder is unknown here, so names are compared, and no links are resolved.
        shared = [masks for masks in section.mask_sets if normpath(masks.folder) == normpath(section.images)]
        return _set_of(path, shared, section) is not None


def _frame_masks(data: Path, section: MaskFolder, masks_of: Mapping[MaskSet, _Masks]) -> FrameMasks:
    keep_empty = section.without_annotation == "empty"

    def problem(name: str, found: Mapping[str | None, Sequence[Path]]) -> str | None:
        wrong = _wrong_masks(found.values(), data)
        missing = [masks for masks in section.mask_sets if not found.get(masks.structure)]
        if wrong or not missing or keep_empty:
            return wrong or None
        expected = " and ".join(f"{masks.folder}/{name}{masks.suffix}.png" for masks in missing)
        return f"has no mask{_of([masks.structure for masks in missing], section)}; expected {expected}"

    by_structure = {masks.structure: by_name for masks, by_name in masks_of.items()}
    values = tuple(section.values.items())
    return FrameMasks(data, by_structure, problem, values, section.fill_outlines, keep_empty)


def _no_frame(image: Path, data: Path, section: MaskFolder, frames: int) -> Fault:
    """Return the fault of a file of which no frame has a mask."""
    name, first = _name(stem_of(image), section), section.mask_sets[0]
    where = image.relative_to(data).as_posix()
    if section.without_annotation:
        return warning(where, f"none of its {frames} frames has a mask; left out", "left_out")
    expected = f"expected {first.folder}/{name}_frame0001{first.suffix}.png, or a page for each of its {frames} frames"
    return error(where, f"has no mask ({expected}); {_ASKED}", "without_mask")


def _list_files(data: Path, section: MaskFolder) -> tuple[list[Path], dict[MaskSet, _Masks], list[Fault]]:
    """Return images, masks by name, and the faults of other files in the folders of masks, and of links that lead out.

    Raises DataError and TaskError as `MaskFolderFormat.read` does.
    """
    images, faults = folder_inside(data, section.images)
    by_folder: dict[Path, list[MaskSet]] = defaultdict(list)
    for masks in section.mask_sets:
        by_folder[(data / masks.folder).resolve()].append(masks)
    masks_of: dict[MaskSet, _Masks] = {masks: defaultdict(list) for masks in section.mask_sets}
    for folder, sets in by_folder.items():
        shared = folder == (data / section.images).resolve()
        if shared and any(masks.suffix == section.image_suffix for masks in sets):
            raise TaskError(
                "annotations.mask_suffix: images and masks share a folder, so their suffixes have to differ"
            )
        paths, more = folder_inside(data, sets[0].folder)
        faults += more
        others = []
        for path in paths:
            found = _set_of(path, sets, section if shared else None)
            if found is None:
                others.append(path)
            else:
                masks_of[found][path.stem.removesuffix(found.suffix)].append(path)
        stems = {mask.stem for masks in sets for paths in masks_of[masks].values() for mask in paths}
        wrong = [_no_mask(path, data, sets, stems, section if shared else None) for path in others]
        faults += [fault for fault in wrong if fault is not None]
        if shared:
            images = [path for path, fault in zip(others, wrong, strict=True) if fault is None]
    return [path for path in images if path.stem.endswith(section.image_suffix)], masks_of, faults


def _no_mask(
    path: Path, data: Path, sets: Sequence[MaskSet], masks: Collection[str], section: MaskFolder | None
) -> Fault | None:
    """Return the fault of a picture in a folder of masks that is none, by its name; None for an image of that folder.

    masks: stems of the masks in the folder. section: of images in the same folder, None where there are only masks.
    """
    where = path.relative_to(data).as_posix()
    if section and section.image_suffix and path.stem.endswith(section.image_suffix):
        return None
    for one in sets:
        end = path.stem[-len(one.suffix) :]
        if end.casefold() == one.suffix.casefold() and end != one.suffix:
            message = f"ends with {end}, and annotations.mask_suffix of the task is {one.suffix}; rename the mask"
            return error(where, message, "names")
    mask = next((path.stem[:end] for end in range(len(path.stem) - 1, 0, -1) if path.stem[:end] in masks), None)
    if mask:
        message = (
            f"its name begins with that of the mask {mask}: unite it with that one, name its end in "
            "annotations.mask_suffix for a structure of its own, or move it away"
        )
        return error(where, message, "further_mask")
    if section:
        return None
    message = f"ends with no annotations.mask_suffix ({choices([one.suffix for one in sets])}); not used"
    return warning(where, message, "other_picture")


def _set_of(path: Path, sets: Iterable[MaskSet], section: MaskFolder | None) -> MaskSet | None:
    """Return the masks of one folder to which a file belongs, by its name; None for any other file.

    When several suffixes match, the longest one decides. section: of images in the same folder; `a_image_mask` is a
    mask of `a_image`, and with the image suffix `_img_mask` the file `a_img_mask` is an image.
    """
    matching = [masks for masks in sets if path.stem.endswith(masks.suffix)]
    masks = max(matching, key=lambda masks: len(masks.suffix), default=None)
    if masks is None or section is None:
        return masks
    is_image = len(section.image_suffix) > len(masks.suffix) and path.stem.endswith(section.image_suffix)
    return None if is_image else masks


def _name(image_stem: str, section: MaskFolder) -> str:
    """Return the part of the name that an image and its masks share."""
    return image_stem.removesuffix(section.image_suffix)


def _wrong_masks(found: Iterable[Sequence[Path]], data: Path) -> str:
    """Return what is wrong with the masks that an image has, those of each set; empty where nothing is."""
    for paths in found:
        if len(paths) > 1:
            return f"has several masks: {', '.join(mask.name for mask in paths)}; keep one"
        if paths and not is_inside(paths[0], data):
            return f"its mask {paths[0].name} is a link that leads out of the data folder; copy the mask there instead"
    return ""


def _without_mask(section: MaskFolder, none_has_one: bool) -> tuple[Literal["error", "warning"], str, str]:
    """Return level, remedy and kind of the fault that an image lacks a mask; none_has_one: as all other images do."""
    if none_has_one:
        return "error", f"no image has one; {_WRONG_NAMES}", "none_with_mask"
    if section.without_annotation == "leave_out":
        return "warning", "left out", "left_out"
    return "error", _ASKED, "without_mask"


def _of(structures: Collection[str | None], section: MaskFolder) -> str:
    """Return ` of ` and the structures whose masks are missing; empty where all are."""
    return "" if len(structures) == len(section.mask_sets) else f" of {choices(list(structures))}"


def _without_image(names: Collection[str], masks_of: Mapping[MaskSet, _Masks], data: Path) -> list[Fault]:
    lonely = [mask for by_name in masks_of.values() for name in by_name.keys() - names for mask in by_name[name]]
    message = "a mask for an image that is not there"
    return [error(mask.relative_to(data).as_posix(), message, "no_image") for mask in lonely]
