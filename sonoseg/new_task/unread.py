"""Annotations in forms that are not read, which a message names: YOLO, DDTI and EchoNet-Dynamic."""

import re
from collections.abc import Iterator
from pathlib import Path

from sonoseg.errors import DataError
from sonoseg.io.image_ref import stem_of
from sonoseg.io.reading import open_regular, read_text_file
from sonoseg.new_task.contents import Contents

LOOKED_AT = 20
"""Images of a folder, and XML files, that are looked at."""
_YOLO_LINE = re.compile(rb"\s*\d+(?:\s+-?\d*\.?\d+(?:e-?\d+)?){4,}\s*")
_TRACINGS = "VolumeTracings.csv"


def unread_annotations(contents: Contents) -> Iterator[str]:
    """Yield a sentence for each form of annotations in a folder that is known and not read."""
    images = [path for paths in contents.images.values() for path in paths[:LOOKED_AT]]
    text = next((text for image in images for text in _texts_of(image) if _is_yolo(text)), None)
    if text is not None:
        where = text.relative_to(contents.folder).as_posix()
        yield f"{where} is a text file of YOLO, which is not read; export the polygons as COCO, or as masks"
    if any(_has(path, b"<svg>") for path in contents.texts[:LOOKED_AT] if path.suffix.lower() == ".xml"):
        yield "XML files with <svg>, as of DDTI, are not read; draw the outlines as masks, named after the images"
    if any((place / _TRACINGS).is_file() for place in (contents.folder, contents.folder.parent)):
        yield f"{_TRACINGS} of EchoNet-Dynamic is not read; draw its outlines as masks, <video>_frame0047_mask.png"


def _texts_of(image: Path) -> list[Path]:
    """Return the files in which YOLO has the polygons of an image: beside it, or in `labels` in place of `images`."""
    name = f"{stem_of(image)}.txt"
    parts = [part if part != "images" else "labels" for part in image.parent.parts]
    return [image.with_name(name), Path(*parts) / name]


def _is_yolo(path: Path) -> bool:
    try:
        with open_regular(path) as stream:
            lines = stream.read(1 << 16).splitlines()
    except OSError:
        return False
    return bool(lines) and _YOLO_LINE.fullmatch(lines[0]) is not None


def _has(path: Path, word: bytes) -> bool:
    try:
        return word in read_text_file(path)
    except (DataError, OSError):
        return False
