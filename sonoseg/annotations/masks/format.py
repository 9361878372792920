"""Annotation format `mask_folder`: a mask file for each image, or one per structure, paired by file name."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from sonoseg.annotations.base import AnnotatedImage, Annotation, MaskFile, with_ids
from sonoseg.annotations.frames import ImageFiles
from sonoseg.annotations.masks.files import Masks, image_name, is_shared, list_files, set_of, without_image
from sonoseg.annotations.masks.frame_masks import FrameMasks
from sonoseg.errors import choices
from sonoseg.io.faults import Fault, error, warning
from sonoseg.io.files import write_bytes
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.masks import LOSSLESS_SUFFIXES, colored, encode_picture
from sonoseg.io.names import is_inside
from sonoseg.schema.annotation_formats import MaskFolder, MaskSet, without_stars
from sonoseg.schema.annotations import Structure

_ASKED = (
    "set annotations.without_annotation in the task to empty, where such images do not show it, or to leave_out, where "
    "nobody has annotated them; or add the mask"
)
_WRONG_NAMES = "correct annotations.masks or annotations.mask_suffix of the task, or add the masks"


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
        listed = list_files(data, section)
        folder_of, masks_of, faults = listed.folder_of, listed.masks_of, listed.faults
        items: list[AnnotatedImage] = []
        image_of, more = with_ids(list(folder_of), data, folder_of)
        faults += more
        values = tuple(section.values.items())
        image_files, frames = ImageFiles(image_of), _frame_masks(data, section, masks_of)
        names = {folder + image_name(image, section) for image, folder in folder_of.items()}
        names |= {key for name in names for key in frames.numbered.get(name, ())}
        never = {masks.structure for masks in section.mask_sets if not names & masks_of[masks].keys()}
        if never and names and section.without_annotation == "empty":
            which = f"no image has a mask{_of([*never], section)}"
            faults.append(warning(section.images, f"{which}; {_WRONG_NAMES}", "none_with_mask"))
        for identity, image in image_of.items():
            folder = folder_of[image]
            name = folder + image_name(image, section)
            if identity in image_files.frames_of:
                of_file, more = frames.read(identity, name, image_files)
                items += [replace(item, folder=folder) for item in of_file]
                faults += more
                if not of_file and not more:
                    fault = _no_frame(image, data, section, image_files.frames_of[identity])
                    faults.append(replace(fault, image=identity))
                continue
            found = {masks: by_name.get(name, []) for masks, by_name in masks_of.items()}
            where = image.relative_to(data).as_posix()
            problem = _wrong_masks(found.values(), data, section.unite)
            missing = [masks for masks, paths in found.items() if not paths]
            if problem:
                faults.append(error(where, problem, "no_mask", identity))
            elif missing and section.without_annotation != "empty":
                lacking = [masks.structure for masks in missing]
                expected = _expected(missing, name, section)
                level, remedy, kind = _without_mask(section, bool(never & {*lacking}))
                message = f"has no mask{_of(lacking, section)} (expected {expected}); {remedy}"
                faults.append(Fault(level, where, message, kind, identity))
            else:
                files = tuple(
                    MaskFile(path, masks.structure, values) for masks, paths in found.items() for path in paths
                )
                items.append(AnnotatedImage(identity, ImageRef(image), files, section.fill_outlines, folder=folder))
        faults += _united(items, data)
        return sorted(items, key=lambda item: item.id), [*faults, *without_image(names, masks_of, data)]

    def write(self, data: Path, section: MaskFolder, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write each mask in the file format of its image when that is lossless, otherwise as PNG.

        Raises ValueError also for a section with a folder or a suffix per structure.
        """
        if section.per_structure or "*" in section.images:
            raise ValueError("masks in several folders are only read; name one folder and one suffix to write masks")
        for annotation in annotations:
            if annotation.mask is None:
                raise ValueError(f"{annotation.image}: has no mask, which this format stores")
            (name,) = self.image_files(section, annotation.image)
            stored = colored(annotation.mask, section.colors) if section.colors else annotation.mask
            write_bytes(data / name, encode_picture(stored, Path(name).suffix), sync)

    def image_files(self, section: MaskFolder, image: str) -> list[str]:
        path = Path(image)
        suffix = path.suffix if path.suffix.lower() in LOSSLESS_SUFFIXES else ".png"
        name = section.mask_prefix + image_name(path, section)
        return [f"{masks.folder}/{name}{masks.suffix}{suffix}" for masks in section.mask_sets]

    def shared_files(self, section: MaskFolder) -> list[str]:
        return []

    def folders(self, section: MaskFolder) -> list[str]:
        return list(dict.fromkeys([section.images, *(masks.folder for masks in section.mask_sets)]))

    def is_annotation(self, path: Path, section: MaskFolder) -> bool:
        # The data folder is unknown here, so names are compared, and no links are resolved.
        return (
            set_of(path, [masks for masks in section.mask_sets if is_shared(masks, section)], section, True) is not None
        )


def _frame_masks(data: Path, section: MaskFolder, masks_of: Mapping[MaskSet, Masks]) -> FrameMasks:
    keep_empty = section.without_annotation == "empty"

    def problem(name: str, found: Mapping[str | None, Sequence[Path]]) -> str | None:
        wrong = _wrong_masks(found.values(), data, section.unite)
        missing = [masks for masks in section.mask_sets if not found.get(masks.structure)]
        if wrong or not missing or keep_empty:
            return wrong or None
        expected = _expected(missing, name, section)
        return f"has no mask{_of([masks.structure for masks in missing], section)}; expected {expected}"

    by_structure = {masks.structure: by_name for masks, by_name in masks_of.items()}
    values = tuple(section.values.items())
    return FrameMasks(data, by_structure, problem, values, section.fill_outlines, keep_empty)


def _no_frame(image: Path, data: Path, section: MaskFolder, frames: int) -> Fault:
    """Return the fault of a file of which no frame has a mask."""
    name, first = image_name(image, section), section.mask_sets[0]
    where = image.relative_to(data).as_posix()
    if section.without_annotation:
        return warning(where, f"none of its {frames} frames has a mask; left out", "left_out")
    expected = f"expected {first.folder}/{name}_frame0001{first.suffix}.png, or a page for each of its {frames} frames"
    return error(where, f"has no mask ({expected}); {_ASKED}", "without_mask")


def _wrong_masks(found: Iterable[Sequence[Path]], data: Path, unite: bool) -> str:
    """Return what is wrong with the masks that an image has, those of each set; empty where nothing is.

    unite: several masks with numbers in their names are united, and only one of each number is expected.
    """
    for paths in found:
        if len({stem_of(path) for path in paths} if unite else paths[:1]) < len(paths):
            return f"has several masks: {', '.join(mask.name for mask in paths)}; keep one"
        outside = next((path for path in paths if not is_inside(path, data)), None)
        if outside:
            return f"its mask {outside.name} is a link that leads out of the data folder; copy the mask there instead"
    return ""


def _united(items: Sequence[AnnotatedImage], data: Path) -> list[Fault]:
    """Return a warning for each image with several masks of a structure, which are united."""
    counts = {(item.id, mask.structure, mask.page): 0 for item in items for mask in item.masks}
    for item in items:
        for mask in item.masks:
            counts[item.id, mask.structure, mask.page] += 1
    name_of = {item.id: item.name_in(data) for item in items}
    several = [(image, structure, count) for (image, structure, _), count in counts.items() if count > 1]
    return [
        warning(name_of[image], f"{count} masks{f' of {structure}' if structure else ''}, united", "united", image)
        for image, structure, count in several
    ]


def _expected(missing: Sequence[MaskSet], name: str, section: MaskFolder) -> str:
    """Return the names of masks that an image lacks; name: shared by both, after what each `*` stands for."""
    *stars, shared = name.split("/")
    shared = section.mask_prefix + shared
    return " and ".join(f"{without_stars(one.folder, stars)}/{shared}{one.suffix}.png" for one in missing)


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
