"""The order in which items are reviewed, filters, and counts."""

import hashlib
import threading
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonoseg.review.results import STATUSES, Item
from sonoseg.review.store import DECISIONS, Entry

MOST = 500
"""Largest part of the list that one answer has."""
LISTS = 50
"""Lists that are kept."""
_FIRST = {"reject": 0, "failed": 1}
_UNKNOWN = {"check": -1.0, "ok": 2.0, "waiting": 3.0}
"""In place of an expected Dice that is not known."""


@dataclass(frozen=True)
class Query:
    """What is listed: empty texts and None mean all. reviewed: whether there is a decision.

    pages_of: name of the list of which another page is asked for, empty for a new list, see `Lists`.
    """

    status: str = ""
    structure: str = ""
    patient: str = ""
    reviewed: bool | None = None
    offset: int = 0
    limit: int = 100
    pages_of: str = ""


class Lists:
    """The lists whose pages are being asked for: all pages are cut from the list as it was when its first was made.

    Its order and what a filter leaves change meanwhile, as images are segmented and decided about.
    """

    def __init__(self) -> None:
        self._lock, self._lists = threading.Lock(), OrderedDict[str, list[str]]()

    def get(self, name: str) -> list[str] | None:
        """Return the ids of a list; None for one that is not kept any more."""
        with self._lock:
            return self._lists.get(name)

    def keep(self, items: Sequence[Item]) -> str:
        """Keep a list, and return its name: the same for the same items in the same order."""
        ids = [item.id for item in items]
        name = hashlib.sha256("".join(ids).encode()).hexdigest()[:16]
        with self._lock:
            self._lists[name] = ids
            self._lists.move_to_end(name)
            if len(self._lists) > LISTS:
                self._lists.popitem(last=False)
        return name


def worst_first(items: Sequence[Item]) -> list[Item]:
    """Return items in the order of review: rejected ones, failed ones, then by expected Dice, then by name."""
    return sorted(items, key=_rank)


def _rank(item: Item) -> tuple[int, float, str]:
    quality = _UNKNOWN.get(item.status, 0.0) if item.quality is None else item.quality
    quality = quality if item.order is None else item.order
    return _FIRST.get(item.status, 2), quality, item.name


def decision_of(item: Item, newest: Mapping[str, Entry]) -> str:
    """Return what was decided about an item; newest: see `Store.newest_of_items`."""
    entry = newest.get(item.name)
    return str(entry["decision"]) if entry else "open"


def chosen(items: Sequence[Item], query: Query, newest: Mapping[str, Entry]) -> list[Item]:
    """Return the items that a query asks for, in their order."""
    return [item for item in items if _matches(item, query, newest)]


def _matches(item: Item, query: Query, newest: Mapping[str, Entry]) -> bool:
    if query.reviewed is not None and (decision_of(item, newest) != "open") != query.reviewed:
        return False
    return (
        query.status in ("", item.status)
        and (not query.structure or query.structure in item.structures)
        and query.patient in ("", item.patient)
    )


def counts(items: Sequence[Item], newest: Mapping[str, Entry], blind: bool) -> dict[str, int]:
    """Return the number of all items, by decision and by status; blind: without those by status."""
    decisions = Counter(decision_of(item, newest) for item in items)
    statuses = Counter[str]() if blind else Counter(item.status for item in items)
    return {
        "all": len(items),
        **{decision: decisions[decision] for decision in DECISIONS},
        **{status: statuses[status] for status in STATUSES},
    }


def listed(item: Item, newest: Mapping[str, Entry], blind: bool) -> dict[str, Any]:
    """Return an item as the list shows it; blind: without what the model has found."""
    entry = newest.get(item.name)
    return {
        "id": item.id,
        "name": item.label or item.name,
        "status": "" if blind else item.status,
        "quality": None if blind else item.quality,
        "reasons": [] if blind else list(item.reasons),
        "patient": item.patient,
        "frames": item.frames,
        "structures": [] if blind else list(item.structures),
        "decision": decision_of(item, newest),
        "reviewer": entry["reviewer"] if entry else "",
        "version": entry["version"] if entry else 0,
    }
