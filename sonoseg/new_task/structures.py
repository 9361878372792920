"""The classes of a folder: their names, colours, and the kind of shape that fits each of them."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from pydantic import TypeAdapter

from sonoseg.annotations import FORMATS, AnnotatedImage
from sonoseg.annotations.mask_values import fill_outline, is_thin
from sonoseg.annotations.shapes_json import KIND_OF
from sonoseg.errors import DataError
from sonoseg.geometry.shapes import KindName, Shape, fit_shapes
from sonoseg.io.masks import read_mask
from sonoseg.io.readers import read_image_header
from sonoseg.io.reading import read_text_file
from sonoseg.schema.annotation_formats import Annotations
from sonoseg.schema.annotations import Structure
from sonoseg.types import Mask, Pixels

SAMPLED = 24
"""Annotations that are looked at."""
COLORS = ("#3bceac", "#ffd23f", "#ee4266", "#4d96ff", "#ff924c", "#b388eb", "#80ed99", "#f15bb5")
FEW_VALUES, ALL_PIXELS = 8, 0.98
"""A picture is a mask when so few values make nearly all of its pixels; the soft edges of a JPEG make the rest."""
MOST_CLASSES = 20
LINE_THICKNESS_PX = 10.0
"""Drawing width that is proposed for lines, whose annotations have none."""
FITS, LINE_FITS, ELONGATED = 0.985, 0.75, 6.0
"""Median Dice from which a shape is proposed for a structure, and how long a line is compared with its width."""
ADAPTER: TypeAdapter[Any] = TypeAdapter(Annotations)
GENERIC = {"mask", "masks", "annotation", "annotations", "label", "labels", "seg", "segmentation", "gt", "manual", ""}


@dataclass(frozen=True)
class FoundStructure:
    """A class as it was found. labels: of an annotation tool, that mean it. reason: why it has this shape."""

    name: str
    shape: KindName
    color: str
    reason: str
    thickness_px: float | None = None
    labels: tuple[str, ...] = ()
    covered_by: tuple[str, ...] = ()

    def structure(self) -> Structure:
        return Structure(
            name=self.name,
            shape=self.shape,
            color=self.color,
            thickness_px=self.thickness_px,
            covered_by=list(self.covered_by),
        )


class _Recorder(dict[str, str | None]):
    """`labels` of a section that maps every label to a structure, and remembers it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, str] = {}

    def get(self, label: str, default: Any = None) -> str:
        return self.seen.setdefault(label, f"LABEL_{len(self.seen) + 1}")


def structures_of_labels(folder: Path, section: Mapping[str, Any]) -> list[FoundStructure]:
    """Return the classes of files of an annotation tool, in the order of their first use.

    Raises DataError and TaskError as the format does for files that cannot be read as a whole.
    """
    settings = ADAPTER.validate_python({**section, "without_annotation": "empty"})
    recorder = _Recorder()
    # Lines accept every kind of shape, so that nothing is refused before the kinds are known.
    anything = [Structure(name=f"LABEL_{n + 1}", shape="line", color=COLORS[0], thickness_px=1) for n in range(254)]
    recording = settings.model_copy(update={"labels": recorder})
    items, _ = FORMATS[settings.format].read(folder, recording, anything)
    label_of = {placeholder: label for label, placeholder in recorder.seen.items()}
    kinds: dict[str, Counter[KindName]] = {label: Counter() for label in recorder.seen}
    for item in items:
        for _, shape in item.shapes:
            kinds[label_of[shape.structure]][shape.kind if isinstance(shape, Shape) else "region"] += 1
    names = _names(list(kinds))
    drawn = [_drawn(item) for item in items if item.shapes][:SAMPLED]
    found = []
    for number, (label, counts) in enumerate(kinds.items()):
        kind = counts.most_common(1)[0][0] if counts else "region"
        how = ", ".join(f"{count} drawn as {name}" for name, count in counts.most_common())
        color = COLORS[number % len(COLORS)]
        if kind == "region":
            masks = [masks[f"LABEL_{number + 1}"] for masks in drawn if f"LABEL_{number + 1}" in masks]
            fitted = _fitted(names[label], color, masks)
            one = replace(fitted, labels=(label,), reason=f"{how}; {fitted.reason}")
        else:
            thickness = LINE_THICKNESS_PX if kind == "line" else None
            one = FoundStructure(names[label], kind, color, how, thickness, (label,))
        found.append(one)
    return _with_covers(found, drawn, list(label_of))


def structures_of_shapes_json(folder: Path, section: Mapping[str, Any]) -> list[FoundStructure]:
    """Return the classes of a file of the format shapes_json, which names the kind of each shape."""
    kinds: dict[str, Counter[KindName]] = defaultdict(Counter)
    for entries in json.loads(read_text_file(folder / section["file"]).decode("utf-8-sig")).values():
        for name, word, _ in entries:
            if str(word) in KIND_OF:
                kinds[str(name)][KIND_OF[str(word)]] += 1
    found = []
    for number, (name, counts) in enumerate(sorted(kinds.items())):
        kind, count = counts.most_common(1)[0]
        thickness = LINE_THICKNESS_PX if kind == "line" else None
        found.append(FoundStructure(name, kind, COLORS[number % len(COLORS)], f"{count} drawn as {kind}", thickness))
    settings = ADAPTER.validate_python(dict(section))
    items, _ = FORMATS["shapes_json"].read(folder, settings, [one.structure() for one in found])
    drawn = [_drawn(item) for item in items if item.shapes][:SAMPLED]
    return _with_covers(found, drawn, [one.name for one in found])


def _names(labels: Sequence[str]) -> dict[str, str]:
    """Return a name of a structure for each label: capitals, digits and underscores, no two the same."""
    names: dict[str, str] = {}
    for label in labels:
        name = re.sub(r"\W+", "_", label, flags=re.ASCII).strip("_").upper()[:60]
        name = name if name[:1].isalpha() else f"CLASS_{name or len(names) + 1}"
        while name in names.values():
            name += "_2"
        names[label] = name
    return names


def _drawn(item: AnnotatedImage) -> dict[str, Mask]:
    """Return {structure: mask} of an image's shapes; empty where the image cannot be read."""
    try:
        height, width = read_image_header(item.image.path).size
    except (DataError, OSError):
        return {}
    masks: dict[str, Mask] = {}
    for _, shape in item.shapes:
        mask = masks.setdefault(shape.structure, np.zeros((height, width), dtype=bool))
        window, drawn = shape.draw((height, width), LINE_THICKNESS_PX)
        mask[window] |= drawn
    return masks


def _with_covers(
    found: Sequence[FoundStructure], drawn: Sequence[Mapping[str, Mask]], names: Sequence[str]
) -> list[FoundStructure]:
    """Return the structures with `covered_by`: where two cross, the one that is smaller on average is on top.

    names: those of `found` in `drawn`.
    """
    areas = [np.mean([masks[name].sum() for masks in drawn if name in masks] or [0]) for name in names]
    covers = defaultdict(list)
    for (first, name), (second, other) in combinations(enumerate(names), 2):
        if any(name in masks and other in masks and (masks[name] & masks[other]).any() for masks in drawn):
            below, above = (first, second) if areas[first] >= areas[second] else (second, first)
            covers[below].append(found[above].name)
    return [replace(one, covered_by=tuple(covers.get(index, ()))) for index, one in enumerate(found)]


def structures_of_masks(paths: Sequence[Path], section: Mapping[str, Any]) -> tuple[list[FoundStructure], bool] | None:
    """Return the classes of mask files and whether these are outlines to be filled; None where they are no masks."""
    sampled = [paths[int(at)] for at in np.unique(np.linspace(0, len(paths) - 1, min(SAMPLED, len(paths))).round())]
    masks = []
    for path in sampled:
        try:
            masks.append(read_mask(path))
        except (DataError, OSError):
            continue
    if len(masks) < max(1, len(sampled) // 2) or not all(_looks_like_mask(values) for values in masks):
        return None
    highest = max(int(values.max()) for values in masks)
    if 1 < highest <= MOST_CLASSES:
        palette = _palette(sampled[0], highest)
        named = [(f"CLASS_{index}", palette[index - 1]) for index in range(1, highest + 1)]
        maps = masks
    else:
        named, maps = (
            [(_single_name(section), COLORS[0])],
            [(values > values.max() / 2).astype(np.uint8) for values in masks],
        )
    outlines = len(named) == 1 and _are_outlines(maps)
    if outlines:
        maps = [fill_outline(labels > 0).astype(np.uint8) for labels in maps]
    return [
        _fitted(name, color, [labels == index for labels in maps]) for index, (name, color) in enumerate(named, 1)
    ], outlines


def _looks_like_mask(values: Pixels) -> bool:
    counts = np.sort(np.bincount(values.ravel(), minlength=256))[::-1]
    return bool(
        counts[: FEW_VALUES if values.max() > MOST_CLASSES else MOST_CLASSES + 1].sum() >= ALL_PIXELS * values.size
    )


def _are_outlines(maps: Sequence[Pixels]) -> bool:
    shown = [labels > 0 for labels in maps if labels.any()]
    thin = [mask for mask in shown if is_thin(mask) and fill_outline(mask).sum() > 2 * mask.sum()]
    return bool(shown) and len(thin) >= 0.8 * len(shown)


def _single_name(section: Mapping[str, Any]) -> str:
    """Return the name of the only class: a word of the masks' suffix or folder that says more than `mask`."""
    words = re.split(r"[^A-Za-z]+", f"{section.get('mask_suffix', '')}/{section.get('masks', '')}")
    telling = [
        word for word in words if word.lower() not in GENERIC and len(word) > 2 and word != section.get("images")
    ]
    return telling[0].upper() if telling else "STRUCTURE"


def _palette(path: Path, classes: int) -> list[str]:
    """Return a colour per class: those of a palette picture, unless they are grey or alike."""
    with Image.open(path) as picture:
        values = picture.getpalette() if picture.mode == "P" else None
    if values and len(values) >= 3 * (classes + 1):
        colors = [f"#{values[3 * n]:02x}{values[3 * n + 1]:02x}{values[3 * n + 2]:02x}" for n in range(1, classes + 1)]
        if len(set(colors)) == classes and not any(one[1:3] == one[3:5] == one[5:7] for one in colors):
            return colors
    return [COLORS[index % len(COLORS)] for index in range(classes)]


def _fitted(name: str, color: str, masks: Sequence[Mask]) -> FoundStructure:
    """Return a class with the kind of shape that fits its masks, and how well each kind does."""
    masks = [mask for mask in masks if mask.any()]
    if not masks:
        return FoundStructure(name, "region", color, "no mask that was looked at shows it")
    width = float(np.median([2 * cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5).max() for mask in masks]))
    length = float(np.median([np.hypot(*np.ptp(np.argwhere(mask), axis=0)) for mask in masks]))
    fits = {
        kind: float(np.median([_dice(mask, kind, width) for mask in masks]))
        for kind in ("line", "rectangle", "ellipse")
    }
    listed = ", ".join(f"{kind} {value:.2f}" for kind, value in fits.items())
    reason = f"Dice of fitted shapes: {listed}"
    if fits["line"] >= LINE_FITS and length >= ELONGATED * width:
        return FoundStructure(name, "line", color, reason, round(max(1.0, width), 1))
    best: KindName = "ellipse" if fits["ellipse"] >= fits["rectangle"] else "rectangle"
    return FoundStructure(name, best if fits[best] >= FITS else "region", color, reason)


def _dice(mask: Mask, kind: KindName, width: float) -> float:
    shapes = fit_shapes(mask, "", kind)
    if not shapes:
        return 0.0
    window, drawn = shapes[0].draw(mask.shape, width)
    return float(2 * np.count_nonzero(drawn & mask[window]) / (np.count_nonzero(drawn) + np.count_nonzero(mask)))
