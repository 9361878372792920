"""What files a folder has, as far as a task file can name them."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from sonoseg.annotations.frames import frame_count
from sonoseg.errors import printable
from sonoseg.io.image_ref import stem_of
from sonoseg.io.names import is_inside
from sonoseg.io.readers import is_image
from sonoseg.new_task.masks.stars import starred_folders
from sonoseg.schema.section import InnerPath

MAX_FILES, MAX_DEPTH = 200_000, 6
"""Files that are listed, and how many folders deep."""
MAX_NAME = 900
"""Longest path that is written into a task file."""
MAX_NOTES = 20
_SINGLE = (".png", ".jpg", ".jpeg", ".bmp")
_FRAME_NUMBER = re.compile(r"_(?:frame)?[0-9]+(?![0-9])")
_INNER_PATH: TypeAdapter[str] = TypeAdapter(InnerPath)


@dataclass
class Contents:
    """The files of a folder. images: folder, relative with `/` -> pictures in it, sorted. texts: JSON and XML files.

    notes: sentences on what was not looked at or cannot be used. looks: what the pictures are that were looked at.
    """

    folder: Path
    images: dict[str, list[Path]] = field(default_factory=dict)
    texts: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looks: dict[Path, str] = field(default_factory=dict)

    def note(self, sentence: str) -> None:
        if len(self.notes) < MAX_NOTES and sentence not in self.notes:
            self.notes.append(sentence)

    @cached_property
    def with_frames(self) -> frozenset[str]:
        """Stems of the files with several frames; PNG are not looked at."""
        paths = (path for paths in self.images.values() for path in paths if path.suffix.lower() not in _SINGLE)
        return frozenset(stem_of(path) for path in paths if frame_count(path) > 1)

    def stem(self, path: Path) -> str:
        """Return the name by which a picture is paired: its stem; of a mask of a frame without the frame's number."""
        stem = stem_of(path)
        for number in _FRAME_NUMBER.finditer(stem):
            if stem[: number.start()] in self.with_frames:
                return stem[: number.start()] + stem[number.end() :]
        return stem

    @cached_property
    def starred(self) -> dict[str, dict[Path, str]]:
        """Folders that are alike, see `starred_folders`."""
        return starred_folders(self.images)

    def pictures_in(self, where: str) -> Sequence[Path]:
        """Return the pictures of a folder, or of all that a name with `*` means."""
        return self.images[where] if where in self.images else list(self.starred[where])

    def name_in(self, path: Path, where: str) -> str:
        """Return the name by which a picture is paired in a folder: `stem`, after what `*` in `where` stands for."""
        stars = self.starred[where][path] if where not in self.images else ""
        return stars + self.stem(path)

    def names_in(self, where: str) -> list[str]:
        return list(dict.fromkeys(self.name_in(path, where) for path in self.pictures_in(where)))

    @property
    def pictures(self) -> int:
        return sum(map(len, self.images.values()))


def is_usable(name: str) -> bool:
    """Return whether a task file can name this file, folder or part of a name."""
    try:
        _INNER_PATH.validate_python(name)
    except ValidationError:
        return False
    return len(name) <= MAX_NAME


def contents_of(folder: Path) -> Contents:
    """Return the pictures and annotation files of a folder; hidden ones are left out, and links are not followed."""
    contents, count = Contents(folder), 0
    for root, folders, names in os.walk(folder, onerror=lambda problem: _unreadable(problem, contents)):
        here = Path(root)
        where = here.relative_to(folder).as_posix()
        if not is_usable(where):
            contents.note(f"{printable(where)}/ has a name that a task file cannot name; rename it")
            folders[:] = []
            continue
        folders[:] = sorted(name for name in folders if _is_entered(here / name, contents))
        if folders and len(here.relative_to(folder).parts) >= MAX_DEPTH:
            contents.note(f"folders below {where}/ are too deep to be looked at; name the folder of the images itself")
            folders[:] = []
        for name in sorted(names):
            count += 1
            if count > MAX_FILES:
                contents.note(f"only the first {MAX_FILES} files were looked at")
                return contents
            _add(here / name, where, contents)
    return contents


def _add(path: Path, where: str, contents: Contents) -> None:
    if path.name.startswith("."):
        return
    if is_image(path):
        if path.is_file():
            contents.images.setdefault(where, []).append(path)
    elif path.suffix.lower() in (".json", ".xml"):
        if not is_usable(path.relative_to(contents.folder).as_posix()):
            contents.note(f"{printable(path.name)} has a name that a task file cannot name; rename it")
        elif not is_inside(path, contents.folder):
            contents.note(f"{path.name} is a link that leads out of the folder; copy the file there")
        elif path.is_file():
            contents.texts.append(path)


def _is_entered(path: Path, contents: Contents) -> bool:
    if path.name.startswith((".", "__MACOSX")):
        return False
    if path.is_symlink():
        if not is_inside(path, contents.folder):
            contents.note(f"{printable(path.name)}/ is a link that leads out of the folder; copy the files there")
        return False
    return True


def _unreadable(problem: OSError, contents: Contents) -> None:
    contents.note(f"{printable(str(problem.filename))} cannot be read ({problem.strerror})")
