"""Annotation format `mask_folder`: a mask file for each image, or one per structure, paired by file name."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from posixpath import normpath
from typing import ClassVar

from sonoseg.annotations.base import AnnotatedImage, Annotation, MaskFile, folder_inside, with_ids
from sonoseg.annotations.frame_masks import FrameMasks
from sonoseg.annotations.frames import ImageFiles
from sonoseg.errors import TaskError, choices
from sonoseg.io.faults import Fault, error
from sonoseg.io.files import write_bytes
from sonoseg.io.image_ref import ImageRef, stem_of
from sonoseg.io.masks import LOSSLESS_SUFFIXES, encode_picture
from sonoseg.io.names import is_inside
from sonoseg.schema.annotation_formats import MaskFolder
from sonoseg.schema.annotations import Structure


class MaskFolderFormat:
    written_as: ClassVar[Mapping[str, str]] = dict.fromkeys(("line", "rectangle", "ellipse", "region"), "its pixels")
    states_empty: ClassVar[bool] = True
    mixed_kinds: ClassVar[bool] = True

    def read(
        self, data: Path, section: MaskFolder, structures: Sequence[Structure]
    ) -> tuple[list[AnnotatedImage], list[Fault]]:
        """Pair `<name><image_suffix>` with `<name><mask_suffix>`, in one folder or several, whatever their extensions.

        Masks of the frames of a file have their number, or are the pages of one file, see `FrameMasks`. Faults: an
        image without a mask, or without one of a structure that has a folder, a mask without an image, several masks
        for an image, invalid names, links that lead out of `data`. Raises DataError when a folder is missing, TaskError
        when images and masks share a folder and have the same suffix.
        """
        images, masks, faults = _list_files(data, section)
        masks_of = {structure: _by_name(paths, section) for structure, paths in masks.items()}
        items: list[AnnotatedImage] = []
        image_of, more = with_ids(images, data)
        faults += more
        values = tuple(section.values.items())
        names = {_name(stem_of(image), section) for image in images}
        image_files, frames = ImageFiles(image_of), _frame_masks(data, section, masks_of)
        for identity, image in image_of.items():
            name = _name(stem_of(image), section)
            if identity in image_files.frames_of:
                of_file, more = frames.read(identity, name, image_files)
                items += of_file
                faults += more
                names |= frames.numbered.get(name, {}).keys()
                continue
            candidates = {structure: by_name.get(name, []) for structure, by_name in masks_of.items()}
            problem = _pairing_problem(name, candidates, section, data)
            if problem:
                faults.append(error(image.relative_to(data).as_posix(), problem, "no_mask", identity))
            else:
                files = tuple(MaskFile(paths[0], structure, values) for structure, paths in candidates.items())
                items.append(AnnotatedImage(identity, ImageRef(image), files, section.fill_outlines))
        for by_name in masks_of.values():
            for name in by_name.keys() - names:
                for mask in by_name[name]:
                    message = "a mask for an image that is not there"
                    faults.append(error(mask.relative_to(data).as_posix(), message, "no_image"))
        return sorted(items, key=lambda item: item.id), faults

    def write(self, data: Path, section: MaskFolder, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write each mask in the file format of its image when that is lossless, otherwise as PNG.

        Raises ValueError also for a section with a folder per structure.
        """
        if not isinstance(section.masks, str):
            raise ValueError("masks in a folder per structure are only read; name one folder to write masks")
        for annotation in annotations:
            if annotation.mask is None:
                raise ValueError(f"{annotation.image}: has no mask, which this format stores")
            (name,) = self.image_files(section, annotation.image)
            write_bytes(data / name, encode_picture(annotation.mask, Path(name).suffix), sync)

    def image_files(self, section: MaskFolder, image: str) -> list[str]:
        path = Path(image)
        suffix = path.suffix if path.suffix.lower() in LOSSLESS_SUFFIXES else ".png"
        mask = f"{_name(path.stem, section)}{section.mask_suffix}{suffix}"
        return [f"{folder}/{mask}" for _, folder in section.mask_folders]

    def shared_files(self, section: MaskFolder) -> list[str]:
        return []

    def folders(self, section: MaskFolder) -> list[str]:
        return [section.images, *(folder for _, folder in section.mask_folders)]

    def is_annotation(self, path: Path, section: MaskFolder) -> bool:
        # The data folder is unknown here, so names are compared, and no links are resolved.
        shared = any(normpath(folder) == normpath(section.images) for _, folder in section.mask_folders)
        return shared and _is_mask(path, section)


def _frame_masks(
    data: Path, section: MaskFolder, masks: Mapping[str | None, Mapping[str, Sequence[Path]]]
) -> FrameMasks:
    keep_empty = getattr(section, "without_annotation", None) == "empty"
    values = tuple(section.values.items())
    return FrameMasks(
        data,
        masks,
        lambda name, paths: _pairing_problem(name, paths, section, data),
        values,
        section.fill_outlines,
        keep_empty,
    )


def _list_files(data: Path, section: MaskFolder) -> tuple[list[Path], dict[str | None, list[Path]], list[Fault]]:
    """Return images, masks by structure, and the faults of folders that lead out of the data folder."""
    images, faults = folder_inside(data, section.images)
    masks: dict[str | None, list[Path]] = {}
    for structure, folder in section.mask_folders:
        paths, more = folder_inside(data, folder)
        faults += more
        if _is_same_folder(section.images, folder, data):
            if section.mask_suffix == section.image_suffix:
                raise TaskError(
                    "annotations.mask_suffix: images and masks share a folder, so their suffixes have to differ"
                )
            images = [path for path in images if not _is_mask(path, section)]
            paths = [path for path in paths if _is_mask(path, section)]
        masks[structure] = [path for path in paths if path.stem.endswith(section.mask_suffix)]
    return [path for path in images if path.stem.endswith(section.image_suffix)], masks, faults


def _by_name(masks: Iterable[Path], section: MaskFolder) -> dict[str, list[Path]]:
    """Return {name that a mask shares with its image: masks}."""
    by_name = defaultdict(list)
    for mask in masks:
        by_name[mask.stem.removesuffix(section.mask_suffix)].append(mask)
    return by_name


def _name(image_stem: str, section: MaskFolder) -> str:
    """Return the part of the name that an image and its mask share."""
    return image_stem.removesuffix(section.image_suffix)


def _is_same_folder(first: str, second: str, data: Path) -> bool:
    """Return whether two folders of the data folder are the same, links resolved."""
    return (data / first).resolve() == (data / second).resolve()


def _is_mask(path: Path, section: MaskFolder) -> bool:
    """Return whether a file is a mask, by its name, in a folder with both images and masks.

    When both suffixes match, the longer one decides: `a_image_mask` is a mask of `a_image`, and with the image suffix
    `_img_mask` the file `a_img_mask` is an image.
    """
    if not path.stem.endswith(section.mask_suffix):
        return False
    return not (len(section.image_suffix) > len(section.mask_suffix) and path.stem.endswith(section.image_suffix))


def _pairing_problem(
    name: str, masks: Mapping[str | None, Sequence[Path]], section: MaskFolder, data: Path
) -> str | None:
    """Return what is wrong with the masks of an image, by structure; None where there is one in each folder."""
    folders = dict(section.mask_folders)
    missing = [structure for structure, paths in masks.items() if not paths]
    if missing:
        expected = [f"{folders[structure]}/{name}{section.mask_suffix}.png" for structure in missing]
        if len(missing) == len(masks):
            return f"has no mask; expected {' and '.join(expected)}"
        return f"has no mask of {choices(missing)}; expected {' and '.join(expected)}, empty where it shows none"
    for paths in masks.values():
        if len(paths) > 1:
            return f"has several masks: {', '.join(mask.name for mask in paths)}; keep one"
        if not is_inside(paths[0], data):
            return f"its mask {paths[0].name} is a link that leads out of the data folder; copy the mask there instead"
    return None
