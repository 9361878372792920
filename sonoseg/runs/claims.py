"""Which files of an output folder belong to a stage: all others are neither overwritten nor removed."""

import json
import os
import threading
from collections.abc import Collection, Iterable
from pathlib import Path

from sonoseg.errors import DataError
from sonoseg.io.files import append_line, open_in_place, remove_temporary
from sonoseg.runs.lock import locked_since

_FEW = 100
"""Names up to which each file is asked for; the folder is listed for more."""


class Claims:
    """The files of a stage, by their names relative to its output folder.

    These are the ones that the integrity list of an earlier run names, that the journal of an unfinished run names, and
    that this run has claimed. The journal `.<stage>.writing` has a line of JSON per claim; it is written before the
    first file changes and removed once the integrity list is written, so that a killed run can be run again.

    Several threads may use it at once.
    """

    def __init__(self, folder: Path, stage: str, listed: Collection[str]):
        """listed: names in the integrity list of an earlier run. Raises UsageError for a journal that is a link."""
        self._folder, self._stage, self._journal = folder, stage, folder / f".{stage}.writing"
        unfinished = _read_journal(self._journal)
        self.has_earlier_run = bool(listed or unfinished)
        self._names = {*listed, *unfinished}
        self._unsaved = list(self._names)
        self._is_saved = False
        self._lock = threading.Lock()
        self._identity = _identity_of(folder)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def add(self, names: Iterable[str]) -> None:
        """Claim files."""
        with self._lock:
            new = [name for name in dict.fromkeys(names) if name not in self._names]
            self._names.update(new)
            self._unsaved += new

    def unclaimed(self, names: Iterable[str]) -> list[str]:
        """Return those of the names that are taken by a file, folder or link that is not claimed, in order."""
        wanted = [name for name in dict.fromkeys(names) if name not in self._names]
        if len(wanted) <= _FEW:
            return [name for name in wanted if os.path.lexists(os.path.join(self._folder, name))]
        present = {
            name: _entries(os.path.join(self._folder, name)) for name in {os.path.dirname(name) for name in wanted}
        }
        return [name for name in wanted if os.path.basename(name) in present[os.path.dirname(name)]]

    def save(self) -> None:
        """Write new claims into the journal; called before each change. The first call also removes temporary files.

        Raises OSError, UsageError for a journal that is a link, and DataError as `check_folder`.
        """
        if self._identity is None:
            self._folder.mkdir(parents=True, exist_ok=True)
        self.check_folder()
        with self._lock:
            if not self._is_saved:
                self._remove_temporary()
            if self._unsaved:
                append_line(self._journal, json.dumps(self._unsaved), sync=not self._is_saved)
                self._unsaved = []
            self._is_saved = True

    def end(self) -> None:
        """Remove the journal, unless this run has changed nothing."""
        if self._is_saved:
            self._journal.unlink(missing_ok=True)

    def check_folder(self) -> None:
        """Raise DataError when the folder was removed, or replaced by another one, after this object was made."""
        identity = _identity_of(self._folder)
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            raise DataError(
                "this output folder was removed or replaced while files were written to it, so its files are "
                "incomplete; run the same command again",
                self._folder,
            )

    def _remove_temporary(self) -> None:
        """Remove temporary files that killed runs have left of the claimed files; only while the folder is locked."""
        since = locked_since(self._folder)
        if since is None:
            return
        below: dict[str, set[str]] = {"": {f"{self._stage}.sha256"}}
        for name in self._names:
            below.setdefault(os.path.dirname(name), set()).add(os.path.basename(name))
        for folder, names in below.items():
            remove_temporary(self._folder / folder, names, since)


def _read_journal(path: Path) -> list[str]:
    """Return the names in a journal; none when there is no journal. An incomplete line is left out."""
    try:
        handle = open_in_place(path, os.O_RDONLY)
    except OSError:
        return []
    names: list[str] = []
    with os.fdopen(handle, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                names += [name for name in json.loads(line) if isinstance(name, str)]
            except (ValueError, TypeError, RecursionError):  # its writer was killed, and changed none of these files
                continue
    return names


def _entries(folder: str) -> set[str]:
    """Return the names in a folder; none when it does not exist."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _identity_of(folder: Path) -> tuple[int, int] | None:
    """Return what distinguishes a folder from a later one of the same name; None when there is none."""
    try:
        status = os.stat(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino
