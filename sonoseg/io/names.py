"""File names: whether they are valid everywhere, when two of them are the same file, and whether paths stay inside."""

import unicodedata
from pathlib import Path


def name_problem(name: str) -> str | None:
    """Return what makes a name unfit as a file name on every system, or None."""
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        return "a line break, control character or undecodable byte"
    if "/" in name or "\\" in name or name.strip() in ("", ".", ".."):
        return "a path"
    return None


def name_key(name: str) -> str:
    """Return a key that is equal for names which differ only in letter case or in the Unicode form of a letter.

    On some file systems such names are the same file.
    """
    return unicodedata.normalize("NFC", name).casefold()


def is_inside(path: Path, root: Path) -> bool:
    """Return whether a path, links resolved, lies inside a folder."""
    return path.resolve().is_relative_to(root.resolve())


def relative_name(path: Path, root: Path) -> str:
    """Return how a table names a file: relative to `root` when inside it, else its absolute path; `/` as separator."""
    path, root = path.resolve(), root.resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
