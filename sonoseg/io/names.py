"""Names of files and patients: whether they are valid, when two of them are the same, and whether paths stay inside."""

import os
import unicodedata
from pathlib import Path

_DIRECTION = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Bidirectional controls, which display a name in another order than its characters have."""
_VARIATION_SELECTORS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x1810))))
"""Characters that only choose a glyph; together with the categories of control and format characters: invisible."""
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters without ink that Unicode counts as letters, marks or symbols (Hangul fillers, empty Braille pattern)."""


def name_problem(name: str) -> str | None:
    """Return what makes a name unfit as a file name on every system, or None."""
    problem = text_problem(name)
    if problem:
        return problem
    if "/" in name or "\\" in name or name.strip() in ("", ".", ".."):
        return "a path"
    return None


def text_problem(text: str) -> str | None:
    """Return what makes a text unfit to be a cell of a table, such as a patient, or None."""
    if text.isascii() and text.isprintable():
        return None
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text):
        return "a line break, control character or undecodable byte"
    return "a bidirectional control character" if _DIRECTION & set(text) else None


def patient_key(text: str) -> str:
    """Return the identity of a patient: equal for texts that look the same.

    The compatibility form of each character (NFKC: one Unicode form, full-width digits as plain ones), without
    invisible characters, and with one space for any spaces between words. Letter case is kept, as many pseudonyms
    depend on it. Empty when nothing is visible.
    """
    if not (text.isascii() and text.isprintable()):
        # Spaces first: some of the characters that separate words, such as a tab, are control characters.
        letters = [" " if letter.isspace() else letter for letter in unicodedata.normalize("NFKC", text)]
        text = unicodedata.normalize("NFKC", "".join(letter for letter in letters if not _is_invisible(letter)))
    return " ".join(text.split())


def similar_patient_key(text: str) -> str:
    """Return a key that is equal for patients which differ in letter case, accents, dashes or spaces at most."""
    letters = unicodedata.normalize("NFKD", patient_key(text).casefold())
    return "".join(
        "-" if unicodedata.category(letter) in ("Pd", "Pc") or letter == "\u2212" else letter
        for letter in letters
        if not unicodedata.combining(letter) and letter != " "
    )


def _is_invisible(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf") or letter in _VARIATION_SELECTORS or letter in _BLANK


def name_key(name: str) -> str:
    """Return a key that is equal for names which differ only in letter case or in the Unicode form of a letter.

    On some file systems such names are the same file.
    """
    return unicodedata.normalize("NFC", name).casefold()


def is_inside(path: Path, root: Path) -> bool:
    """Return whether a path, links resolved, lies inside a folder."""
    return _resolved(path).is_relative_to(_resolved(root))


def relative_name(path: Path, root: Path) -> str:
    """Return how a table names a file: relative to `root` when inside it, else its absolute path; `/` as separator."""
    path, root = _resolved(path), _resolved(root)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _resolved(path: Path) -> Path:
    """Return the path with its links resolved as far as they can be: a loop of links stays as it is."""
    return Path(os.path.realpath(path))
