"""Segment annotated images with trained networks and compare each with its reference mask."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from sonoseg.evaluation.cases import Case, surface_tolerance
from sonoseg.evaluation.folds import TrainingData
from sonoseg.evaluation.metrics import agreement, diagonal
from sonoseg.evaluation.shape_errors import shape_errors
from sonoseg.io.masks import encode_label_map, read_mask
from sonoseg.io.readers import read_image
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.predictor import mean_probabilities
from sonoseg.postprocess.interpret import interpret, measure_labels
from sonoseg.postprocess.measure import Measurement
from sonoseg.runs.split_tables import Prepared, Sample
from sonoseg.schema.task import Task
from sonoseg.types import Maps, Pixels


def score(
    networks: Sequence[nn.Module],
    rows: Sequence[Prepared],
    data: TrainingData,
    task: Task,
    device: torch.device,
    in_mm: bool | None = None,
) -> Iterator[Case]:
    """Yield a Case per prepared image: the result a user would get, against the mask at the image's own size.

    Several networks of one task, at least one, are an ensemble: the mean of their probabilities is taken, in the
    image's geometry. References are measured on the reference mask by the same code as the prediction; a value that the
    metadata table gives for an image replaces the measured one. `in_mm` is the unit of all distances, by default mm
    when every one of these images has a spacing; rows that are summarised together need the same.
    """
    by_id = {sample.id: sample for sample in data.samples}
    # One unit for all: an average of millimetres and pixels would mean nothing.
    if in_mm is None:
        in_mm = all(by_id[row.source_id].spacing for row in rows)
    predictors = [torch_predictor(network.eval(), task, device) for network in networks]
    for row in rows:
        sample = by_id[row.source_id]
        image, reference = read_image(sample.image, data.limits).pixels, read_mask(sample.mask, data.limits)
        yield _case(mean_probabilities(predictors, image), image, reference, sample, task, in_mm)


def _case(probabilities: Maps, image: Pixels, reference: Pixels, sample: Sample, task: Task, in_mm: bool) -> Case:
    """Compare what is found in class probabilities `(1 + K, H, W)` float32 with the reference label map."""
    found = interpret(probabilities, image, task, sample.spacing)
    truth = measure_labels(reference, image, task, sample.spacing)
    return Case(
        id=sample.id,
        patient=sample.patient,
        agreement={
            name: agreement(
                found.labels == index,
                reference == index,
                sample.spacing if in_mm else None,
                surface_tolerance(task.evaluation, "mm" if in_mm else "px"),
            )
            for index, name in enumerate(task.class_names, start=1)
        },
        pixel_accuracy=float(np.mean(found.labels == reference)),
        measurements=found.measurements,
        distance_unit="mm" if in_mm else "px",
        reference_measurements=_with_references(truth.measurements, sample),
        shape_errors=shape_errors(found.shapes, truth.shapes, task.structures, sample.spacing, in_mm),
        image=sample.image,
        mask=sample.mask,
        prediction=encode_label_map(found.labels, task.colors),
        status=found.status,
        reasons=list(found.reasons),
        diagonal={"px": diagonal(image.shape, None)}
        | ({"mm": diagonal(image.shape, sample.spacing)} if sample.spacing else {}),
    )


def _with_references(measurements: Mapping[str, Measurement], sample: Sample) -> dict[str, Measurement]:
    """Return a reference's measurements with the table's values; without a spacing none of it is in millimetres."""
    given = {
        key: replace(measurement, value=sample.reference[key], note="")
        for key, measurement in measurements.items()
        if key in sample.reference and (sample.spacing or measurement.quantity.unit != "mm")
    }
    return {**measurements, **given}
