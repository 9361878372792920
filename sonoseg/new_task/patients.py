"""Which images show one patient, as far as file names and tables tell."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sonoseg.new_task.tables import Table

PATTERNS = (
    (r"^(\d+)[_-]", "the number at the beginning"),
    (r"^([A-Za-z]+[_-]?\d+)[_-]", "the word and number at the beginning"),
    (r"(?i)(?:patient|pat|subject|subj|sub|case|volunteer)[_-]?(\d+)", "the number after a word such as patient"),
    (r"^(.+)[_-][^_-]+$", "all before the last part"),
    (r"^([^_-]+)[_-]", "the first part"),
)
"""Patterns on the file names' stems that are tried, with what they take."""


@dataclass(frozen=True)
class PatientRule:
    """A way to tell patients apart. settings: `patients` of a task. groups: patients that it gives, of `images`."""

    settings: Any
    groups: int
    images: int
    reason: str


def patient_rules(stems: Sequence[str], table: Table | None) -> list[PatientRule]:
    """Return the ways that give more than one patient, and at least one with two images; the proposed one first.

    The last one is always `unknown`. A column of the table comes before patterns on the names; of patterns with equal
    groups only the first is listed.
    """
    rules = []
    for column, groups in table.patients if table else ():
        if groups > 1:
            reason = f"column {column!r} of {table.file if table else ''} names {groups} patients"
            rules.append(PatientRule({"column": column}, groups, len(stems), reason))
    seen = set()
    for pattern, what in PATTERNS:
        found = [match.group(1) if (match := re.search(pattern, stem)) else None for stem in stems]
        if None in found:
            continue
        groups = len(set(found))
        key = tuple(found)
        if 1 < groups < len(stems) and key not in seen:
            seen.add(key)
            reason = f"{what} of the file name gives {groups} patients for {len(stems)} images"
            rules.append(PatientRule({"pattern": pattern}, groups, len(stems), reason))
    reason = "nothing in names or tables says it; similar images are kept together"
    if rules:
        reason = "ignores names and tables; similar images are kept together"
    return [*rules, PatientRule("unknown", 0, len(stems), reason)]
