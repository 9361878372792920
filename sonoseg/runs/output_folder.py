"""The output folder of one stage: files are written atomically, and what was written is listed with its SHA-256."""

import copy
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sonoseg.errors import DataError
from sonoseg.io import files
from sonoseg.io.tables import csv_text
from sonoseg.runs.claims import Claims
from sonoseg.runs.integrity import IntegrityList, is_never_listed
from sonoseg.runs.lock import is_first_process


class OutputFolder:
    """Writes, moves and removes files below `folder`, and lists those of this run in `<stage>.sha256`.

    A context manager: the integrity list of an earlier run is removed before the first change of a listed file, and the
    new list is written when the block ends without an exception. After an exception there is no list, or still the
    earlier one where nothing listed was changed. Several threads may write at once.

    Only files of the stage are overwritten, moved over or removed (see `runs.claims`): DataError is raised for any
    other, and also when the folder or a file of this run is no longer there. Files that are never listed, such as the
    model card, may always be written.

    A file is given by its name below `folder` (`str`) or by its whole path (`Path`), which has to lie below `folder`.
    `parent` is the output folder of which this one is a subfolder; None for that of the stage.
    """

    def __init__(self, folder: Path, stage: str, root: Path | None = None):
        """stage: `stage1` to `stage4`, the name of the list. root: listed files below it are named relative to
        `folder`, others by their absolute path; `folder` when None."""
        self.folder = folder
        self.parent: OutputFolder | None = None
        self._prefix = ""
        self._list = IntegrityList(folder, stage, root)
        self._claims = Claims(folder, stage, self._list.earlier)

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        elif self._list.is_empty and not self.has_earlier_run:
            self._claims.end()  # nothing was written

    def subfolder(self, name: str) -> "OutputFolder":
        """Return the output folder `name` below this one; its files are listed in this folder's list."""
        below = copy.copy(self)
        below.folder, below.parent, below._prefix = self.folder / name, self, f"{self._prefix}{name}/"
        return below

    def path(self, name: Path | str) -> Path:
        """Return the whole path of a file. Raises ValueError when it does not lie below the folder."""
        path = self.folder / name if isinstance(name, str) else name
        if isinstance(name, str) and _is_plain(name):
            return path
        if not os.path.abspath(path).startswith(os.path.abspath(self.folder) + os.sep):
            raise ValueError(f"{path}: not below the output folder {self.folder}")
        return path

    def write_bytes(self, name: Path | str, data: bytes, reread: bool = False) -> Path:
        """Write a file atomically and return its path; `reread` as in `io.files.write_bytes`. Raises OSError."""
        path = self.path(name)
        self._before_change(name)
        files.write_bytes(path, data, reread=reread)
        self._list.put(path, hashlib.sha256(data).hexdigest())
        return path

    def write_copy(self, name: Path | str, source: Path) -> str:
        """Write the bytes of another file atomically, a part at a time; return their SHA-256. Raises OSError."""
        path = self.path(name)
        self._before_change(name)
        digest = files.copy_file(source, path)
        self._list.put(path, digest)
        return digest

    def write_text(self, name: Path | str, text: str) -> Path:
        """Write UTF-8 text atomically."""
        return self.write_bytes(name, text.encode("utf-8"))

    def write_json(self, name: Path | str, value: Any) -> Path:
        """Write indented JSON atomically. Raises ValueError for NaN."""
        return self.write_text(name, files.json_text(value))

    def write_csv(self, name: Path | str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Path:
        """Write a table atomically, as `io.tables.write_csv` does."""
        return self.write_text(name, csv_text(columns, rows))

    def move(self, source: Path | str, target: Path | str) -> Path:
        """Move a file of this folder over `target`; the rename is on the disk when this returns."""
        before, after = self.path(source), self.path(target)
        self._before_change(target)
        files.move(before, after)
        self._list.rename(before, after)
        return after

    def remove(self, *names: Path | str) -> None:
        """Remove those of the files that exist and belong to the stage. Raises OSError."""
        for name in names:
            path = self.path(name)
            if self.owns(name) and os.path.lexists(path):
                self._before_change(name)
                path.unlink(missing_ok=True)
                self._list.forget(path)

    @property
    def has_earlier_run(self) -> bool:
        """Whether the integrity list of an earlier run, or the journal of an unfinished one, names files."""
        return self._claims.has_earlier_run

    def owns(self, name: Path | str) -> bool:
        """Return whether a file belongs to the stage, so that it may be overwritten and removed."""
        return self._key(name) in self._claims

    def unclaimed(self, names: Iterable[Path | str]) -> list[Path]:
        """Return those of the files that exist and do not belong to the stage."""
        found = self._claims.unclaimed(map(self._key, names))
        return [Path(os.path.normpath(self._list.path.parent / name)) for name in found]

    def edited(self, names: Iterable[Path | str]) -> list[Path]:
        """Return those of the files that somebody has changed since the run of the earlier list. Raises OSError."""
        return [path for path in map(self.path, names) if self._list.is_changed(path)]

    def is_listed(self, name: Path | str) -> bool:
        """Return whether the list of the earlier run names a file, so that `edited` can tell a change."""
        return self._list.is_earlier(self.path(name))

    def adopt(self, names: Iterable[Path | str]) -> None:
        """Treat files as the stage's own that are recognised by their content, as those of earlier versions are."""
        self._claims.add(map(self._key, names))

    def claim(self, names: Iterable[Path | str]) -> None:
        """Claim files that this run may write. Raises DataError, and claims none, when one exists and is not its own.

        Called for all of them before the work; a file that was not claimed is claimed when it is written. When several
        processes train together, the first one writes and claims.
        """
        names = list(names)
        foreign = self.unclaimed(names) if is_first_process() else []
        if foreign:
            more = f" and {len(foreign) - 1} more exist and were" if len(foreign) > 1 else " exists and was"
            raise DataError(
                f"{foreign[0]}{more} not written by this stage, as no list or record of it names what is there; "
                "nothing was overwritten; move what is there, or choose another output folder"
            )
        self.adopt(names)

    def begin_changes(self) -> None:
        """Remove the integrity list of an earlier run, ahead of changes that other processes make."""
        self._claims.save()
        self._list.remove()

    def add(self, path: Path) -> None:
        """List a file that another process of this run has just written; it is read for its digest."""
        self._list.add(path)

    def keep(self, path: Path, digest: str | None = None) -> None:
        """List a file that this run left unchanged, if it exists; also one outside the folder.

        digest: its SHA-256. When None, that of the earlier list, so that a change since then is still noticed; the file
        is read only when there is none.
        """
        self._list.keep(path, digest)

    def keep_earlier(self) -> None:
        """List all files of the earlier list that still exist, such as the results of other images."""
        self._list.keep_earlier()

    def check_complete(self) -> None:
        """Raise DataError when the folder was removed, or a file that this run listed is no longer there."""
        self._claims.check_folder()
        missing = self._list.missing()
        if missing:
            first = os.path.normpath(self._list.path.parent / missing[0])
            more = f" and {len(missing) - 1} more were" if len(missing) > 1 else " was"
            raise DataError(f"{first}{more} removed while this run was in progress; run the same command again")

    def finish(self) -> None:
        """Write the integrity list; no list when nothing is listed. Raises DataError as `check_complete`."""
        self.check_complete()
        self._list.write()
        self._claims.end()

    def _key(self, name: Path | str) -> str:
        """Return the name of a file in the list; that of a plain name is found without asking for the folder's path."""
        return self._prefix + name if isinstance(name, str) and _is_plain(name) else self._list.name(self.path(name))

    def _before_change(self, name: Path | str) -> None:
        """Claim a file that is about to change, and remove the earlier integrity list, which becomes untrue."""
        key = self._key(name)
        if any(map(is_never_listed, key.split("/"))):
            self._claims.check_folder()
            return
        if key not in self._claims:
            self.claim([name])
        self.begin_changes()


def _is_plain(name: str) -> bool:
    """Return whether a name is that of a file directly in the folder."""
    return "/" not in name and "\\" not in name and name not in ("", ".", "..")
