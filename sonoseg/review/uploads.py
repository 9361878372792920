"""Pictures that are dropped onto the page: kept beside the decisions under names of our own, and segmented when opened.

A file is decoded by the image readers only. Its name is shown and stored, and never names a file here.
"""

import hashlib
import json
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError, is_machine_error, printable
from sonoseg.inference.sources import Source as Image
from sonoseg.inference.sources import from_file
from sonoseg.io.files import append_line, write_bytes
from sonoseg.io.image_ref import stem_of, suffix_of
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers import image_suffixes, is_dicom
from sonoseg.review.live import LiveImages

FOLDER, NAMES = "uploads", "uploads.jsonl"
MAX_FILES = 100
"""Pictures of one request."""
MAX_BYTES = 256 << 20
"""Of all pictures of one request."""
LIMITS = ReadLimits(max_frames=1000, max_bytes=MAX_BYTES)
MAX_NAME = 100


class Uploads:
    """The dropped pictures of a review, those of earlier sessions included."""

    def __init__(self, folder: Path, live: LiveImages):
        """folder: of the decisions. live: the source that the pictures become items of."""
        self._folder, self._names, self.live = folder / FOLDER, folder / NAMES, live
        for name, shown in self._earlier().items():
            path = self._folder / name
            with suppress(DataError, OSError):
                self._add(path, shown)

    def _earlier(self) -> dict[str, str]:
        """Return file name here -> name that is shown."""
        found: dict[str, str] = {}
        with suppress(OSError):
            for line in self._names.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    entry = json.loads(line)
                    if Path(entry["file"]).name == entry["file"]:
                        found[entry["file"]] = str(entry["name"])
        return found

    def take(self, given: str, data: bytes) -> list[str]:
        """Store a picture and return the ids of its items.

        given: file name as the browser states it. Raises DataError for what is no picture, OSError.
        """
        if not data:
            raise DataError("the file is empty")
        suffix = suffix_of(Path(given)).lower()
        suffix = suffix if suffix in image_suffixes() else ".dcm"
        path = self._folder / f"{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
        is_new = not path.is_file()
        if is_new:
            write_bytes(path, data)
        try:
            if suffix == ".dcm" and not is_dicom(path):
                raise DataError(f"not a picture that can be read; expected {', '.join(image_suffixes())}")
            ids = self._add(path, shown_name(given))
        except Exception as error:
            if is_new:
                path.unlink(missing_ok=True)
            if is_machine_error(error):
                raise
            if isinstance(error, DataError):
                raise DataError(error.reason.replace(f"{path}: ", "").replace(str(path), "the file")) from None
            raise DataError(f"not a picture that can be read ({type(error).__name__})") from None
        if is_new:
            append_line(self._names, json.dumps({"file": path.name, "name": shown_name(given)}, ensure_ascii=False))
        return ids

    def _add(self, path: Path, shown: str) -> list[str]:
        images: list[Image] = from_file(path, LIMITS)
        many = len(images) > 1
        names = [f"{shown}, {image.name.removeprefix(stem_of(path)).strip('_')}" if many else shown for image in images]
        return self.live.add(images, names)


def shown_name(given: str) -> str:
    """Return a file name as it is shown: its last part, without control characters, at most `MAX_NAME` long."""
    name = printable(unicodedata.normalize("NFC", given.replace("\\", "/").rpartition("/")[2])).strip()
    return name[:MAX_NAME] or "picture"


def problem_of(name: str, error: Exception) -> dict[str, Any]:
    """Return why a picture was not taken, for the page; nothing of the path under which it was tried."""
    reason = error.reason if isinstance(error, DataError) else str(error)
    return {"name": shown_name(name), "error": reason}
