"""Whether pictures are masks, and what their values mean, from a sample of them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from sonoseg.annotations.frames import frame_count
from sonoseg.annotations.mask_values import fill_outline
from sonoseg.errors import DataError, is_machine_error
from sonoseg.io.image_ref import ImageRef
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image, read_image_header
from sonoseg.new_task.contents import Contents
from sonoseg.new_task.masks.colors import colors_of, is_saturated
from sonoseg.prepare.statistics import evenly
from sonoseg.types import Pixels

FEW_VALUES, ALL_PIXELS = 8, 0.98
"""A picture is a mask when so few values make nearly all of its pixels; the soft edges of a JPEG make the rest."""
BRIGHT, SOFT = 128, 0.85
"""Brightest value of a binary mask saved as JPEG, at least, and the part of its pixels that are near either value."""
MOST_CLASSES = 20
MOST_MASKS = 0.8
"""Part of the pictures that are masks, from which a folder is one of masks."""
PEAK, NEAR = 0.05, 16
"""Part of the annotated pixels that are near a value of a class where there are many values; the distance of two."""
EDGE = 0.5
"""Part of the pixels of a value between a lower and a higher one, from which it belongs to soft edges."""
COPY = 0.98
BLACK_AND_WHITE = (1, 255)
"""What pictures with a bit per pixel store for white, and grey ones."""
MOST_PAGES = 8
NEIGHBOURS = np.ones((3, 3), np.uint8)
FLAT = 0.5
"""Part of the pixels beside the most frequent value that are like all their neighbours, from which a picture has areas
of one value each, as masks have and ultrasound has not."""


def is_pair_of_image_and_mask(sampled: Sequence[tuple[Path, Path]], contents: Contents) -> bool:
    """Return whether of (image, mask) paths the second are masks and the first are not."""
    images, masks = ([_look(path, contents) for path in paths] for paths in zip(*sampled, strict=True))
    images, masks = ([look for look in looks if look != "unreadable"] for looks in (images, masks))
    if not images or not masks or images.count("mask") >= MOST_MASKS * len(images):
        return False
    if masks.count("values") >= MOST_MASKS * len(masks) and images.count("picture") >= MOST_MASKS * len(images):
        path = next(mask for _, mask in sampled if _look(mask, contents) == "values")
        count = len(np.unique(read_mask(pages_of(path)[0])))
        contents.note(
            f"{path.relative_to(contents.folder).as_posix()}: a mask with {count} values, more than background and "
            f"{MOST_CLASSES} classes; merge some, or state structures and annotations.values in a task file"
        )
    if masks.count("coloured") >= MOST_MASKS * len(masks):
        path = next(mask for _, mask in sampled if _look(mask, contents) == "coloured")
        contents.note(
            f"{path.relative_to(contents.folder).as_posix()}: a mask with soft edges in colours, as a JPEG has; save "
            "masks as PNG, with one colour for each structure"
        )
    return masks.count("mask") >= MOST_MASKS * len(masks)


def _look(path: Path, contents: Contents) -> str:
    """Return what a picture is: mask, values (one with too many values), coloured (in more colours than a mask has),
    picture or unreadable.

    Each is read once.
    """
    if path not in contents.looks:
        contents.looks[path] = _seen(path, contents)
    return contents.looks[path]


def _seen(path: Path, contents: Contents) -> str:
    try:
        values = read_mask(pages_of(path)[0])
        if _is_mask(values):
            return "mask"
        if not _has_areas(values):
            return "picture"
        return "mask" if len(np.unique(values)) <= MOST_CLASSES + 1 else "values"
    except (DataError, OSError) as problem:
        if is_machine_error(problem):
            raise
        try:
            grey = read_image(read_image_header(path).refs(path)[0]).pixels
            if colors_of([path]) and (_has_areas(grey) or is_saturated(path)):
                return "mask"
            return "coloured" if is_saturated(path) else "picture"
        except (DataError, OSError) as problem:
            if is_machine_error(problem):
                raise
            reason = problem.reason if isinstance(problem, DataError) else problem.strerror
            contents.note(f"{path.relative_to(contents.folder).as_posix()}: {reason}")
            return "unreadable"


def _has_areas(values: Pixels) -> bool:
    """Return whether a picture has areas of one value each."""
    others = values != np.bincount(values.ravel()).argmax()
    flat = cv2.erode(values, NEIGHBOURS) == cv2.dilate(values, NEIGHBOURS)
    return bool(np.count_nonzero(flat & others) >= FLAT * np.count_nonzero(others) > 0)


def _is_mask(values: Pixels) -> bool:
    counts = np.bincount(values.ravel(), minlength=256)
    highest = int(values.max())
    most = FEW_VALUES if highest > MOST_CLASSES else MOST_CLASSES + 1
    if np.sort(counts)[::-1][:most].sum() >= ALL_PIXELS * values.size:
        return True
    # The rings around the edges of a small JPEG: nearly black or nearly white, unlike a dark image with few echoes.
    dark, bright = counts[:NEAR].sum(), counts[highest - NEAR :].sum()
    return bool(highest >= BRIGHT and dark + bright >= SOFT * values.size and 2 * bright >= values.size - dark)


def readable(paths: Iterable[Path]) -> Iterable[tuple[Path, Pixels]]:
    """Yield (path, values) of the masks that can be read; of a file with a mask for each frame those of some."""
    for page in (page for path in paths for page in pages_of(path)):
        try:
            yield page.path, read_mask(page)
        except (DataError, OSError) as problem:
            if is_machine_error(problem):
                raise


def pages_of(path: Path) -> list[ImageRef]:
    """Return the pages of a mask, at most eight of them, evenly over a file with a mask for each frame."""
    count = frame_count(path)
    return [ImageRef(path)] if count == 1 else [ImageRef(path, page) for page in evenly(range(count), MOST_PAGES)]


def is_binary(paths: Sequence[Path]) -> bool:
    """Return whether masks show one structure: one value, or in each mask one of those that stand for white.

    Masks in colours do not, as the task has to name the colour.
    """
    if colors_of(paths):
        return False
    values = class_values(stored for _, stored in readable(paths))
    if values == list(BLACK_AND_WHITE):
        return not any(all((stored == value).any() for value in BLACK_AND_WHITE) for _, stored in readable(paths))
    return len(values) <= 1


def are_copies(first: Sequence[Path], second: Sequence[Path]) -> bool:
    """Return whether masks show the same in the same order, most of their annotated pixels being equal.

    An outline shows what it encloses.
    """
    same = either = 0
    for (_, one), (_, other) in zip(readable(first), readable(second), strict=False):
        if one.shape == other.shape:
            filled, others = fill_outline(one > 0), fill_outline(other > 0)
            same += int(np.count_nonzero(filled & others))
            either += int(np.count_nonzero(filled | others))
    return either > 0 and same >= COPY * either


def class_values(masks: Iterable[Pixels]) -> list[int]:
    """Return the stored values that stand for structures, in order; empty where all masks are empty.

    0 is background. Values that lie only on edges, between a lower and a higher one, come from smoothing or from a
    JPEG. Where there are many values, only frequent ones far from each other count.
    """
    total, between = np.zeros(256, np.int64), np.zeros(256, np.int64)
    for values in masks:
        total += np.bincount(values.ravel(), minlength=256)
        inside = (cv2.erode(values, NEIGHBOURS) < values) & (values < cv2.dilate(values, NEIGHBOURS))
        between += np.bincount(values[inside], minlength=256)
    total[0] = between[0] = 0
    found = [int(value) for value in np.flatnonzero(total)]
    if not found:
        return []
    areas = [value for value in found if between[value] < EDGE * total[value]] or [found[-1]]
    if len(found) <= MOST_CLASSES:
        return areas
    inner = np.zeros(256, np.int64)
    inner[areas] = total[areas]
    around = np.convolve(inner, np.ones(NEAR + 1, np.int64), "same")
    peaks: list[int] = []
    for value in sorted(areas, key=lambda one: -inner[one]):
        if around[value] >= PEAK * total.sum() and all(abs(value - peak) > NEAR for peak in [0, *peaks]):
            peaks.append(value)
    return sorted(peaks) or [found[-1]]


def palette_colors(path: Path, values: Sequence[int]) -> list[str]:
    """Return the colour `#rrggbb` of each value in a palette picture; empty for others, and for grey or equal ones."""
    try:
        with Image.open(path, formats=["PNG", "TIFF", "BMP"]) as picture:
            palette = picture.getpalette() if picture.mode == "P" else None
    except (OSError, ValueError, SyntaxError):
        return []
    if not palette or len(palette) < 3 * (max(values, default=0) + 1):
        return []
    triples = [tuple(palette[3 * value : 3 * value + 3]) for value in values]
    if len(set(triples)) < len(triples) or any(red == green == blue for red, green, blue in triples):
        return []
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in triples]
