"""Attributes of images and shapes that no reader returns: counted by name, so that they can be named.

Names come from files that may be hostile: of each image, and of all together, at most `MOST_NAMES` are kept.
"""

import reprlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal

MOST_NAMES = 12
"""Names that are kept; of all others it is only known that there are some."""

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 30

_NESTED = ("flags", "attributes")
"""Fields whose value is an object of attributes; these are named in place of the field."""

_ZERO_IS_NONE = ("iscrowd", "occluded", "rotation", "z_order")
"""Attributes that annotation tools write as 0 for every shape."""

Owner = Literal["shape", "image"]

Unread = Counter[tuple[str, Owner]]
"""(name as messages show it, what has it) -> how many shapes or images have the attribute."""

_OTHERS: tuple[str, Owner] = ("", "shape")
"""In place of names that are not kept; shown names have quotation marks, so none is empty."""


def is_filled(name: str, value: Any) -> bool:
    """Return whether an attribute says something: null, false, empty values and the zeros of tools do not.

    A value is one of JSON, or the text of an XML file, in which `false` and `0` are text too.
    """
    if isinstance(value, list):
        return any(one not in (None, False, "", [], {}) for one in value)
    if isinstance(value, str):
        value = value.strip()
        return value.lower() not in ("", "false") and not (value == "0" and name in _ZERO_IS_NONE)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value != 0 or name not in _ZERO_IS_NONE
    return value not in (None, False, {})


def filled_names(entry: Mapping[str, Any], known: Collection[str]) -> Iterator[str]:
    """Yield the names of the attributes of an entry that say something, and are none of the `known` fields."""
    for name, value in entry.items():
        if name in _NESTED and isinstance(value, dict):
            yield from (inner for inner, one in value.items() if is_filled(inner, one))
        elif name not in known and is_filled(name, value):
            yield name


def count_unread(unread: Unread, names: Iterable[str], owner: Owner = "shape") -> None:
    """Count the names of the attributes of one shape, or of the image; a name that repeats counts once."""
    keys = set()
    for name in names:
        key = _kept(unread, (_SHORT.repr(name), owner))
        unread.setdefault(key, 0)
        keys.add(key)
    unread.update(keys)


def unread_line(images: Iterable[Unread]) -> str | None:
    """Return what was counted for images as one line, the most frequent attributes first; None without any."""
    total = Unread()
    for unread in images:
        for key, count in unread.items():
            total[_kept(total, key)] += count
    others = total.pop(_OTHERS, 0)
    ranked = sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))
    named = [f"{name} ({count} {owner if count == 1 else f'{owner}s'})" for (name, owner), count in ranked]
    named += ["and others"] if others else []
    return f"attributes that are not written: {', '.join(named)}" if named else None


def _kept(unread: Unread, key: tuple[str, Owner]) -> tuple[str, Owner]:
    """Return the key under which a name is counted: its own, or `_OTHERS` when there are too many."""
    return key if key in unread or len(unread) < MOST_NAMES else _OTHERS
