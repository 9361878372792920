"""Faults of a dataset: their kinds, how they are grouped for display, and the error that reports them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from sonoseg.errors import DataError, first_of, printable

LISTED_SINGLY = 4
"""More faults of one kind than these are shown as one line with their count and examples."""

EXAMPLES = 3
"""Faults of a group that its line, and the JSON report, name."""


@dataclass(frozen=True)
class FaultKind:
    """What the faults of one kind share: `title`, a noun phrase in the plural, and `remedy`, an instruction.

    one_decision: one setting of the task decides about all of them, so that several are always shown as one line.
    """

    title: str
    remedy: str
    one_decision: bool = False


KINDS = {
    "too_large": FaultKind("images of more pixels than the limit", "raise the limit, or remove them"),
    "unreadable": FaultKind("files that cannot be read", "replace them, or remove them with their annotations"),
    "no_mask": FaultKind("images without a mask, or with several", "add the masks, or remove the images"),
    "none_with_mask": FaultKind(
        "images of a folder in which none has a mask, or none that of a structure",
        "correct annotations.masks or annotations.mask_suffix of the task, or add the masks",
        one_decision=True,
    ),
    "without_mask": FaultKind(
        "images without a mask, or without one of a structure",
        "set annotations.without_annotation in the task: empty when they do not show it, leave_out when nobody has "
        "annotated them; or add the masks",
        one_decision=True,
    ),
    "further_mask": FaultKind(
        "pictures whose names begin with that of a mask",
        "set annotations.unite in the task to true where they are further masks of the structure; name the ends of "
        "others in annotations.mask_suffix, or in annotations.ignore; or move them away",
    ),
    "no_image": FaultKind("annotations without an image", "add the images, or remove the annotations"),
    "size": FaultKind("masks of another size than their image", "export the masks again at the images' own size"),
    "annotated_size": FaultKind(
        "annotations of an image of another size", "annotate the images that are there, or put the annotated ones there"
    ),
    "values": FaultKind("masks with values that are no class", "correct the masks, or the classes of the task"),
    "colors": FaultKind(
        "masks with colours that are not in annotations.values",
        "add these, which the report names, to annotations.values, null for background, or correct the masks",
    ),
    "names": FaultKind("file names that cannot be used", "rename the files"),
    "patient_pattern": FaultKind(
        "patterns that do not match names of files", "correct patients.pattern of the task, or rename the files"
    ),
    "shape": FaultKind("shapes that cannot be drawn", "correct the annotation"),
    "same_of_two": FaultKind(
        "images with the same pixels in two patients", "remove one of each pair, or correct the patients"
    ),
    "alike_across": FaultKind(
        "groups of near-duplicates in several patients, in training and in test",
        "inspect each group: correct the patients if all show the same patient, keep one image if they are copies",
    ),
    "no_patients": FaultKind("unknown patients", "state in the table which images belong to which patient"),
    "patient_spellings": FaultKind(
        "patients with several spellings that look the same, each treated as one",
        "spell each patient's name in one way",
    ),
    "patient_names": FaultKind("patients whose names are almost equal", "spell each patient's name in one way"),
    "alike": FaultKind(
        "groups of near-duplicates in several training, or several test, patients",
        "inspect each group: correct the patients if all show the same patient",
    ),
    "alike_cut": FaultKind(
        "incomplete searches for near-duplicates", "correct the patients of those that were found, and run again"
    ),
    "split": FaultKind(
        "differences of the split from what was requested", "add patients, or report the difference with the results"
    ),
    "class_missing": FaultKind("classes that are missing in a part", "annotate more patients that show them"),
    "class_missing_in_fold": FaultKind(
        "classes that are missing in a fold", "annotate more patients that show them, or divide into fewer folds"
    ),
    "two_spacings": FaultKind(
        "images whose file states another pixel spacing than the table",
        "correct the table, or leave its cells empty where the file is right",
    ),
    "constant": FaultKind("images of one or two grey values", "remove them: they show nothing, or are masks"),
    "empty": FaultKind(
        "empty masks: nothing is annotated", "correct if the structure is not visible; otherwise annotate it"
    ),
    "full": FaultKind("masks that cover the whole image", "check whether the masks are inverted"),
    "left_out": FaultKind("images that are not annotated, and left out", "annotate them, or remove them"),
    "other_picture": FaultKind(
        "pictures in a folder of masks that are none by their names, and not used",
        "nothing, or correct annotations.mask_suffix or annotations.ignore of the task",
    ),
    "united": FaultKind("images with several masks of a structure, which were united", "look at one of them"),
    "labels": FaultKind(
        "labels that are no class",
        "map them to a structure in annotations.labels of the task, or to null to ignore them",
    ),
    "several_annotations": FaultKind(
        "images with several annotations, of which the newest is used",
        "check that it is the right one, or remove the others",
    ),
    "not_annotated": FaultKind(
        "images without any shape",
        "set annotations.without_annotation in the task: empty when they show no structure, leave_out when nobody has "
        "annotated them",
        one_decision=True,
    ),
    "annotated_twice": FaultKind(
        "pictures of one patient that were annotated twice", "compare the annotations; keep one of each pair"
    ),
    "dropped": FaultKind("images with the same pixels as another, left out", "nothing, or remove them"),
    "excluded": FaultKind("images that the task excludes", "nothing, or correct the names"),
    "open": FaultKind("outlines that are open and enclose nothing", "close the outlines"),
    "hidden": FaultKind("structures that others cover completely", "check which class is drawn on top"),
    "area": FaultKind("structures of an unusual size", "check the annotation"),
    "not_ellipse": FaultKind("masks that are no ellipse, although the task states one", "check and correct the masks"),
    "same_of_one": FaultKind(
        "images with the same pixels, of one patient", "remove one of each pair, which otherwise counts twice"
    ),
    "soft_colors": FaultKind(
        "masks with a few pixels of other colours, read as the nearest one",
        "look at them, and save masks without soft edges",
    ),
    "grey": FaultKind(
        "masks with grey values or smoothed edges", "export masks without smoothing and not as JPEG, if possible"
    ),
    "outside": FaultKind("shapes that extend beyond their image", "check that they were drawn on this image"),
    "crossing": FaultKind(
        "regions whose outline crosses itself", "check them: they are filled according to the even-odd rule"
    ),
    "turned": FaultKind(
        "turned rectangles", "state shape: region for a structure that lies obliquely; it is trained as it was drawn"
    ),
    "spacing": FaultKind("unusual pixel spacings", "check the table: millimetres depend on it"),
    "no_spacing": FaultKind("missing entries of the table", "fill them in where millimetres are needed"),
}
"""Most serious first: errors, what biases scores, problems of single images, what the table does not contain."""

OTHER = FaultKind("other faults", "read each message")
"""Of faults without a kind."""


@dataclass(frozen=True, order=True)
class Fault:
    """A problem of the data: an error stops stage 1, a warning is listed.

    where: the file, and the shape or row in it, for people; kind: a key of KINDS, or empty; image: id of the image,
    None when the fault is of no single image. Faults are ordered by level, `where` and message.
    """

    level: Literal["error", "warning"]
    where: str
    message: str
    kind: str = ""
    image: str | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return printable(f"{_mark(self.level)}{self.where}: {self.message}")


@dataclass(frozen=True)
class FaultGroup:
    """Faults of one kind and level, in order; the other fields are those of the kind."""

    level: Literal["error", "warning"]
    kind: str
    title: str
    remedy: str
    faults: tuple[Fault, ...]
    one_decision: bool = False

    def lines(self) -> list[str]:
        """Return a line per fault, or a single line for more than LISTED_SINGLY of one kind, or for one decision."""
        if len(self.faults) <= (1 if self.one_decision else LISTED_SINGLY) or not self.kind:
            return [str(fault) for fault in self.faults]
        examples = first_of([fault.where for fault in self.faults], EXAMPLES)
        line = f"{_mark(self.level)}{len(self.faults)} {self.title} ({examples}); {self.remedy}"
        return [printable(line)]


class FaultsError(DataError):
    """Several faults, reported together.

    faults: all of them. The message has the headline and a line per fault, or `lines` in place of these, of which at
    most `shown` are listed.
    """

    def __init__(self, headline: str, faults: Sequence[Fault], lines: Sequence[str] | None = None, shown: int = 20):
        self.faults = tuple(faults)
        listed = [str(fault) for fault in faults] if lines is None else list(lines)
        message = [headline, *(f"  - {line}" for line in listed[:shown])]
        if len(listed) > shown:
            message.append(f"  ... and {len(listed) - shown} more")
        super().__init__("\n".join(message))


def error(where: str, message: str, kind: str = "", image: str | None = None) -> Fault:
    return Fault("error", where, message, kind, image)


def warning(where: str, message: str, kind: str = "", image: str | None = None) -> Fault:
    return Fault("warning", where, message, kind, image)


def in_order(faults: Sequence[Fault]) -> list[Fault]:
    """Return the faults sorted, errors first, without duplicates."""
    return sorted(set(faults))


def group_faults(faults: Sequence[Fault]) -> list[FaultGroup]:
    """Return the faults grouped by level and kind, errors first, within a level in the order of KINDS, others last."""
    groups: dict[tuple[str, str], list[Fault]] = defaultdict(list)
    for fault in in_order(faults):
        groups[fault.level, fault.kind].append(fault)
    rank = {kind: position for position, kind in enumerate([*KINDS, ""])}
    result = []
    for level, kind in sorted(groups, key=lambda key: (key[0], rank[key[1]])):
        members = groups[level, kind]
        known = KINDS.get(kind, OTHER)
        result.append(FaultGroup(members[0].level, kind, known.title, known.remedy, tuple(members), known.one_decision))
    return result


def fault_lines(faults: Sequence[Fault], remedies: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """Return the faults as lines, errors first; more than LISTED_SINGLY of one kind are one line.

    remedies: kind -> a further remedy, such as a flag of the script that shows them, which is added to its lines.
    """
    groups = group_faults(faults)
    return [line + remedies.get(group.kind, "") for group in groups for line in group.lines()]


def stop_on_errors(
    source: str, faults: Sequence[Fault], hint: str = "", remedies: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Raise FaultsError when one of the faults is an error; it lists all of them, as `fault_lines` does.

    `hint` is added to the headline.
    """
    errors = sum(fault.level == "error" for fault in in_order(faults))
    if errors:
        count = "1 fault" if errors == 1 else f"{errors} faults"
        headline = f"{source}: {count} found and nothing was written; correct the files named here and run again{hint}"
        raise FaultsError(headline, in_order(faults), fault_lines(faults, remedies), shown=100)


def _mark(level: str) -> str:
    return "(warning) " if level == "warning" else ""
