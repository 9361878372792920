"""What reviewers have decided: a log that is only appended to, and the newest shapes of each image as annotations.

Each line of the log is written by one write and is on the disk before it is acknowledged. A line that a killed process
left incomplete is skipped. Its number, from 1, is the version that it gives its image.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sonoseg.errors import SonoSegError, UsageError
from sonoseg.io.files import append_line, check_writable, json_text, sync_folder, write_bytes

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOG, ANNOTATIONS, LOCK = "reviews.jsonl", "annotations.json", ".reviews.lock"
DECISIONS = ("open", "accepted", "corrected", "rejected")
JSON_NAMES = {"line": "line", "rect": "rect", "ellipse": "ellipse", "region": "polygon"}
"""Kind of a shape on the page -> in annotation files."""

REVIEWER = "reviewer"
"""`spacing_from` of a pixel spacing that was measured on the page."""
SECONDS = 10.0
"""In which another process has to have saved."""

Entry = dict[str, Any]
"""A line of the log, with its `version`."""


class Busy(SonoSegError):
    """Another process has held the lock of the folder for `SECONDS`."""


class Conflict(SonoSegError):
    """Somebody else has saved the image meanwhile; `entry` is what was saved."""

    def __init__(self, entry: Entry):
        super().__init__(f"{entry['reviewer']} has saved this image meanwhile; load it again and repeat your change")
        self.entry = entry


@dataclass(frozen=True)
class Rater:
    """Who decides; blind: neither the prediction nor what others have decided is shown."""

    name: str
    blind: bool = False


class Store:
    """The log in a folder. Several threads and several processes may use it at once."""

    def __init__(self, folder: Path, rater: Rater, image_sha256: Callable[[str], str] = lambda item: ""):
        """folder: is made with the first decision. Raises OSError for a log that cannot be read.

        image_sha256: item -> SHA-256 of the image that has this name now, empty where it is not known. Decisions about
        another image, which had the name earlier, stay in the log and are not returned.
        """
        self.folder, self.rater, self._image_sha256 = folder, rater, image_sha256
        self._log = folder / LOG
        self._lock = threading.RLock()
        self._entries: list[Entry] = []
        self._of_item: dict[tuple[str, int], list[Entry]] = {}
        self._read_to = 0
        self.refresh()

    @property
    def read_only(self) -> str:
        """Return why nothing can be saved; empty when it can."""
        try:
            check_writable(self.folder)
        except UsageError as problem:
            return str(problem)
        return ""

    def refresh(self) -> None:
        """Read what other processes have appended."""
        with self._lock, suppress(FileNotFoundError, NotADirectoryError):
            size = self._log.stat().st_size
            if size == self._read_to:
                return
            if size < self._read_to:  # somebody has put another log here
                self._entries, self._of_item, self._read_to = [], {}, 0
            with self._log.open("rb") as stream:
                stream.seek(self._read_to)
                data = stream.read()
            complete = data[: data.rfind(b"\n") + 1]
            self._read_to += len(complete)
            for line in complete.splitlines():
                self._take(line)

    def _take(self, line: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            entry = json.loads(line)
            key = entry["item"], int(entry["frame"])
            entry |= {"version": len(self._entries) + 1, "reviewer": str(entry["reviewer"])}
            if entry["decision"] in DECISIONS and isinstance(entry["after"], dict):
                self._entries.append(entry)
                self._of_item.setdefault(key, []).append(entry)

    def entries(self, item: str, frame: int) -> list[Entry]:
        """Return all decisions about a frame of an item, oldest first, whoever has made them."""
        with self._lock:
            return list(self._of_item.get((item, frame), ()))

    def all_entries(self) -> list[Entry]:
        """Return all decisions, oldest first."""
        with self._lock:
            return list(self._entries)

    def newest(self, item: str, frame: int) -> Entry | None:
        """Return the newest decision that this rater may see; None without one."""
        return next((entry for entry in reversed(self._seen(item, frame)) if self._is_of_image(entry)), None)

    def version(self, item: str, frame: int) -> int:
        """Return the version of the newest decision that this rater may see, also about an earlier image; else 0."""
        seen = self._seen(item, frame)
        return int(seen[-1]["version"]) if seen else 0

    def _seen(self, item: str, frame: int) -> list[Entry]:
        return [entry for entry in self.entries(item, frame) if self._is_seen(entry)]

    def _is_seen(self, entry: Entry) -> bool:
        return entry["reviewer"] == self.rater.name if self.rater.blind else True

    def _is_of_image(self, entry: Entry) -> bool:
        """Return whether a decision is about the image that has the item's name now; True where that is not known."""
        decided = entry.get("image_sha256")
        return not decided or self._image_sha256(entry["item"]) in ("", decided)

    def newest_of_items(self) -> dict[str, Entry]:
        """Return item -> the newest decision about any of its frames that this rater may see."""
        seen = [entry for entry in self.all_entries() if self._is_seen(entry)]
        return {entry["item"]: entry for entry in seen if self._is_of_image(entry)}

    def save(self, item: str, frame: int, base_version: int, entry: Mapping[str, Any]) -> Entry:
        """Append a decision, and write the annotations anew; return it with its version, when it is on the disk.

        entry: JSON values with `decision` and `after`; reviewer, time and `before` are added. A decision that is the
        newest already, sent again as its answer was lost, is returned as it was saved. Raises Conflict when
        `base_version` is not the newest version of the frame that this rater may see, Busy, UsageError and OSError when
        nothing can be written.
        """
        with self._lock, self._exclusive():
            self.refresh()
            newest, seen = self.newest(item, frame), self._seen(item, frame)
            if self.version(item, frame) != base_version:
                if newest and newest is seen[-1] and self._is_again(newest, entry):
                    return newest
                raise Conflict(seen[-1] if seen else {"reviewer": "somebody", "version": 0, "time": ""})
            line = {
                "item": item,
                "frame": frame,
                "reviewer": self.rater.name,
                "blind": self.rater.blind,
                "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
                **entry,
                "before": newest["after"] if newest else None,
            }
            is_new = not self._log.exists()
            append_line(self._log, json.dumps(line, ensure_ascii=False, allow_nan=False))
            if is_new:
                sync_folder(self.folder)
                sync_folder(self.folder.parent)
            self.refresh()
            saved = self._of_item[item, frame][-1]
            self._write_annotations()
            return saved

    def _is_again(self, saved: Entry, entry: Mapping[str, Any]) -> bool:
        same = all(saved.get(key) == entry.get(key) for key in ("decision", "after", "note"))
        return same and saved["reviewer"] == self.rater.name

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock of the folder, which the operating system releases when a process ends for any reason."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield
            return
        with (self.folder / LOCK).open("ab") as stream:
            end = time.monotonic() + SECONDS
            while True:
                try:
                    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise Busy("another process is saving in this folder; nothing was saved, try again") from None
                    time.sleep(0.005)
            yield

    def by_rater(self) -> dict[tuple[str, int], dict[str, Entry]]:
        """Return (item, frame) -> rater -> the newest decision, of those that accept or correct shapes."""
        newest: dict[tuple[str, int], dict[str, Entry]] = {}
        for entry in filter(self._is_of_image, self.all_entries()):
            newest.setdefault((entry["item"], entry["frame"]), {})[entry["reviewer"]] = entry
        return {
            key: {who: one for who, one in entries.items() if one["decision"] in ("accepted", "corrected")}
            for key, entries in newest.items()
        }

    def current(self, earlier_images: bool = False) -> dict[tuple[str, int], Entry]:
        """Return (item, frame) -> the newest decision of any rater, without those that were taken back.

        earlier_images: with those about images that have the item's name no more, where there is no other.
        """
        entries = self.all_entries()
        newest = {(one["item"], int(one["frame"])): one for one in entries} if earlier_images else {}
        newest |= {(one["item"], int(one["frame"])): one for one in filter(self._is_of_image, entries)}
        return {key: entry for key, entry in newest.items() if entry["decision"] != "open"}

    def _write_annotations(self) -> None:
        """Write the accepted and corrected shapes; they follow from the log, so that nothing is lost without them."""
        shapes = {
            entry["image"]: [
                [shape["structure"], JSON_NAMES[shape["kind"]], shape["points"]] for shape in entry["after"]["shapes"]
            ]
            for entry in self.current().values()
            if entry["decision"] in ("accepted", "corrected")
        }
        write_bytes(self.folder / ANNOTATIONS, json_text(dict(sorted(shapes.items()))).encode(), sync=False)
