"""Annotation format `mask_folder`: a mask file for each image, paired by file name."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from posixpath import normpath
from typing import ClassVar

from sonoseg.annotations.base import AnnotatedImage, Annotation, folder_inside, with_ids
from sonoseg.errors import TaskError
from sonoseg.io.faults import Fault, error
from sonoseg.io.files import write_bytes
from sonoseg.io.image_ref import ImageRef
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
        """Pair `<name><image_suffix>` with `<name><mask_suffix>`, in one folder or two, whatever their extensions.

        Faults: an image without a mask, a mask without an image, several masks for an image, invalid names, links that
        lead out of `data`. Raises DataError when a folder is missing, TaskError when images and masks share a folder
        and have the same suffix.
        """
        images, masks, faults = _list_files(data, section)
        masks_of = defaultdict(list)
        for mask in masks:
            masks_of[mask.stem.removesuffix(section.mask_suffix)].append(mask)
        items = []
        image_of, more = with_ids(images, data)
        faults += more
        for identity, image in image_of.items():
            candidates = masks_of.get(_name(image.stem, section), [])
            problem = _pairing_problem(image, candidates, section, data)
            if problem:
                faults.append(error(image.relative_to(data).as_posix(), problem, "no_mask", identity))
            else:
                items.append(AnnotatedImage(identity, ImageRef(image), candidates[0], section.fill_outlines))
        names = {_name(image.stem, section) for image in images}
        for name in masks_of.keys() - names:
            for mask in masks_of[name]:
                message = "a mask for an image that is not there"
                faults.append(error(mask.relative_to(data).as_posix(), message, "no_image"))
        return sorted(items, key=lambda item: item.id), faults

    def write(self, data: Path, section: MaskFolder, annotations: Iterable[Annotation], sync: bool = True) -> None:
        """Write each mask in the file format of its image when that is lossless, otherwise as PNG."""
        for annotation in annotations:
            if annotation.mask is None:
                raise ValueError(f"{annotation.image}: has no mask, which this format stores")
            (name,) = self.image_files(section, annotation.image)
            write_bytes(data / name, encode_picture(annotation.mask, Path(name).suffix), sync)

    def image_files(self, section: MaskFolder, image: str) -> list[str]:
        path = Path(image)
        suffix = path.suffix if path.suffix.lower() in LOSSLESS_SUFFIXES else ".png"
        return [f"{section.masks}/{_name(path.stem, section)}{section.mask_suffix}{suffix}"]

    def shared_files(self, section: MaskFolder) -> list[str]:
        return []

    def folders(self, section: MaskFolder) -> list[str]:
        return [section.images, section.masks]

    def is_annotation(self, path: Path, section: MaskFolder) -> bool:
        # The data folder is unknown here, so names are compared, and no links are resolved.
        return normpath(section.images) == normpath(section.masks) and _is_mask(path, section)


def _list_files(data: Path, section: MaskFolder) -> tuple[list[Path], list[Path], list[Fault]]:
    """Return images, masks, and the faults of folders that lead out of the data folder."""
    images, faults = folder_inside(data, section.images)
    masks, more = folder_inside(data, section.masks)
    if _in_one_folder(section, data):
        if section.mask_suffix == section.image_suffix:
            raise TaskError(
                "annotations.mask_suffix: images and masks share a folder, so their suffixes have to differ"
            )
        images = [path for path in images if not _is_mask(path, section)]
        masks = [path for path in masks if _is_mask(path, section)]
    images = [path for path in images if path.stem.endswith(section.image_suffix)]
    masks = [path for path in masks if path.stem.endswith(section.mask_suffix)]
    return images, masks, faults + more


def _name(image_stem: str, section: MaskFolder) -> str:
    """Return the part of the name that an image and its mask share."""
    return image_stem.removesuffix(section.image_suffix)


def _in_one_folder(section: MaskFolder, data: Path) -> bool:
    """Return whether images and masks of the data folder lie in the same folder, links resolved."""
    return (data / section.images).resolve() == (data / section.masks).resolve()


def _is_mask(path: Path, section: MaskFolder) -> bool:
    """Return whether a file is a mask, by its name, in a folder with both images and masks.

    When both suffixes match, the longer one decides: `a_image_mask` is a mask of `a_image`, and with the image suffix
    `_img_mask` the file `a_img_mask` is an image.
    """
    if not path.stem.endswith(section.mask_suffix):
        return False
    return not (len(section.image_suffix) > len(section.mask_suffix) and path.stem.endswith(section.image_suffix))


def _pairing_problem(image: Path, masks: list[Path], section: MaskFolder, data: Path) -> str | None:
    if not masks:
        expected = _name(image.stem, section) + section.mask_suffix
        return f"has no mask; expected {section.masks}/{expected}.png"
    if len(masks) > 1:
        return f"has several masks: {', '.join(mask.name for mask in masks)}; keep one"
    if not is_inside(masks[0], data):
        return f"its mask {masks[0].name} is a link that leads out of the data folder; copy the mask there instead"
    return None
