"""Values that stand apart from the others: structures of an odd size, odd pixel spacings, masks that are no ellipse."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sonoseg.io.faults import Fault, warning
from sonoseg.prepare.verify import Checked
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.task import Task

THRESHOLD = 5.0
"""Robust z-score above which a value is named. The 3.5 of Iglewicz and Hoaglin (1993) is for values that are normal but
for their outliers; areas have a long tail, and on HC18 it named 29 true, small heads of 799. 5 names two."""

LEAST_SPREAD = 0.05
"""Least standard deviation of a logarithm: where nearly all values are equal, 10 % more is still nothing to look at."""

FEWEST = 8
"""With fewer values nobody can say what is usual."""

LOW_IOU = 0.9
"""An ellipse class whose masks overlap their own ellipse less than this was not drawn as an ellipse."""


def robust_z(values: ArrayLike, least_spread: float = 0.0) -> NDArray[np.float64]:
    """Return (value - median) / (1.4826 MAD) for each value, where MAD is the median absolute deviation.

    1.4826 makes it the standard deviation of normal values. `least_spread` is the smallest divisor; without one, values
    equal to the median give 0 and others infinity where MAD is 0. Fewer than 8 values, which cannot say what is usual,
    give zeros.
    """
    found = np.asarray(values, dtype=np.float64)
    if len(found) < FEWEST:
        return np.zeros(len(found))
    away = found - np.median(found)
    spread = max(1.4826 * float(np.median(np.abs(away))), least_spread)
    if spread == 0:
        return np.where(away == 0, 0.0, np.copysign(np.inf, away))
    return away / spread


def area_faults(checked: Sequence[Checked], task: Task, names: Mapping[str, str]) -> list[Fault]:
    """Name structures whose share of the image stands apart from the class's others on a logarithmic scale.

    `names` are the images' paths by id.
    """
    faults = []
    for name in task.class_names:
        shown = [one for one in checked if one.present[name]]
        shares = np.array([one.share(name) for one in shown])
        scores = robust_z(np.log(shares), LEAST_SPREAD)
        for one, share, z in zip(shown, shares, scores, strict=True):
            if abs(z) > THRESHOLD:
                size = "large" if z > 0 else "small"
                message = (
                    f"{name} is unusually {size}: {share:.3%} of the image, the median is {np.median(shares):.3%} "
                    f"(robust z {z:+.1f})"
                )
                faults.append(warning(names[one.item.id], message, "area", one.item.id))
    return faults


def spacing_faults(samples: Sequence[Sample], names: Mapping[str, str]) -> list[Fault]:
    """Name images whose pixel size, or whose pixels' ratio of height to width, stands apart from the others'."""
    known = [sample for sample in samples if sample.spacing]
    spacings = np.log(np.array([sample.spacing for sample in known], dtype=np.float64).reshape(-1, 2))
    size, ratio = robust_z(spacings.mean(axis=1), LEAST_SPREAD), robust_z(spacings[:, 0] - spacings[:, 1], LEAST_SPREAD)
    usual = np.exp(np.median(spacings, axis=0)) if known else np.ones(2)
    faults = []
    for sample, z_size, z_ratio in zip(known, size, ratio, strict=True):
        if max(abs(z_size), abs(z_ratio)) > THRESHOLD and sample.spacing:
            row, column = sample.spacing
            what = "an unusual pixel spacing" if abs(z_size) >= abs(z_ratio) else "pixels of an unusual shape"
            z = z_size if abs(z_size) >= abs(z_ratio) else z_ratio
            message = (
                f"{what}: {row:g} x {column:g} mm (row x column), the median is {usual[0]:.4g} x {usual[1]:.4g} "
                f"(robust z {z:+.1f})"
            )
            faults.append(warning(names[sample.id], message, "spacing", sample.id))
    return faults


def ellipse_faults(checked: Sequence[Checked], task: Task, names: Mapping[str, str]) -> list[Fault]:
    """Name the masks of ellipse classes that overlap the ellipse of their own moments by less than 0.9 (IoU).

    Drawn shapes are ellipses already, and masks that the image cuts off cannot tell.
    """
    faults = []
    for one in checked:
        for name, numbers in one.structures.items():
            iou = numbers.ellipse_iou
            if one.item.mask is not None and iou is not None and iou < LOW_IOU:
                message = f"{name} is no ellipse: it overlaps its best ellipse by {iou:.2f} (IoU), below {LOW_IOU:g}"
                faults.append(warning(names[one.item.id], message, "not_ellipse", one.item.id))
    return faults
