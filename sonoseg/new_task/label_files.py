"""Which annotation format a JSON or XML file is of, and which images it names."""

import re
from html import unescape
from pathlib import Path
from typing import Any

from sonoseg.annotations.shapes_json import KIND_OF
from sonoseg.errors import DataError
from sonoseg.io.reading import parse_json, read_text_file

HEAD_BYTES = 4096
"""Beginning of an XML file from which its kind is told."""
_CVAT_NAME = re.compile(r"<image\b[^>]*?\bname\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")


def described(path: Path) -> tuple[str | None, list[str]]:
    """Return a file's annotation format, None for any other file, and the names of the images in it.

    For labelme, which has a file per image, there are no names. Only files that have the words of a format are decoded
    as a whole. Raises ValueError, a sentence without the path, for one that has them and cannot be read.
    """
    try:
        data = read_text_file(path)
    except DataError as problem:
        raise ValueError(problem.reason) from None
    except OSError as problem:
        raise ValueError(f"cannot be read ({problem.strerror})") from None
    if path.suffix.lower() == ".xml":
        if b"<annotations" not in data[:HEAD_BYTES]:
            return None, []
        names = _CVAT_NAME.findall(data.decode("utf-8", errors="replace"))
        return "cvat", [unescape(first or second) for first, second in names]
    if not _has_words(data):
        return None, []
    if b'"shapes"' in data and (b'"imagePath"' in data or b'"imageData"' in data):
        return "labelme", []  # a damaged one is one of many, and stage 1 names it
    try:
        return _of_value(parse_json(data.removeprefix(b"\xef\xbb\xbf")))
    except ValueError as problem:
        raise ValueError(f"not readable as JSON ({problem}); export it again") from None


def _has_words(data: bytes) -> bool:
    """Return whether JSON text has the words of a format; looking for them is far faster than decoding."""
    if b'"annotations"' in data or b'"completions"' in data or b'"shapes"' in data:
        return True
    return any(f'"{word}"'.encode() in data for word in KIND_OF)


def _of_value(value: Any) -> tuple[str | None, list[str]]:
    if isinstance(value, list):
        tasks = [task for task in value if isinstance(task, dict) and isinstance(task.get("data"), dict)]
        if not any("annotations" in task or "completions" in task for task in tasks):
            return None, []
        return "label_studio", [text for task in tasks for text in task["data"].values() if isinstance(text, str)]
    if not isinstance(value, dict):
        return None, []
    if isinstance(value.get("images"), list) and isinstance(value.get("annotations"), list):
        names = [entry.get("file_name") for entry in value["images"] if isinstance(entry, dict)]
        return "coco", [name for name in names if isinstance(name, str)]
    entries = [entry for entries in value.values() if isinstance(entries, list) for entry in entries]
    shaped = [entry for entry in entries if is_shape(entry)]
    return ("shapes_json", list(value)) if shaped and 2 * len(shaped) >= len(entries) else (None, [])


def is_shape(entry: Any) -> bool:
    """Return whether a JSON value has the form of a shape in a file of the format shapes_json."""
    return isinstance(entry, list) and len(entry) == 3 and isinstance(entry[0], str) and str(entry[1]) in KIND_OF
