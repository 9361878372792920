"""The structures of a folder of masks."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from sonoseg.annotations import AnnotatedImage, MaskFile
from sonoseg.annotations.mask_values import class_indices, fill_outline, is_thin
from sonoseg.errors import DataError
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import read_colored_mask
from sonoseg.new_task.masks.colors import MOST_COLORS, color_names, colors_of, is_colored
from sonoseg.new_task.masks.samples import (
    BLACK_AND_WHITE,
    MOST_CLASSES,
    class_values,
    is_binary,
    palette_colors,
    readable,
)
from sonoseg.new_task.names import only_name
from sonoseg.new_task.structures import (
    SAMPLED,
    FoundStructure,
    are_outlines,
    color_of,
    fitted,
    with_covers,
)
from sonoseg.prepare.statistics import evenly
from sonoseg.schema.annotation_formats import section_of
from sonoseg.types import Mask, Pixels

MOST_PIXELS = 60_000_000
"""Pixels of the masks whose shapes are looked at."""
VOID = 255
"""Value of white, and of pixels of no class in masks of PASCAL VOC."""
VALUES_SAMPLED = 200
"""Masks whose values are looked at."""


def structures_of_masks(
    items: Sequence[AnnotatedImage], section: Mapping[str, Any]
) -> tuple[list[FoundStructure], dict[str, Any]]:
    """Return the structures of images with masks, and `section` completed by what their values mean.

    Raises DataError when no mask can be read, or when they have more values than classes.
    """
    names = [masks.structure for masks in section_of(section).mask_sets if masks.structure is not None]
    if names:
        drawn = [masks for item in evenly(items, SAMPLED) if (masks := _binary(item.masks))]
        found = [(name, color_of(number)) for number, name in enumerate(names)]
        return _completed(found, _limited(drawn), dict(section))
    paths = list(dict.fromkeys(mask.path for item in items for mask in item.masks))
    if colors := colors_of(evenly(paths, VALUES_SAMPLED)):
        return _of_colors(colors, evenly(paths, SAMPLED), dict(section))
    sampled = evenly(paths, SAMPLED)
    if 2 * sum(bool(colors_of([path])) for path in sampled) > len(sampled):
        raise DataError(
            f"masks that have more than {MOST_COLORS} colours together, or soft edges; save them as PNG, with one "
            "colour for each structure"
        )
    values = class_values(stored for _, stored in readable(evenly(paths, VALUES_SAMPLED)))
    if values == list(BLACK_AND_WHITE) and is_binary(evenly(paths, VALUES_SAMPLED)):
        values = [1]
    if len(values) > MOST_CLASSES:
        raise DataError(f"masks with {len(values)} values, more than {MOST_CLASSES}; are they masks?")
    sampled = list(dict.fromkeys(path for path, _ in readable(evenly(paths, SAMPLED))))
    if not sampled:
        raise DataError(f"no readable mask, such as {paths[0].name}" if paths else "no mask of an image")
    if len(values) < 2:
        name = only_name(section["images"], section["masks"], section["mask_suffix"])
        drawn = [{name: class_indices(stored, [name])[0] > 0} for _, stored in readable(sampled)]
        return _completed([(name, color_of(0))], _limited(drawn), dict(section))
    is_rim = len(values) > 2 and values[-1] == VOID and _is_rim(stored for _, stored in readable(sampled))
    values = values[:-1] if is_rim else values
    colors = next((colors for path in sampled if (colors := palette_colors(path, values))), [])
    if not colors:
        colors = [color_of(number) for number in range(len(values))]
    found = [(f"CLASS_{value}", color) for value, color in zip(values, colors, strict=True)]
    drawn = [{f"CLASS_{value}": stored == value for value in values} for _, stored in readable(sampled)]
    meaning: dict[int, str | None] = {value: f"CLASS_{value}" for value in values}
    is_index = values == list(range(1, len(values) + 1))
    if is_rim:
        meaning, is_index = meaning | {VOID: None}, False
    structures, section = _completed(found, _limited(drawn), dict(section) | ({} if is_index else {"values": meaning}))
    if is_rim:
        rim = f"; value {VOID} is nowhere thicker than a line, and taken for background"
        structures = [replace(one, reason=one.reason + rim) for one in structures]
    return structures, section


def _of_colors(
    colors: Sequence[str], paths: Sequence[Path], section: dict[str, Any]
) -> tuple[list[FoundStructure], dict[str, Any]]:
    """Return the structures of masks in colours, and the section with what each colour means."""
    names = color_names(colors)
    if len(colors) == 1:
        names = [only_name(section["images"], section["masks"], section["mask_suffix"])]
    drawn = []
    for path in paths:
        with suppress(DataError, ValueError):
            positions, _ = read_colored_mask(ImageRef(path), colors)
            drawn.append({name: positions == position for position, name in enumerate(names, start=1)})
    shown = [color if is_colored(color) else color_of(number) for number, color in enumerate(colors)]
    section |= {"values": dict(zip(colors, names, strict=True))}
    structures, section = _completed(list(zip(names, shown, strict=True)), _limited(drawn), section)
    named = zip(colors, structures, strict=True)
    return [replace(one, reason=f"{color} in the masks; {one.reason}") for color, one in named], section


def _is_rim(masks: Iterable[Pixels]) -> bool:
    """Return whether 255 is nowhere thicker than a line: the rim around structures in masks of PASCAL VOC."""
    shown = [stored == VOID for stored in masks]
    return all(is_thin(rim) for rim in shown if rim.any())


def _binary(files: Sequence[MaskFile]) -> dict[str, Mask]:
    """Return {structure: mask} of the binary masks of an image; empty unless all are readable and of one size."""
    masks = {
        str(file.structure): class_indices(stored, [str(file.structure)])[0] > 0
        for file in files
        for _, stored in readable([file.path])
    }
    return masks if len(masks) == len(files) and len({mask.shape for mask in masks.values()}) == 1 else {}


def _limited(drawn: Sequence[Mapping[str, Mask]]) -> list[Mapping[str, Mask]]:
    """Return as many of the images' masks as have at most `MOST_PIXELS`, at least one."""
    kept: list[Mapping[str, Mask]] = []
    count = 0
    for masks in drawn:
        count += sum(mask.size for mask in masks.values())
        if kept and count > MOST_PIXELS:
            break
        kept.append(masks)
    return kept


def _completed(
    found: Sequence[tuple[str, str]], drawn: Sequence[Mapping[str, Mask]], section: dict[str, Any]
) -> tuple[list[FoundStructure], dict[str, Any]]:
    """Return the structures with their shapes, and the section with `fill_outlines` where all masks are outlines."""
    if not drawn:
        raise DataError("no readable mask")
    masks_of = {name: [masks[name] for masks in drawn if name in masks] for name, _ in found}
    outlines = all(are_outlines(masks) or not any(mask.any() for mask in masks) for masks in masks_of.values())
    outlines &= any(mask.any() for masks in masks_of.values() for mask in masks)
    if outlines:
        section |= {"fill_outlines": True}
        drawn = [{name: fill_outline(mask) for name, mask in masks.items()} for masks in drawn]
        masks_of = {name: [masks[name] for masks in drawn if name in masks] for name, _ in found}
    structures = [fitted(name, color, masks_of[name]) for name, color in found]
    if outlines:
        structures = [replace(one, reason=f"{one.reason}; outlines, which are filled") for one in structures]
    return with_covers(structures, drawn, [name for name, _ in found]), section
