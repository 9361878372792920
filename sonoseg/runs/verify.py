"""Compare files with the lists that the stages left: what is as it was written, and what is not."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sonoseg.errors import UsageError
from sonoseg.io.files import sha256_of
from sonoseg.runs.integrity import SUFFIX, is_left_out, read_list

STATUSES = ("ok", "changed", "missing", "extra", "unlisted")
"""As it was written; other bytes; not there; there, but not written by the stage; nothing says what it should be."""

LEVELS = 4
"""Folders above a file in which a list that names it is looked for: `cross_validation/fold_0/` needs two."""


@dataclass(frozen=True)
class Entry:
    """A file, and the SHA-256 that `list` says it has."""

    path: Path
    digest: str
    list: Path


@dataclass(frozen=True)
class Finding:
    """What became of a file or folder; `note` says why it is not `ok`."""

    path: Path
    status: str
    note: str = ""


def plan(paths: Sequence[Path]) -> tuple[list[Entry], list[Finding]]:
    """Return the files that have to be compared, and what can be told without reading them.

    A folder stands for all lists in it and below it. Raises UsageError for a path that is not there.
    """
    entries: dict[Path, Entry] = {}
    findings: list[Finding] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or folder; expected an output of one of the four stages")
        all_found = list(_folder(path) if path.is_dir() else _file(path))
        for found in all_found or [Finding(path, "unlisted", "nothing in it")]:
            if isinstance(found, Entry):
                entries[found.path] = found
            else:
                findings.append(found)
    return list(entries.values()), findings


def compare(entry: Entry) -> Finding:
    """Read one file and tell whether it is what its list says."""
    if not entry.path.is_file():
        return Finding(entry.path, "missing", f"{entry.list.name} names it")
    try:
        found = sha256_of(entry.path)
    except OSError as error:
        return Finding(entry.path, "changed", f"it cannot be read ({error.strerror})")
    if found != entry.digest:
        return Finding(entry.path, "changed", f"its SHA-256 is not the one in {entry.list.name}")
    return Finding(entry.path, "ok")


def _folder(folder: Path) -> Iterator[Entry | Finding]:
    """Yield what there is to compare in a folder; a folder below it that has lists of its own answers for itself."""
    lists = _lists(folder)
    listed: set[str] = set()
    for one in lists:
        for found in _list(one):
            if isinstance(found, Entry):
                listed.add(os.path.abspath(found.path))
            yield found
    within = {str(above) for path in listed for above in Path(path).parents}
    files, folders = _visible(folder)
    if not lists and files:
        unfinished = "the stage that writes it did not finish, or was an earlier version"
        yield Finding(folder, "unlisted", f"{len(files)} files and no list (*{SUFFIX}): {unfinished}; run it again")
    while folders:
        below = folders.pop()
        if os.path.abspath(below) in within and not _lists(below):
            more, deeper = _visible(below)
            files += more
            folders += deeper
        else:
            yield from _folder(below)
    if lists:
        for path in files:
            if os.path.abspath(path) not in listed:
                yield Finding(path, "extra", f"no list in {folder} names it")


def _file(path: Path) -> Iterator[Entry | Finding]:
    """Yield one file as a list near it knows it; a list itself stands for all that it names."""
    if path.suffix == SUFFIX:
        yield from _list(path)
        return
    whole = Path(os.path.abspath(path))
    for folder in whole.parents[:LEVELS]:
        for one in _lists(folder):
            for found in _list(one):
                if isinstance(found, Entry) and os.path.abspath(found.path) == str(whole):
                    yield Entry(path, found.digest, one)
                    return
    yield _unlisted(path)


def _unlisted(path: Path) -> Finding:
    """Tell what can be told of a file that no list names."""
    note = f"no list (*{SUFFIX}) in its folder names it; its SHA-256 is {sha256_of(path)}"
    return Finding(path, "unlisted", note)


def _list(path: Path) -> Iterator[Entry | Finding]:
    try:
        digests, faults = read_list(path)
    except OSError as error:
        yield Finding(path, "changed", f"it cannot be read ({error.strerror})")
        return
    for fault in faults:
        yield Finding(path, "changed", fault)
    if not digests and not faults:
        yield Finding(path, "changed", "it is empty")
    for name, digest in digests.items():
        yield Entry(Path(os.path.normpath(path.parent / name)), digest, path)


def _lists(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file() and not path.name.startswith("."))


def _visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files and the folders directly in `folder`, without those that are never listed."""
    paths = sorted(path for path in folder.iterdir() if not is_left_out(path.name))
    folders = [path for path in paths if path.is_dir() and not path.is_symlink()]
    return [path for path in paths if path not in set(folders)], folders
