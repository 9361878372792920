"""Annotation format `mask_folder`: each image has a mask picture, paired by file name."""

from collections import defaultdict
from pathlib import Path

from sonoseg.annotations.base import Annotated, folder_inside, with_ids
from sonoseg.errors import TaskError
from sonoseg.io.faults import Fault, error
from sonoseg.io.names import is_inside
from sonoseg.schema.annotations import MaskFolder
from sonoseg.schema.task import Task


def read_mask_folder(data: Path, task: Task) -> tuple[list[Annotated], list[Fault]]:
    """Pair `<name><image_suffix>` with `<name><mask_suffix>`, in one folder or two, whatever their extensions.

    Faults: an image without a mask, a mask without an image, two masks for one image, unfit names, links that lead out
    of `data`. Raises DataError when a folder is missing, TaskError when one folder holds both and no suffix tells
    masks from images.
    """
    layout = task.annotations
    assert isinstance(layout, MaskFolder)
    images, faults = folder_inside(data, layout.images)
    masks, more = folder_inside(data, layout.masks)
    faults += more
    if share_a_folder(layout, data):
        if layout.mask_suffix == layout.image_suffix:
            raise TaskError(
                "annotations.mask_suffix: images and masks share a folder, so their suffixes have to differ"
            )
        images = [path for path in images if not is_mask(path, layout)]
        masks = [path for path in masks if is_mask(path, layout)]
    images = [path for path in images if path.stem.endswith(layout.image_suffix)]
    masks = [path for path in masks if path.stem.endswith(layout.mask_suffix)]

    masks_of = defaultdict(list)
    for mask in masks:
        masks_of[mask.stem.removesuffix(layout.mask_suffix)].append(mask)
    items = []
    with_id, more = with_ids(images, data)
    faults += more
    for identity, image in with_id.items():
        found = masks_of.get(image.stem.removesuffix(layout.image_suffix), [])
        problem = _pairing_problem(image, found, layout, data)
        if problem:
            faults.append(error(image.relative_to(data).as_posix(), problem, "no_mask"))
        else:
            items.append(Annotated(identity, image, mask=found[0]))
    names = {image.stem.removesuffix(layout.image_suffix) for image in images}
    for name in masks_of.keys() - names:
        for mask in masks_of[name]:
            message = "a mask for an image that is not there"
            faults.append(error(mask.relative_to(data).as_posix(), message, "no_image"))
    return sorted(items, key=lambda item: item.id), faults


def share_a_folder(layout: MaskFolder, data: Path) -> bool:
    """Return whether images and masks of the data folder lie in the same folder, links resolved."""
    return (data / layout.images).resolve() == (data / layout.masks).resolve()


def is_mask(path: Path, layout: MaskFolder) -> bool:
    """Return whether a file is a mask, by its name, in a folder with both images and masks.

    When both suffixes match, the longer one decides: `a_image_mask` is a mask of `a_image`, and with the image suffix
    `_img_mask` the file `a_img_mask` is an image.
    """
    if not path.stem.endswith(layout.mask_suffix):
        return False
    return not (len(layout.image_suffix) > len(layout.mask_suffix) and path.stem.endswith(layout.image_suffix))


def _pairing_problem(image: Path, masks: list[Path], layout: MaskFolder, data: Path) -> str | None:
    if not masks:
        wanted = image.stem.removesuffix(layout.image_suffix) + layout.mask_suffix
        return f"has no mask; expected {layout.masks}/{wanted}.png"
    if len(masks) > 1:
        return f"has several masks: {', '.join(mask.name for mask in masks)}; keep one"
    if not is_inside(masks[0], data):
        return f"its mask {masks[0].name} is a link that leads out of the data folder; copy the mask there instead"
    return None
