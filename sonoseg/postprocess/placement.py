"""Findings of a region, in the geometry of the frame that the region is part of."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonoseg.geometry.shapes import Shape
from sonoseg.postprocess.interpret import Findings
from sonoseg.sizes import Region, Size
from sonoseg.types import Pixels


def place_findings(findings: Findings, region: Region, frame: Size) -> Findings:
    """Return the findings of a region with label map, masks, probabilities, points and marks in its frame.

    frame: (height, width). Outside the region everything is background. Measurements, status and quality are those of
    the region: an offset from the middle of the image is one from the middle of the region.
    """
    shift = np.array([region.left, region.top], dtype=np.float64)
    measurements = {
        key: replace(measurement, marks=None if measurement.marks is None else measurement.marks + shift)
        for key, measurement in findings.measurements.items()
    }
    probabilities = findings.probabilities
    if probabilities is not None:
        background = _placed(probabilities[0], region, frame, fill=1)
        probabilities = np.concatenate([background[None], _placed(probabilities[1:], region, frame)])
    return replace(
        findings,
        labels=_placed(findings.labels, region, frame),
        masks=_placed(findings.masks, region, frame),
        shapes=[Shape(shape.structure, shape.kind, shape.points + shift) for shape in findings.shapes],
        measurements=measurements,
        probabilities=probabilities,
    )


def place_pixels(pixels: Pixels, region: Region, frame: Size) -> Pixels:
    """Return a frame `(H, W)` uint8 that shows a region and is black around it."""
    return _placed(pixels, region, frame)


def _placed(values: NDArray[Any], region: Region, frame: Size, fill: int = 0) -> NDArray[Any]:
    whole = np.full((*values.shape[:-2], *frame), fill, values.dtype)
    whole[..., *region.window] = values
    return whole
