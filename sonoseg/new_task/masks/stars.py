"""Folders that are alike, as one: `*/images` for `train/images` and `test/images`."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path, PurePosixPath

MOST_STARRED = 12
"""Names with `*`, those with most pictures, whose pictures are compared."""
MOST_STARS = 2
MOST_NAMED = 3
_SPLIT = re.compile(r"(?i)train|trainval|training|tr|val|valid|validation|test|testing|ts")
_PARTS = re.compile(r"(.+?)([ _-])(.+)")


def starred_folders(images: Mapping[str, Sequence[Path]]) -> dict[str, dict[Path, str]]:
    """Return {name with `*`: {picture: what each `*` stands for, with `/` after it}}, those with most pictures first.

    A `*` is a whole folder, or the part of its name before the first or after the last mark between words, in at least
    two folders. images: folder, relative with `/` -> pictures in it.
    """
    folders_of: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for folder in images:
        for name, stars in _names(PurePosixPath(folder).parts):
            folders_of[name].append((folder, stars))
    found = {
        name: {path: stars for folder, stars in folders for path in images[folder]}
        for name, folders in folders_of.items()
        if len(folders) > 1
    }
    order = sorted(found, key=lambda name: (-len(found[name]), name.count("*"), name))
    return {name: found[name] for name in order[:MOST_STARRED]}


def _names(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the names with `*` that a folder may have, and what these stand for."""
    if any("*" in part for part in parts):  # would be taken for one
        return
    for count in range(1, MOST_STARS + 1):
        for chosen in combinations(range(len(parts)), count):
            name = "/".join("*" if at in chosen else part for at, part in enumerate(parts))
            yield name, "".join(f"{parts[at]}/" for at in chosen)
    for at, part in enumerate(parts):
        for replaced, star in _partly(part):
            yield "/".join([*parts[:at], replaced, *parts[at + 1 :]]), f"{star}/"


def _partly(part: str) -> Iterator[tuple[str, str]]:
    first, last = _PARTS.fullmatch(part), _PARTS.fullmatch(part[::-1])
    if first:
        yield f"*{first[2]}{first[3]}", first[1]
    if last:
        yield f"{last[3][::-1]}{last[2]}*", last[1][::-1]


def described(stars: Sequence[str]) -> str:
    """Return what `*` stands for in the folders of some pictures, for people."""
    names = list(dict.fromkeys(star.rstrip("/") for star in stars if star))
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    anew = "; stage 1 divides them anew" if all(map(_SPLIT.fullmatch, names)) else ""
    return f" (* is {', '.join(names[:MOST_NAMED])}{more}{anew})"
