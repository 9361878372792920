"""Integrity lists: the SHA-256 of every file that a stage wrote, so that a single changed byte is noticed.

A list is a file `stage<n>.sha256` in the stage's output folder, in the format of `sha256sum -c`. It is written last and
removed before the first change, so its presence means that the stage has finished. It has no comments: a change of any
byte of the list itself is noticed.
"""

import os
import re
import threading
from pathlib import Path

from sonoseg.io.files import sha256_of, write_bytes
from sonoseg.runs.workspace import DATASET_CHECK_PAGE, MODEL_CARD, SCORINGS_LOG

SUFFIX = ".sha256"

NEVER_LISTED = (SCORINGS_LOG, MODEL_CARD, "engines", DATASET_CHECK_PAGE)
"""Never listed, because they change after the stage has finished: each scoring adds a line to the log of scorings, the
model card is completed by its author, `engines` is a cache with checks of its own, and a check of new data writes a
page."""

_LINE = re.compile(rb"(\\?)([0-9a-f]{64})  ([^\0]+)", re.DOTALL)
_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_UNESCAPES = {escape: char for char, escape in _ESCAPES.items()}


class IntegrityList:
    """The list of one stage while its run is in progress: digests by name, and the file `<stage>.sha256`.

    Several threads may use it at once.
    """

    def __init__(self, folder: Path, stage: str, root: Path | None = None):
        """root: files below it are named relative to `folder`, others by their absolute path; `folder` when None.

        `earlier` is the list of the run before: digests by name.
        """
        self.path = folder / f"{stage}{SUFFIX}"
        self._folder = os.path.abspath(folder)
        self._root = os.path.abspath(root or folder)
        self.earlier = read_list(self.path)[0] if self.path.is_file() else {}
        self._digests: dict[str, str] = {}
        self._is_removed = False
        self._lock = threading.Lock()

    def remove(self) -> None:
        """Remove the file of an earlier run, which is about to become untrue."""
        if not self._is_removed:
            self.path.unlink(missing_ok=True)
            self._is_removed = True

    def put(self, path: Path, digest: str) -> None:
        """Add a file of the folder that was written with this digest, unless its name is never listed."""
        if self._is_listed(path):
            with self._lock:
                self._digests[self.name(path)] = digest

    def rename(self, source: Path, target: Path) -> None:
        """List a file of the folder that was moved, by the digest it had; it is read when that is not known."""
        with self._lock:
            digest = self._digests.pop(self.name(source), None)
        self.put(target, digest or sha256_of(target))

    def forget(self, path: Path) -> None:
        """Leave out a file that this run has removed."""
        with self._lock:
            self._digests.pop(self.name(path), None)

    def add(self, path: Path) -> None:
        """Add a file that another process has just written; it is read, unless this process wrote it."""
        self._add_missing(path, None)

    def keep(self, path: Path, digest: str | None = None) -> None:
        """Add a file that was left unchanged, if it exists: by `digest`, else the earlier list's, else it is read.

        An image of two files, of which `digest` is one digest (`opening.digest_of_file`), is read, and both are added.
        """
        from sonoseg.io.readers.opening import files_of  # here: it imports numpy, which would slow the flags down

        if not path.is_file():
            return
        files = files_of(path) if digest else [path]
        for file in files:
            known = digest or self.earlier.get(self.name(file))
            self._add_missing(file, known if len(files) == 1 else sha256_of(file))

    def keep_earlier(self) -> None:
        """Add all files of the earlier list that still exist."""
        for name in self.earlier:
            self.keep(Path(self._folder, name))

    @property
    def is_empty(self) -> bool:
        """Whether nothing has been listed so far."""
        return not self._digests

    def is_changed(self, path: Path) -> bool:
        """Return whether a file of the earlier list exists and has other bytes than the list says. Raises OSError."""
        digest = self.earlier.get(self.name(path))
        return digest is not None and path.is_file() and sha256_of(path) != digest

    def is_earlier(self, path: Path) -> bool:
        """Return whether the earlier list names a file."""
        return self.name(path) in self.earlier

    def missing(self) -> list[str]:
        """Return the names of those files of the list that do not exist."""
        return [name for name in self._digests if not os.path.isfile(os.path.join(self._folder, name))]

    def write(self) -> None:
        """Write the list; no file when nothing is listed."""
        if self._digests:
            write_bytes(self.path, list_bytes(self._digests))

    def _add_missing(self, path: Path, digest: str | None) -> None:
        name = self.name(path)
        if name not in self._digests:
            digest = digest or sha256_of(path)
            with self._lock:
                self._digests.setdefault(name, digest)

    def _is_listed(self, path: Path) -> bool:
        """Return whether a file that is written belongs to the list."""
        absolute = os.path.abspath(path)
        if not absolute.startswith(self._folder + os.sep):
            return False
        return not any(is_never_listed(part) for part in absolute[len(self._folder) + 1 :].split(os.sep))

    def name(self, path: Path) -> str:
        """Return the name that a file has in the list."""
        absolute = os.path.abspath(path)
        if absolute.startswith(self._folder + os.sep):
            return absolute[len(self._folder) + 1 :].replace(os.sep, "/")
        if absolute.startswith(self._root + os.sep):
            return Path(os.path.relpath(absolute, self._folder)).as_posix()
        return Path(absolute).as_posix()


def is_never_listed(name: str) -> bool:
    """Return whether a name is never listed: of a hidden file, of an integrity list, or in `NEVER_LISTED`."""
    return name.startswith(".") or name.endswith(SUFFIX) or name in NEVER_LISTED


def list_bytes(digests: dict[str, str]) -> bytes:
    """Return the bytes of a list, sorted by name, as `sha256sum` writes it: line ends and backslashes are escaped."""
    lines = []
    for name in sorted(digests):
        escaped = "".join(_ESCAPES.get(char, char) for char in name)
        lines.append(f"{'' if escaped == name else chr(92)}{digests[name]}  {escaped}\n")
    return "".join(lines).encode("utf-8", "surrogateescape")


def read_list(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return a list's digests by name, and a sentence for each invalid line. Raises OSError."""
    digests: dict[str, str] = {}
    faults = []
    lines = path.read_bytes().split(b"\n")
    if lines[-1]:
        faults.append("its last line has no end")
    for number, line in enumerate(lines[:-1], start=1):
        match = _LINE.fullmatch(line)
        if not match:
            faults.append(f"line {number} is not a SHA-256 and a name")
            continue
        name = match[3].decode("utf-8", "surrogateescape")
        if match[1]:
            name = re.sub(r"\\[\\nr]", lambda escape: _UNESCAPES[escape[0]], name)
        if name in digests:
            faults.append(f"line {number} names {name} a second time")
        digests[name] = match[2].decode()
    return digests, faults
