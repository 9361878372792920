"""Segment annotated images and compare each prediction with its reference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sonoseg.evaluation.cases import Case, surface_tolerance
from sonoseg.evaluation.metrics import agreement, diagonal
from sonoseg.evaluation.shape_errors import shape_errors
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import encode_label_map, read_mask
from sonoseg.io.readers import read_image
from sonoseg.models.predictor import Predictor, mean_probabilities
from sonoseg.postprocess.interpret import Findings, interpret, measure_labels
from sonoseg.postprocess.measure import Measurement
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.task import Task


def segment_and_compare(
    predictors: Sequence[Predictor],
    samples: Sequence[Sample],
    task: Task,
    in_mm: bool,
    limits: ReadLimits = DEFAULT_LIMITS,
) -> Iterator[Case]:
    """Yield a Case per annotated image: the result of stage 4, compared with the reference in the image's geometry.

    Several predictors of one task, at least one, are an ensemble: the mean of their probabilities is taken. References
    are measured on the reference mask by the same code as the prediction; a value that the metadata table gives for an
    image replaces the measured one. `in_mm`: the unit of all distances, which needs the spacing of every image.
    """
    for sample in samples:
        image, reference = read_image(sample.image, limits).pixels, read_mask(sample.mask, limits)
        prediction = interpret(mean_probabilities(predictors, image), image, task, sample.spacing)
        expected = measure_labels(reference, image, task, sample.spacing)
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
        measurements=prediction.measurements,
        distance_unit="mm" if in_mm else "px",
        reference_measurements=_with_references(reference.measurements, sample),
        shape_errors=shape_errors(prediction.shapes, reference.shapes, task.structures, sample.spacing, in_mm),
        image=sample.image,
        mask=sample.mask,
        prediction=encode_label_map(prediction.labels, task.colors),
        status=prediction.status,
        reasons=list(prediction.reasons),
        diagonal={"px": diagonal(size, None)} | ({"mm": diagonal(size, sample.spacing)} if sample.spacing else {}),
    )


def _with_references(measurements: Mapping[str, Measurement], sample: Sample) -> dict[str, Measurement]:
    """Return a reference's measurements with the table's values; without a spacing none of them is in millimetres."""
    given = {
        key: replace(measurement, value=sample.reference[key], note="")
        for key, measurement in measurements.items()
        if key in sample.reference and (sample.spacing or measurement.quantity.unit != "mm")
    }
    return {**measurements, **given}
