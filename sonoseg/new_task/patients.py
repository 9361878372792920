"""Which images show one patient, as far as file names and tables tell."""

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sonoseg.errors import DataError
from sonoseg.io.pseudonyms import identity_key
from sonoseg.io.readers import read_image_header, states_spacing
from sonoseg.new_task.tables import Table

PATTERNS = (
    (
        r"(?i)(?:^|[^a-z])(?:patient|pat|subject|subj|sub|case|volunteer|person|pid)[ _-]?(\d+)",
        "the number after a word such as patient",
    ),
    (r"^(\d+)[ _-]", "the number at the beginning"),
    (r"^([A-Za-z]+[_-]?\d+)[ _-]", "the word and number at the beginning"),
    (r"^(.+)[ _-]\(?\d+\)?$", "all before the last number, as of frames of a sweep,"),
    (r"^(.*[A-Za-z])\d+$", "the letters before the last number"),
    (r"^([^\W\d_]+ \d+) ", "the word and number at the beginning"),
    (r"^(.+)[_-][^_-]+$", "all before the last part"),
    (r"^([^_-]+)[_-]", "the first part"),
    (r"^\D* (\d+) ", "the first number between spaces"),
)
"""Patterns on the file names' stems that are tried, with what they take."""
_FOLDER = "the name of the folder"
_NO_PATIENT = re.compile(r"(?i)(train|tr|val|valid|test|ts|fold|split|set|part|batch|class|group|images?|data)")
"""Beginning of the name of a folder that is no patient's, although it may have a number."""
FEW_GROUPS = 5
"""Groups without a digit in their names, below which they are rather kinds of findings than patients."""


def _patterns(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the patterns that are tried, with what they take; names: stems, perhaps after folders with `/`."""
    depth = max((name.count("/") for name in names), default=0)
    if not depth:
        return list(PATTERNS)
    folders = [(f"^{'[^/]+/' * at}([^/]+)/", f"{_FOLDER}{f' at place {at + 1}' if at else ''}") for at in range(depth)]
    # A pattern for the beginning of a name is one for what follows the last folder.
    return [*folders, *((re.sub(r"^\^", "^(?:.*/)?", pattern), what) for pattern, what in PATTERNS)]


@dataclass(frozen=True)
class PatientRule:
    """A way to tell patients apart. settings: `patients` of a task. groups: patients that it gives, of `images`.

    Of `unknown`, groups are 0 until the images are compared, see `similar.with_similar_groups`. is_sure: it may be
    proposed without a person's decision.
    """

    settings: Any
    groups: int
    images: int
    reason: str
    is_sure: bool = True


@dataclass(frozen=True)
class HeaderFacts:
    """What the headers of image files state. files: that were read. with_spacing, with_patient: files that state them.

    patients: how many different ones.
    """

    files: int = 0
    with_spacing: int = 0
    with_patient: int = 0
    patients: int = 0

    @property
    def pixel_size(self) -> str:
        """Where the pixel size comes from; empty when no file states one."""
        return f"pixel size: from the headers of {self.with_spacing} of {self.files} files" if self.with_spacing else ""

    def rule(self) -> PatientRule | None:
        """Return the rule of the headers, None when they state no patient."""
        if not self.with_patient:
            return None
        count = "one patient" if self.patients == 1 else f"{self.patients} patients"
        reason = f"from the headers, which name {count} for {self.with_patient} of {self.files} files, as pseudonyms"
        if self.patients == 1:
            reason += "; were all given the same identity when they were anonymised?"
        is_sure = self.patients > 1 and 2 * self.with_patient >= self.files
        return PatientRule("unknown", self.patients, self.with_patient, reason, is_sure)


def header_facts(paths: Sequence[Path]) -> HeaderFacts:
    """Return what the headers of these files state about spacing and patients, those that cannot be read left out."""
    headers = []
    for path in paths:
        with suppress(DataError):
            if states_spacing(path):  # other files state neither
                headers.append(read_image_header(path))
    identities = [identity for header in headers if (identity := identity_key(header.patient or ""))]
    spacings = sum(header.spacing is not None or any(one.spacing for one in header.regions) for header in headers)
    return HeaderFacts(len(paths), spacings, len(identities), len(set(identities)))


def patient_rules(stems: Sequence[str], table: Table | None, headers: HeaderFacts = HeaderFacts()) -> list[PatientRule]:
    """Return the ways that give at least one patient with two images; the proposed one, of several patients, first.

    stems: of the files, after what each `*` in the folder of the images stands for, with `/` after it.

    `unknown` is always among them: proposed where no other is sure, else last. It stands for the patients of the
    headers where files state them, which come after the table's. A column of the table comes before
    patterns on the names, and may give each image its own patient; of patterns with equal groups only the first is
    listed.
    """
    rules = []
    for column in table.patients if table else ():
        if column.groups > 1:
            reason = f"column {column.name!r} of {table.file if table else ''} names {column.groups} patients"
            empty = len(stems) - column.images
            reason += f" for {column.images} of {len(stems)} images" + (f", {empty} have none" if empty else "")
            is_sure = 2 * column.images >= len(stems)
            rules.append(PatientRule({"column": column.name}, column.groups, column.images, reason, is_sure))
    of_headers = headers.rule()
    rules += [of_headers] if of_headers and of_headers.is_sure else []
    seen = set()
    for pattern, what in _patterns(stems):
        found: list[str | None] = [match.group(1) if (match := re.search(pattern, stem)) else None for stem in stems]
        names = {name for name in found if name is not None}
        first: dict[str | None, int] = {}
        key = tuple(first.setdefault(name, number) for number, name in enumerate(found))
        has_numbers = all(re.search(r"\d", name) for name in names)
        if None in found or key in seen or not (1 if has_numbers else 2) <= len(names) < len(stems):
            continue
        seen.add(key)
        is_sure = len(names) > 1 and (len(names) >= FEW_GROUPS or has_numbers)
        if what.startswith(_FOLDER):
            is_sure = len(names) > 1 and has_numbers and not any(map(_NO_PATIENT.match, names))
        count = f"{len(names)} patients" if len(names) > 1 else "one patient"
        what = what if what.startswith(_FOLDER) else f"{what} of the file name"
        reason = f"{what} gives {count} for {len(stems)} images"
        rules.append(PatientRule({"pattern": pattern}, len(names), len(stems), reason, is_sure))
    sure, unsure = ([rule for rule in rules if rule.is_sure is is_sure] for is_sure in (True, False))
    reason = "nothing in names or tables says it; similar images are kept together"
    if rules:
        reason = "ignores names and tables; similar images are kept together"
    if unsure and not sure:
        reason = "names or tables may say it, but not surely; similar images are kept together"
    if of_headers and of_headers.is_sure:
        return [*sure, *unsure]
    unknown = of_headers or PatientRule("unknown", 0, len(stems), reason)
    return [*sure, *unsure, unknown] if sure else [unknown, *unsure]
