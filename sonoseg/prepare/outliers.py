"""Outliers of a dataset: structures of an unusual size, unusual pixel spacings, masks that are no ellipse."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sonoseg.io.faults import Fault, warning
from sonoseg.prepare.verify import VerifiedImage
from sonoseg.runs.split_tables import Sample

THRESHOLD = 5.0
"""Robust z-score above which a value is named. The 3.5 of Iglewicz and Hoaglin (1993) is for values that are normal but
for their outliers; areas have a long tail, and on HC18 it named 29 true, small heads of 799. 5 names two."""

MIN_DEVIATION = 0.05
"""Least standard deviation of a logarithm: where nearly all values are equal, 10 % more is no outlier."""

MIN_VALUES = 8
"""Fewest values from which outliers are determined."""

LOW_IOU = 0.9
"""An ellipse class whose masks overlap their own ellipse less than this was not drawn as an ellipse."""


def robust_z(values: ArrayLike, min_deviation: float = 0.0) -> NDArray[np.float64]:
    """Return (value - median) / (1.4826 MAD) for each value, where MAD is the median absolute deviation.

    1.4826 makes it the standard deviation of normal values. `min_deviation` is the smallest divisor; without one,
    values equal to the median give 0 and others infinity where MAD is 0. Fewer than `MIN_VALUES` values give zeros.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < MIN_VALUES:
        return np.zeros(len(numbers))
    away = numbers - np.median(numbers)
    spread = max(1.4826 * float(np.median(np.abs(away))), min_deviation)
    if spread == 0:
        return np.where(away == 0, 0.0, np.copysign(np.inf, away))
    return away / spread


def area_faults(checked: Sequence[VerifiedImage], class_names: Sequence[str], names: Mapping[str, str]) -> list[Fault]:
    """Return a warning per structure whose share of the image is an outlier of its class, on a logarithmic scale.

    `names` are the images' paths by id.
    """
    faults = []
    for name in class_names:
        shown = [image for image in checked if image.present[name]]
        shares = np.array([image.share(name) for image in shown])
        scores = robust_z(np.log(shares), MIN_DEVIATION)
        for image, share, z in zip(shown, shares, scores, strict=True):
            if abs(z) > THRESHOLD:
                size = "large" if z > 0 else "small"
                message = (
                    f"{name} is unusually {size}: {share:.3%} of the image, the median is {np.median(shares):.3%} "
                    f"(robust z {z:+.1f})"
                )
                faults.append(warning(names[image.item.id], message, "area", image.item.id))
    return faults


def spacing_faults(samples: Sequence[Sample], names: Mapping[str, str]) -> list[Fault]:
    """Return a warning per image whose pixel size, or ratio of pixel height to width, is an outlier."""
    known = [sample for sample in samples if sample.spacing]
    spacings = np.log(np.array([sample.spacing for sample in known], dtype=np.float64).reshape(-1, 2))
    size, ratio = (
        robust_z(spacings.mean(axis=1), MIN_DEVIATION),
        robust_z(spacings[:, 0] - spacings[:, 1], MIN_DEVIATION),
    )
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


def ellipse_faults(checked: Sequence[VerifiedImage], names: Mapping[str, str]) -> list[Fault]:
    """Return a warning per mask of an ellipse class that overlaps the ellipse of its moments by less than 0.9 (IoU).

    Drawn shapes are ellipses already, and masks that the image cuts off are not tested.
    """
    faults = []
    for image in checked:
        for name, statistics in image.statistics.items():
            iou = statistics.ellipse_iou
            if image.item.masks and iou is not None and iou < LOW_IOU:
                message = f"{name} is no ellipse: it overlaps its best ellipse by {iou:.2f} (IoU), below {LOW_IOU:g}"
                faults.append(warning(names[image.item.id], message, "not_ellipse", image.item.id))
    return faults
