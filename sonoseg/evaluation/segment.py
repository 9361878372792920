"""Segment annotated images and compare each prediction with its reference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sonoseg.evaluation.cases import Case, surface_tolerance
from sonoseg.evaluation.metrics import agreement
from sonoseg.evaluation.shape_errors import shape_errors
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import encode_label_map, read_mask
from sonoseg.io.readers import read_image
from sonoseg.models.predictor import Predictor, mean_probabilities
from sonoseg.postprocess.interpret import Findings, interpret, measure_labels
from sonoseg.postprocess.measure import Measurement
from sonoseg.quality.assess import NO_QUALITY_MODEL, assess
from sonoseg.quality.model import QualityModel
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.quantity import Quantity
from sonoseg.schema.results import SKIN_ROW, DepthAlong, MeasurementSection
from sonoseg.schema.task import Task
from sonoseg.sizes import Size, Spacing


def segment_and_compare(
    predictors: Sequence[Predictor],
    samples: Sequence[Sample],
    task: Task,
    in_mm: bool,
    limits: ReadLimits = DEFAULT_LIMITS,
    qualities: Sequence[QualityModel | None] = (),
) -> Iterator[Case]:
    """Yield a Case per annotated image: the result of stage 4, compared with the reference in the image's geometry.

    Several predictors of one task, at least one, are an ensemble: the mean of their probabilities is taken. References
    are measured on the reference mask by the same code as the prediction; a value that the metadata table gives for an
    image replaces the measured one, and its row of the skin is where reference depths begin. `in_mm`: the unit of all
    distances, which needs the spacing of every image. qualities: of the predictors' models.
    """
    for sample in samples:
        image, reference = read_image(sample.image, limits).pixels, read_mask(sample.mask, limits)
        prediction = interpret(mean_probabilities(predictors, image), image, task, sample.spacing)
        prediction = assess(prediction, image, qualities)
        expected = measure_labels(reference, image, task, sample.spacing, sample.reference.get(SKIN_ROW))
        yield _case(sample, prediction, expected, task, in_mm)


def _case(sample: Sample, prediction: Findings, reference: Findings, task: Task, in_mm: bool) -> Case:
    size = prediction.labels.shape
    return Case(
        id=sample.id,
        patient=sample.patient,
        agreement={
            name: agreement(
                prediction.labels == index,
                reference.labels == index,
                sample.spacing if in_mm else None,
                surface_tolerance(task.evaluation, "mm" if in_mm else "px"),
            )
            for index, name in enumerate(task.class_names, start=1)
        },
        pixel_accuracy=float(np.mean(prediction.labels == reference.labels)),
        measurements=_with_rows(prediction.measurements, task.measurements, sample),
        distance_unit="mm" if in_mm else "px",
        reference_measurements=_with_rows(_with_references(reference.measurements, sample), task.measurements, sample),
        shape_errors=shape_errors(prediction.shapes, reference.shapes, task.structures, sample.spacing, in_mm),
        image=sample.image,
        mask=sample.mask,
        prediction=encode_label_map(prediction.labels, task.colors),
        status=prediction.status,
        reasons=list(prediction.reasons),
        quality=prediction.quality,
        has_quality_model=prediction.quality_note != NO_QUALITY_MODEL,
        intervals=prediction.intervals,
        size=_sizes(size, sample.spacing),
    )


def _sizes(size: Size, spacing: Spacing | None) -> dict[str, tuple[float, float]]:
    height, width = size
    in_mm = {"mm": (height * spacing[0], width * spacing[1])} if spacing else {}
    return {"px": (height, width), **in_mm}


def _with_references(measurements: Mapping[str, Measurement], sample: Sample) -> dict[str, Measurement]:
    """Return a reference's measurements with the table's values; without a spacing none of them is in millimetres."""
    given = {
        key: replace(measurement, value=sample.reference[key], note="")
        for key, measurement in measurements.items()
        if key in sample.reference and (sample.spacing or not measurement.quantity.needs_spacing)
    }
    return {**measurements, **given}


def _with_rows(
    measurements: Mapping[str, Measurement], sections: Sequence[MeasurementSection], sample: Sample
) -> dict[str, Measurement]:
    """Return an image's measurements and, for each depth among them, the rows of the skin and of the structure.

    They are distances below the image's upper edge, in pixels and in millimetres like the depth, without a value where
    it has none. Depths along one line have one row of the skin. Its label says against what it is compared: the true
    row that the metadata table gives, or the row that the same search finds on the reference's midline.
    """
    rows: dict[str, Measurement] = {}
    against = "true row" if SKIN_ROW in sample.reference else "same search on both sides"
    for section in sections:
        if isinstance(section, DepthAlong):
            skin = f"{section.line.lower()}_skin_row", f"row of the skin on {section.line} ({against})"
            structure = f"{section.name}_end_row", f"row of {section.structure} on {section.line}"
            for quantity in section.quantities:
                for end, (name, label) in enumerate((skin, structure)):
                    row = _row(measurements[quantity.key], Quantity(name, quantity.unit, label), end, sample)
                    earlier = rows.get(row.quantity.key)
                    if earlier is None or earlier.value is None:
                        rows[row.quantity.key] = row
    return {**measurements, **rows}


def _row(depth: Measurement, quantity: Quantity, end: int, sample: Sample) -> Measurement:
    """Return the row of one end (0 the upper, 1 the lower) of a depth, in the quantity's unit."""
    size = 1.0 if quantity.unit == "px" else sample.spacing[0] if sample.spacing else None
    if depth.marks is None or size is None:
        return Measurement(quantity, None, depth.note, is_undefined=depth.is_undefined)
    return Measurement(quantity, float(depth.marks[end, 1]) * size)
