"""The HTML page of stage 1: whether the data are fit to train on, and what to check first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonoseg.errors import printable
from sonoseg.io.faults import Fault, FaultGroup, group_faults
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import decode_label_map
from sonoseg.io.readers import read_image
from sonoseg.prepare.dataset import Dataset
from sonoseg.prepare.duplicates.near_duplicates import NearDuplicatePair
from sonoseg.prepare.statistics import evenly
from sonoseg.reporting.drawing import thumbnail
from sonoseg.reporting.pages import picture_uri, render
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.task import Task

MAX_SHEET_IMAGES, MAX_NAMED, MAX_PAIRS = 24, 12, 8
"""Pictures of the contact sheet, images named in warnings, and pairs of almost equal images that the page shows."""

MAX_LISTED = 200
"""Faults of one kind, and names in a list, that the page spells out; the JSON holds all."""


@dataclass(frozen=True)
class CaptionedImage:
    """One picture of the page and the lines below it."""

    uri: str
    name: str
    note: str


def dataset_page(dataset: Dataset, report: Mapping[str, Any], limits: ReadLimits = DEFAULT_LIMITS) -> str:
    """Return the HTML page of a dataset that can be prepared. `report` is that of `build_report`.

    Some images are read again. Raises DataError and OSError when one is no longer there.
    """
    groups = group_faults(dataset.faults)
    sheet = _ContactSheet(dataset, limits)
    samples = spread_evenly(dataset.samples, MAX_SHEET_IMAGES)
    return render(
        "dataset_report.html.j2",
        **_about(dataset.task, groups),
        report=report,
        sheet=[sheet.picture(sample.id, _place(sample)) for sample in samples],
        named=[sheet.picture(identity, note) for identity, note in sheet.named(groups)],
        pairs=[sheet.pair(pair) for pair in dataset.pairs.for_review(MAX_PAIRS)],
    )


def refused_page(task: Task, faults: Sequence[Fault], images: int) -> str:
    """Return the HTML page of a dataset with errors: all faults by kind, and nothing that a later stage would read.

    images: how many are in the data folder.
    """
    return render("dataset_refused.html.j2", **_about(task, group_faults(faults)), images=images)


def _about(task: Task, groups: Sequence[FaultGroup]) -> dict[str, Any]:
    return {
        "task": task.name,
        "title": task.title,
        "classes": [
            {"name": structure.name, "color": structure.color, "shape": structure.shape}
            for structure in task.structures
        ],
        "groups": groups,
        "listed": MAX_LISTED,
        "headline": headline,
        "printable": printable,
    }


def headline(group: FaultGroup) -> str:
    """Return a sentence for a group: the fault itself when there is only one, else their count and kind."""
    if len(group.faults) == 1:
        return printable(f"{group.faults[0].where}: {group.faults[0].message}")
    return f"{len(group.faults)} {group.title}"


def _place(sample: Sample) -> str:
    return f"{sample.part}, patient {sample.patient}"


class _ContactSheet:
    """The pictures of the page; each image is decoded once."""

    def __init__(self, dataset: Dataset, limits: ReadLimits):
        self._task, self._samples, self._limits = dataset.task, dataset.samples, limits
        self._images = {image.item.id: image for image in dataset.images}
        self._uris: dict[str, str] = {}

    def picture(self, identity: str, note: str) -> CaptionedImage:
        if identity not in self._uris:
            image = self._images[identity]
            pixels, labels = read_image(image.item.image, self._limits).pixels, decode_label_map(image.mask_png)
            self._uris[identity] = picture_uri(thumbnail(pixels, labels, self._task.colors), kind="jpeg")
        return CaptionedImage(self._uris[identity], printable(identity), printable(note))

    def pair(self, pair: NearDuplicatePair) -> dict[str, Any]:
        samples = [self._samples[index] for index in (pair.first, pair.second)]
        note = f"{pair.bits} of 64 bits differ, correlation {pair.correlation:.3f}"
        pictures = [self.picture(sample.id, _place(sample)) for sample in samples]
        return {"images": pictures, "note": note, "across": pair.across}

    def named(self, groups: Iterable[FaultGroup]) -> list[tuple[str, str]]:
        """Return (id, message) of up to 12 images that have warnings, some of each kind, most serious kinds first."""
        waiting = []
        for group in groups:
            if group.kind in ("alike", "alike_across", "alike_cut"):  # those are shown in pairs
                continue
            waiting.append(
                [(f.image, f.message) for f in group.faults if f.image is not None and f.image in self._images]
            )
        chosen: dict[str, str] = {}
        for turn in range(MAX_NAMED):
            for images in waiting:
                if turn < len(images) and len(chosen) < MAX_NAMED:
                    chosen.setdefault(*images[turn])
        return list(chosen.items())


def spread_evenly(samples: Sequence[Sample], count: int) -> list[Sample]:
    """Return up to `count` samples, evenly over parts, folds and patients; the same samples for the same list.

    The first image of each patient is taken while there are enough patients, else all images.
    """
    first = {sample.patient: sample for sample in sorted(samples, key=lambda sample: sample.id, reverse=True)}
    pool = list(first.values()) if len(first) >= count else list(samples)
    pool.sort(key=lambda sample: (sample.fold is None, sample.fold or 0, sample.patient, sample.id))
    return evenly(pool, count)
