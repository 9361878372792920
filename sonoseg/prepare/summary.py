"""Statistics of a whole dataset, from those of its images, for `dataset_report.json`."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sonoseg.io.pseudonyms import is_pseudonym
from sonoseg.prepare.duplicates.near_duplicates import MAX_BITS, MIN_CORRELATION, NearDuplicatePairs
from sonoseg.prepare.metadata import ImageMetadata
from sonoseg.prepare.statistics import SIDES
from sonoseg.prepare.verify import VerifiedImage
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.task import Task

BINS = 24

LISTED_PAIRS = 200
"""Pairs of almost equal images that the report lists; it counts all."""

SQUARE = 0.02
"""Pixels whose sides differ by less than this part count as square."""


def touching_border(checked: Sequence[VerifiedImage], task: Task) -> dict[str, Any]:
    """Return per class how many images show it at their border, at which sides, and their ids."""
    summary = {}
    for name in task.class_names:
        touching = [image for image in checked if name in image.statistics and image.statistics[name].border]
        sides = Counter(side for image in touching for side in image.statistics[name].border)
        summary[name] = {
            "images": len(touching),
            "sides": {side: sides[side] for side in SIDES},
            "ids": [image.item.id for image in touching],
        }
    return summary


def intensity(checked: Sequence[VerifiedImage], task: Task) -> dict[str, Any]:
    """Return per class the mean grey values, 0 to 255, inside it, in a ring around it and in the rest of the image.

    `difference` is inside minus ring, image by image, and `brighter` the share of images in which it is above 0. None
    for a class that no image shows beside background.
    """
    summary: dict[str, Any] = {}
    for name in task.class_names:
        shown = [image.statistics[name] for image in checked if name in image.statistics]
        both = [(statistics.inside, statistics.ring) for statistics in shown if statistics.ring is not None]
        difference = [inside - ring for inside, ring in both]
        summary[name] = both and {
            "images": len(both),
            "inside": quantiles([inside for inside, _ in both]),
            "ring": quantiles([ring for _, ring in both]),
            "rest": quantiles([statistics.rest for statistics in shown if statistics.rest is not None]),
            "difference_mean": float(np.mean(difference)),
            "cohens_d": cohens_d(difference),
            "brighter": float(np.mean(np.array(difference) > 0)),
        }
        summary[name] = summary[name] or None
    return summary


def cohens_d(differences: Sequence[float]) -> float | None:
    """Return Cohen's d for paired values: the mean of their differences over its sample standard deviation.

    d_z of Cohen (1988, "Statistical Power Analysis", section 2.3.5), equation 6 of Lakens (2013, Frontiers in
    Psychology 4:863); the deviation has N - 1 in its denominator. Cohen's convention: 0.2 small, 0.5 medium, 0.8 large.
    None for fewer than two values and for values that are all equal.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2 or np.ptp(values) == 0:
        return None
    return float(values.mean() / values.std(ddof=1))


def areas(checked: Sequence[VerifiedImage], samples: Sequence[Sample], task: Task) -> dict[str, Any]:
    """Return per class its share of the image, 0 to 1, and its area in mm2 where the spacing is known.

    Both over the images that show the class, with a histogram of the share in bins of equal width on a logarithmic
    scale. None for a class that no image shows. `checked` and `samples` are in the same order.
    """
    summary: dict[str, Any] = {}
    for name in task.class_names:
        shares = [image.share(name) for image in checked if image.present[name]]
        mm2 = [
            image.area_px[name] * sample.spacing[0] * sample.spacing[1]
            for image, sample in zip(checked, samples, strict=True)
            if image.present[name] and sample.spacing
        ]
        share = quantiles(shares)
        summary[name] = share and {"share": share | {"histogram": _histogram(shares)}, "mm2": quantiles(mm2)}
    return summary


def _histogram(values: Sequence[float]) -> list[int]:
    low, high = math.log(min(values)), math.log(max(values))
    if high - low < 1e-9:
        return [len(values)]
    counts, _ = np.histogram(np.log(values), bins=BINS, range=(low, high))
    return [int(count) for count in counts]


GROUPED = "similar pictures, as the patients are unknown"
BY_FILES = "what the image files state, as pseudonyms"


def patients_summary(samples: Sequence[Sample], meta: Mapping[str, ImageMetadata], task: Task) -> dict[str, Any]:
    """Return how patients are identified, the images without one, and how many patients have how many images.

    `disjoint_by` is `patient`, or `image` when no patient is known: the parts then share no image, but may share
    patients.
    """
    unknown = sum(not meta[sample.id].patient_known for sample in samples)
    how_many = Counter(Counter(sample.patient for sample in samples).values())
    pattern = task.patients.pattern
    by_table_or_name = f"file name, pattern {pattern}" if pattern else f"column {task.patients.column!r}"
    if any(is_pseudonym(sample.patient) for sample in samples):
        stated = f"{by_table_or_name}, and {BY_FILES}" if task.patients.column else BY_FILES
        told_apart_by = f"{stated}, else {GROUPED}" if task.patients.unknown and unknown else stated
    else:
        told_apart_by = GROUPED if task.patients.unknown else by_table_or_name
    return {
        "told_apart_by": told_apart_by,
        "grouped": task.patients.unknown and unknown > 0,
        "disjoint_by": "image" if unknown == len(samples) else "patient",
        "images_without": unknown,
        "images_per_patient": [{"images": images, "patients": how_many[images]} for images in sorted(how_many)],
    }


def near_duplicates(pairs: NearDuplicatePairs, samples: Sequence[Sample]) -> dict[str, Any]:
    """Return the counts of almost equal pairs of two patients and of the groups they make, and the most alike pairs."""
    groups = pairs.groups()
    listed = [
        {
            "ids": [samples[pair.first].id, samples[pair.second].id],
            "parts": [samples[pair.first].part, samples[pair.second].part],
            "bits": pair.bits,
            "correlation": round(pair.correlation, 4),
        }
        for pair in pairs.most_alike(LISTED_PAIRS)
    ]
    return {
        "max_bits": MAX_BITS,
        "min_correlation": MIN_CORRELATION,
        "pairs": len(pairs),
        "pairs_in_training_and_test": int(pairs.across.sum()),
        "groups": len(groups),
        "groups_in_training_and_test": sum(group.across for group in groups),
        "images_in_largest_group": max((len(group.images) for group in groups), default=0),
        "images_not_compared": pairs.unsearched,
        "most_alike": listed,
    }


def pixel_shape(samples: Sequence[Sample]) -> dict[str, Any]:
    """Return how many images have pixels that are not square, and the range of their height to width."""
    ratios = [sample.spacing[0] / sample.spacing[1] for sample in samples if sample.spacing]
    oblong = [ratio for ratio in ratios if abs(math.log(ratio)) > SQUARE]
    return {
        "images_not_square": len(oblong),
        "row_to_col": {"min": min(ratios), "max": max(ratios)} if ratios else None,
    }


def quantiles(values: Sequence[float]) -> dict[str, Any] | None:
    """Return smallest, largest, median, mean and four quantiles of values; None when there are none."""
    if not values:
        return None
    shares = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    names = ("min", "p5", "p25", "median", "p75", "p95", "max")
    at = [float(value) for value in np.quantile(np.asarray(values, dtype=np.float64), shares)]
    return dict(zip(names, at, strict=True)) | {"mean": float(np.mean(values)), "images": len(values)}
