"""Integrity check: compare files with the integrity lists of the stages."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sonoseg.errors import UsageError
from sonoseg.io.files import sha256_of
from sonoseg.runs.integrity import SUFFIX, is_never_listed, read_list
from sonoseg.runs.workspace import REVIEW_FOLDER, SUGGESTED_FOLDER

STATUSES = ("ok", "changed", "missing", "extra", "unlisted")
"""ok: unchanged. changed: other bytes than listed. missing: listed and not found. extra: found beside a list that does
not name it. unlisted: no list exists."""

MAX_BYTES = 64 * 2**30
"""Size of a file above which it is not read: no stage writes or lists such files, and reading them takes minutes."""
MAX_LIST_BYTES = 2**30
"""The same for an integrity list; the list of a million images has a third of it."""
MAX_FAULTS = 10
"""Invalid lines of a list that are reported one by one."""

LEVELS = 4
"""Number of parent folders in which the list of a file is searched: `cross_validation/fold_0/` needs two."""


@dataclass(frozen=True)
class ListedFile:
    """A file and the SHA-256 that it has in the integrity list `list`."""

    path: Path
    digest: str
    list: Path


@dataclass(frozen=True)
class Finding:
    """The status of a file or folder (see `STATUSES`); `note` is the reason when it is not `ok`."""

    path: Path
    status: str
    note: str = ""


def plan(paths: Sequence[Path]) -> tuple[list[ListedFile], list[Finding]]:
    """Return the files that have to be compared, and the findings that need no reading of files.

    A folder stands for all lists in it and in its subfolders. Raises UsageError for a path that does not exist.
    """
    files: dict[Path, ListedFile] = {}
    findings: list[Finding] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder; expected an output of one of the four stages")
        listed, faults = _folder(path) if path.is_dir() else _file(path)
        files |= {file.path: file for file in listed}
        findings += faults if listed or faults else [Finding(path, "unlisted", "nothing in it")]
    return list(files.values()), findings


def compare(file: ListedFile) -> Finding:
    """Read one file and compare it with its list."""
    if not os.path.lexists(file.path):
        return Finding(file.path, "missing", f"{file.list.name} names it")
    problem = _problem(file.path)
    if problem:
        return Finding(file.path, "changed", problem)
    try:
        digest = sha256_of(file.path)
    except OSError as error:
        return Finding(file.path, "changed", f"it cannot be read ({error.strerror})")
    if digest != file.digest:
        return Finding(file.path, "changed", f"its SHA-256 is not the one in {file.list.name}")
    return Finding(file.path, "ok")


def _problem(path: Path, max_bytes: int = MAX_BYTES) -> str:
    """Return why a file is not read: what a stage has not written may be endless. Empty for a file that is read."""
    try:
        status = path.stat()
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    if status.st_size > max_bytes:
        return f"it has {status.st_size:,} bytes; files of more than {max_bytes:,} are not read"
    return ""


def _folder(folder: Path) -> tuple[list[ListedFile], list[Finding]]:
    """Return the files and findings of a folder; a subfolder with lists of its own is checked by those."""
    lists = _lists(folder)
    entries: list[ListedFile] = []
    findings: list[Finding] = []
    for path in lists:
        _extend(entries, findings, _list(path))
    listed = {os.path.abspath(entry.path) for entry in entries}
    within = {str(above) for path in listed for above in Path(path).parents}
    files, folders = _visible(folder)
    if not lists and files:
        unfinished = "the stage that writes it did not finish, or was an earlier version"
        note = f"{len(files)} files and no list (*{SUFFIX}): {unfinished}; run it again"
        findings.append(Finding(folder, "unlisted", note))
    while folders:
        below = folders.pop()
        if os.path.abspath(below) in within and not _lists(below):
            more, deeper = _visible(below)
            files += more
            folders += deeper
        else:
            _extend(entries, findings, _folder(below))
    if lists:
        extra = [path for path in files if os.path.abspath(path) not in listed]
        findings += [Finding(path, "extra", f"no list in {folder} names it") for path in extra]
    return entries, findings


def _extend(
    entries: list[ListedFile], findings: list[Finding], more: tuple[Iterable[ListedFile], Iterable[Finding]]
) -> None:
    entries.extend(more[0])
    findings.extend(more[1])


def _file(path: Path) -> tuple[list[ListedFile], list[Finding]]:
    """Return one file with its digest from a list in its parent folders; a list stands for all files that it names."""
    if path.suffix == SUFFIX:
        return _list(path)
    whole = Path(os.path.abspath(path))
    for folder in whole.parents[:LEVELS]:
        for list_path in _lists(folder):
            for entry in _list(list_path)[0]:
                if os.path.abspath(entry.path) == str(whole):
                    return [ListedFile(path, entry.digest, list_path)], []
    return [], [_unlisted(path)]


def _unlisted(path: Path) -> Finding:
    """Return the finding of a file that no list names."""
    problem = _problem(path)
    if problem:
        return Finding(path, "changed", problem)
    note = f"no list (*{SUFFIX}) in its folder names it; its SHA-256 is {sha256_of(path)}"
    return Finding(path, "unlisted", note)


def _list(path: Path) -> tuple[list[ListedFile], list[Finding]]:
    """Return the files that a list names, and what is wrong with the list itself."""
    problem = _problem(path, MAX_LIST_BYTES)
    if problem:
        return [], [Finding(path, "changed", problem)]
    try:
        digests, faults = read_list(path)
    except OSError as error:
        return [], [Finding(path, "changed", f"it cannot be read ({error.strerror})")]
    if len(faults) > MAX_FAULTS:
        faults = [*faults[:MAX_FAULTS], f"and {len(faults) - MAX_FAULTS} more invalid lines"]
    if not digests and not faults:
        faults = ["it is empty"]
    entries = [ListedFile(Path(os.path.normpath(path.parent / name)), digest, path) for name, digest in digests.items()]
    return entries, [Finding(path, "changed", fault) for fault in faults]


def _lists(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def _visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files and the subfolders directly in `folder`, without those that are never listed.

    Those are also the folders of reviews and suggestions, which lie beside results and change.
    """
    paths = sorted(path for path in folder.iterdir() if not is_never_listed(path.name))
    folders = [path for path in paths if path.is_dir() and not path.is_symlink()]
    files = [path for path in paths if path not in set(folders)]
    return files, [path for path in folders if path.name not in (REVIEW_FOLDER, SUGGESTED_FOLDER)]
