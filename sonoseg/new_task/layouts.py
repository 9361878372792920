"""Where in a folder the images and their annotations are, and in which format."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.io.readers import is_image
from sonoseg.io.reading import MAX_TEXT_BYTES, read_text_file

MAX_FILES, MAX_DEPTH = 200_000, 4
"""Files that are listed, and how many folders deep."""
LEAST_SHARE = 0.5
"""Part of the images that have an annotation, below which a layout is not proposed."""
HEAD_BYTES = 4096
"""Beginning of a file from which its kind is told."""


@dataclass(frozen=True)
class Layout:
    """One way to read a folder. section: `annotations` of a task file. images, annotated: how many there are."""

    section: Mapping[str, Any]
    images: int
    annotated: int
    reason: str


def find_layouts(folder: Path) -> list[Layout]:
    """Return the ways in which a folder can be read, the one that explains most images first; empty without any."""
    files = list(_files(folder))
    images: dict[str, list[str]] = {}
    for path in files:
        if is_image(path):
            images.setdefault(path.parent.relative_to(folder).as_posix(), []).append(path.stem)
    texts = [path for path in files if path.suffix.lower() in (".json", ".xml")]
    found = [*_label_layouts(folder, texts, images), *_mask_layouts(images)]
    # Files of an annotation tool are no accident, so they come before pairs of pictures with equal names.
    return sorted(found, key=lambda one: (one.section["format"] == "mask_folder", -one.annotated, one.images))


def _files(folder: Path) -> Iterator[Path]:
    count = 0
    for root, folders, names in os.walk(folder):
        here = Path(root)
        depth = len(here.relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if depth < MAX_DEPTH else []
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                return
            if not name.startswith("."):
                yield here / name


def _label_layouts(folder: Path, texts: Sequence[Path], images: Mapping[str, Sequence[str]]) -> list[Layout]:
    """Return the layouts of annotation tools' files: one per file, and one per folder of labelme's."""
    layouts, labelme = [], Counter[str]()
    for path in texts:
        kind = format_of(path)
        where = path.parent.relative_to(folder).as_posix()
        if kind == "labelme":
            labelme[where] += 1
        elif kind:
            name = path.relative_to(folder).as_posix()
            layouts.append(_of_file(kind, name, path, images))
    for where, count in labelme.items():
        beside = images.get(where)
        pictures = where if beside else _most_images(images)
        total = len(images.get(pictures, []))
        section = {"format": "labelme", "images": pictures, "annotations": where}
        layouts.append(Layout(section, total, min(count, total), f"{count} JSON files of labelme in {where}/"))
    return [layout for layout in layouts if layout.images]


def _of_file(kind: str, name: str, path: Path, images: Mapping[str, Sequence[str]]) -> Layout:
    """Return the layout of a file for all images, whose folder is the one with most of the names in the file."""
    text = read_text_file(path).decode("utf-8", errors="replace")
    named = {where: sum(stem in text for stem in stems) for where, stems in images.items()}
    where = max(named, key=lambda one: (named[one], -len(one)), default="")
    return Layout(
        {"format": kind, "images": where or ".", "file": name},
        len(images.get(where, [])),
        named.get(where, 0),
        f"{name} is a file of {kind}, and names {named.get(where, 0)} images of {where}/",
    )


def format_of(path: Path) -> str | None:
    """Return the annotation format of a JSON or XML file; None for any other."""
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            return None
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        if path.suffix.lower() == ".xml":
            return "cvat" if b"<annotations" in head else None
        value = json.loads(read_text_file(path).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    if isinstance(value, list):
        is_task = value and isinstance(value[0], dict) and "data" in value[0]
        return "label_studio" if is_task and ("annotations" in value[0] or "completions" in value[0]) else None
    if not isinstance(value, dict):
        return None
    if "shapes" in value and ("imagePath" in value or "imageData" in value):
        return "labelme"
    if "images" in value and "annotations" in value and isinstance(value["annotations"], list):
        return "coco"
    entries = [entry for entries in value.values() if isinstance(entries, list) for entry in entries]
    shaped = [entry for entry in entries if isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str)]
    return "shapes_json" if shaped and len(shaped) == len(entries) else None


def _most_images(images: Mapping[str, Sequence[str]]) -> str:
    return max(images, key=lambda where: len(images[where]), default="")


def _mask_layouts(images: Mapping[str, Sequence[str]]) -> list[Layout]:
    """Return the layouts of pictures that are paired by name: in one folder by a suffix, or in two folders."""
    layouts = []
    for where, stems in images.items():
        for suffix, count in _suffixes(stems, stems).most_common(3):
            total = len(stems) - count
            if suffix and count >= LEAST_SHARE * total:
                reason = f"{count} of {total} images in {where}/ have a picture with {suffix} added to the name"
                layouts.append(Layout(_mask_section(where, where, "", suffix), total, count, reason))
        for other, others in images.items():
            if other != where:
                layouts += _of_two_folders(where, stems, other, others)
    return layouts


def _of_two_folders(where: str, stems: Sequence[str], other: str, others: Sequence[str]) -> list[Layout]:
    """Return the layouts in which pictures of the folder `other` annotate those of `where`."""
    layouts = []
    common = _common_ending(stems)
    for image_suffix in {"", common}:
        names = [stem.removesuffix(image_suffix) for stem in stems]
        for suffix, count in _suffixes(names, others).most_common(2):
            if count >= LEAST_SHARE * len(stems):
                how = f"with {suffix} at the end" if suffix else "of the same name"
                reason = f"{count} of {len(stems)} images in {where}/ have a picture {how} in {other}/"
                section = _mask_section(where, other, image_suffix, suffix)
                layouts.append(Layout(section, len(stems), count, reason))
    return layouts


def _mask_section(images: str, masks: str, image_suffix: str, mask_suffix: str) -> dict[str, Any]:
    section = {"format": "mask_folder", "images": images, "masks": masks, "mask_suffix": mask_suffix}
    return section | ({"image_suffix": image_suffix} if image_suffix else {})


def _suffixes(names: Sequence[str], others: Sequence[str]) -> Counter[str]:
    """Return how often a name of `others` is one of `names` and a suffix; the longest such name is meant."""
    known, counts = set(names), Counter[str]()
    for other in others:
        for length in range(len(other) - (names is others), 0, -1):
            if other[:length] in known:
                counts[other[length:]] += 1
                break
    return counts


def _common_ending(stems: Sequence[str]) -> str:
    """Return the ending that all names share, from its first letter that is no digit on, such as `_image`."""
    shortest = min(stems, key=len) if len(stems) > 1 else ""
    endings = (shortest[start:] for start in range(len(shortest)))
    ending = next((ending for ending in endings if all(stem.endswith(ending) for stem in stems)), "")
    return ending.lstrip("0123456789")
