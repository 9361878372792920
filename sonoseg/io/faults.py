"""What verification finds. Every part of stage 1 collects faults; one place turns the errors among them into an end."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sonoseg.errors import FaultsError, printable

LISTED_SINGLY = 4
"""More faults of one kind than these are one line with a count and examples: 3000 empty masks are one concern."""

EXAMPLES = 3


@dataclass(frozen=True)
class Kind:
    """What faults of one kind have in common: `title` says it of many, `remedy` what to do about them."""

    title: str
    remedy: str


KINDS = {
    "unreadable": Kind("files that cannot be read", "replace them, or remove them with their annotations"),
    "no_mask": Kind("images without a mask, or with several", "add the masks, or remove the images"),
    "no_image": Kind("annotations without an image", "add the images, or remove the annotations"),
    "size": Kind("masks of another size than their image", "export the masks again at the images' own size"),
    "values": Kind("masks with values that are no class", "correct the masks, or the classes of the task"),
    "names": Kind("file names that cannot be used", "rename the files"),
    "shape": Kind("shapes that cannot be drawn", "correct the annotation"),
    "same_of_two": Kind("pictures that are there for two patients", "remove one of each, or correct the patients"),
    "alike_across": Kind(
        "groups of almost equal images of several patients, in training and in test",
        "look at each; if it shows one patient, correct the patients, if it is of copies, keep one",
    ),
    "no_patients": Kind("patients that are not known", "say in the table which images belong to one patient"),
    "patient_names": Kind("patients whose names are almost equal", "spell each patient in one way"),
    "alike": Kind(
        "groups of almost equal images of several training, or several test, patients",
        "look at each; if it shows one patient, correct the patients",
    ),
    "alike_cut": Kind(
        "searches for almost equal images that were cut short",
        "correct the patients of those that were found, and run again",
    ),
    "split": Kind(
        "ways in which the split is not what was asked for", "add patients, or accept it and say so with the results"
    ),
    "class_missing": Kind("classes that a part does not show", "annotate more patients that show them"),
    "empty": Kind(
        "masks that are empty: nothing is annotated there",
        "right when the structure cannot be seen; else annotate them",
    ),
    "full": Kind("masks that cover the whole image", "look at them: inverted masks look like this"),
    "left_out": Kind("images that are not annotated, and left out", "annotate them, or remove them"),
    "open": Kind("outlines that are open and enclose nothing", "close the outlines"),
    "hidden": Kind("structures that others cover wholly", "check which class lies on top"),
    "area": Kind("structures of an unusual size", "look at them: a slip of the hand looks like this"),
    "not_ellipse": Kind("masks that are no ellipse, as the task says they are", "look at them, and correct the masks"),
    "same_of_one": Kind("pictures that are there twice, of one patient", "remove one of each: it counts twice"),
    "grey": Kind(
        "masks with grey values or smoothed edges", "export masks without smoothing and not as JPEG, if you can"
    ),
    "outside": Kind("shapes that reach beyond their image", "check that they were drawn on this picture"),
    "crossing": Kind("regions whose outline crosses itself", "look at them: they are filled by the even-odd rule"),
    "spacing": Kind("pixel spacings that are unusual", "check the table: millimetres depend on it"),
    "no_spacing": Kind("entries of the table that are missing", "fill them in, where millimetres are wanted"),
}
"""Most serious first: errors, then what makes scores untrue, then single images, then what the table leaves open."""


@dataclass(frozen=True, order=True)
class Fault:
    """One finding: an error stops stage 1, a warning is listed. `where` names the file, and the shape or row in it.

    `kind` is a key of KINDS, or empty for a fault that stands for itself.
    """

    level: Literal["error", "warning"]
    where: str
    message: str
    kind: str = ""

    def __str__(self) -> str:
        return printable(f"{_mark(self.level)}{self.where}: {self.message}")


@dataclass(frozen=True)
class Concern:
    """Faults of one kind and level, in order. `title` and `remedy` are sentences for all of them."""

    level: Literal["error", "warning"]
    kind: str
    title: str
    remedy: str
    faults: tuple[Fault, ...]

    def lines(self) -> list[str]:
        """Return a line per fault, or one line for all when they are many."""
        if len(self.faults) <= LISTED_SINGLY or not self.kind:
            return [str(fault) for fault in self.faults]
        examples = ", ".join(fault.where for fault in self.faults[:EXAMPLES])
        line = f"{_mark(self.level)}{len(self.faults)} {self.title} ({examples}, ...); {self.remedy}"
        return [printable(line)]


def error(where: str, message: str, kind: str = "") -> Fault:
    return Fault("error", where, message, kind)


def warning(where: str, message: str, kind: str = "") -> Fault:
    return Fault("warning", where, message, kind)


def in_order(faults: Sequence[Fault]) -> list[Fault]:
    """Return the faults sorted, errors first, each once."""
    return sorted(set(faults))


def concerns_of(faults: Sequence[Fault]) -> list[Concern]:
    """Return the faults grouped by kind, errors first and then the most serious kind; those of no kind end a level."""
    groups: dict[tuple[str, str], list[Fault]] = defaultdict(list)
    for fault in in_order(faults):
        groups[fault.level, fault.kind].append(fault)
    rank = {kind: place for place, kind in enumerate([*KINDS, ""])}
    concerns = []
    for _, kind in sorted(groups, key=lambda key: (key[0], rank[key[1]])):
        members = groups[_, kind]
        known = KINDS.get(kind, Kind("other findings", "read each"))
        concerns.append(Concern(members[0].level, kind, known.title, known.remedy, tuple(members)))
    return concerns


def stop_on_errors(source: str, faults: Sequence[Fault], hint: str = "") -> None:
    """Raise FaultsError with every fault listed, warnings last, when one of them is an error.

    Many of one kind are one line; `hint` is added to the headline.
    """
    errors = sum(fault.level == "error" for fault in in_order(faults))
    if errors:
        count = "1 fault" if errors == 1 else f"{errors} faults"
        headline = f"{source}: {count} found and nothing was written; correct the files named here and run again{hint}"
        raise FaultsError(headline, [line for concern in concerns_of(faults) for line in concern.lines()], shown=100)


def _mark(level: str) -> str:
    return "(warning) " if level == "warning" else ""
