"""The report of stage 1 as data: `dataset_report.json`, and the table in the terminal."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.table import Table

from sonoseg.io.faults import EXAMPLES, Fault, group_faults, in_order
from sonoseg.prepare.dataset import Dataset
from sonoseg.prepare.summary import areas, intensity, near_duplicates, patients_summary, pixel_shape, touching_border
from sonoseg.prepare.verify import VerifiedImage
from sonoseg.runs.split_tables import Sample
from sonoseg.runs.versions import versions


def build_report(dataset: Dataset) -> dict[str, Any]:
    """Return the report, ready for JSON, to which the plan is added.

    It contains no time and no path, so equal inputs give equal reports. `data_sha256` changes with one byte of an
    image, a pixel of a mask, a patient or a spacing.
    """
    task, checked, samples, faults = dataset.task, dataset.images, dataset.samples, dataset.faults
    train = [sample for sample in samples if sample.fold is not None]
    test = [sample for sample in samples if sample.fold is None]
    folds = sorted({sample.fold for sample in train if sample.fold is not None})
    return {
        "task": task.name,
        "classes": task.class_names,
        "structures": task.label_map_settings(),
        "settings": dict(dataset.settings),
        "verdict": verdict(faults),
        "data_sha256": data_sha256(checked, samples),
        "counts": {
            "all": _counts(samples, task.class_names),
            "train": _counts(train, task.class_names),
            "test": _counts(test, task.class_names),
            "folds": [_counts([sample for sample in train if sample.fold == fold], task.class_names) for fold in folds],
        },
        "images": _images(samples),
        "spacing_mm": _spacing(samples) | pixel_shape(samples),
        "patients": patients_summary(samples, dataset.meta, task),
        "area_px": {name: _area([image.area_px[name] for image in checked]) for name in task.class_names},
        "areas": areas(checked, samples, task),
        "intensity": intensity(checked, task),
        "plan": None,
        "added": None,
        "touching_border": touching_border(checked, task),
        "near_duplicates": near_duplicates(dataset.pairs, samples),
        "grey_masks": sum(fault.kind == "grey" for fault in in_order(faults)),
        "warnings": [
            {"where": fault.where, "message": fault.message, "kind": fault.kind} for fault in in_order(faults)
        ],
        "versions": versions(),
    }


def verdict(faults: Sequence[Fault]) -> dict[str, Any]:
    """Return whether there are no warnings, and the groups of warnings, most serious first."""
    concerns = [
        {
            "level": group.level,
            "kind": group.kind,
            "count": len(group.faults),
            "title": group.title,
            "remedy": group.remedy,
            "examples": [{"where": fault.where, "message": fault.message} for fault in group.faults[:EXAMPLES]],
        }
        for group in group_faults(faults)
    ]
    return {"fit": not concerns, "concerns": concerns}


def data_sha256(checked: Sequence[VerifiedImage], samples: Sequence[Sample]) -> str:
    """Return a hash of everything that was read: images, masks as drawn, patients, spacings, references."""
    labels = {image.item.id: image.labels_sha256 for image in checked}
    rows = sorted(
        [sample.id, sample.sha256, labels[sample.id], sample.patient, sample.spacing, sorted(sample.reference.items())]
        for sample in samples
    )
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _counts(samples: Sequence[Sample], class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "images": len(samples),
        "patients": len({sample.patient for sample in samples}),
        "images_with_class": {name: sum(sample.present[name] for sample in samples) for name in class_names},
    }


def _images(samples: Sequence[Sample]) -> dict[str, Any]:
    """The ten most frequent sizes, and how many there are."""
    sizes = Counter((sample.height, sample.width) for sample in samples)
    common = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:10]
    listed = [{"height": height, "width": width, "images": count} for (height, width), count in common]
    return {"different_sizes": len(sizes), "most_frequent": listed}


def _spacing(samples: Sequence[Sample]) -> dict[str, Any]:
    known = [sample.spacing for sample in samples if sample.spacing]
    rows, columns = [row for row, _ in known], [column for _, column in known]
    return {
        "images_with": len(known),
        "images_without": len(samples) - len(known),
        "row": _range(rows),
        "col": _range(columns),
    }


def _area(areas: Sequence[int]) -> dict[str, float] | None:
    """Smallest, median and largest area of the images that show a class; None when none does."""
    return _range([float(area) for area in areas if area])


def _range(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}


def counts_table(report: dict[str, Any]) -> Table:
    """Return the per-class counts of each part as a table for the terminal."""
    counts = report["counts"]
    table = Table(title=f"{report['task']}: images that show each class")
    for heading in ("part", "patients", "images", *report["classes"]):
        table.add_column(heading, justify="left" if heading == "part" else "right")
    parts = [("training", counts["train"]), ("test", counts["test"])]
    for name, part in [*parts, *((f"  fold {index}", fold) for index, fold in enumerate(counts["folds"]))]:
        shown = part["images_with_class"]
        table.add_row(
            name,
            str(part["patients"]),
            _with_share(part["images"], counts["all"]["images"]),
            *(_with_share(shown[c], counts["all"]["images_with_class"][c]) for c in report["classes"]),
        )
    table.add_section()
    everything = counts["all"]
    shown = everything["images_with_class"]
    table.add_row(
        "all", str(everything["patients"]), str(everything["images"]), *(str(shown[c]) for c in report["classes"])
    )
    return table


def _with_share(count: int, total: int) -> str:
    return f"{count} ({count / total:4.0%})" if total else str(count)
