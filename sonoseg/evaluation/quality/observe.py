"""Results with their references, for the fit of a quality model."""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import nn

from sonoseg.evaluation.cases import signed_error
from sonoseg.evaluation.folds import FoldData
from sonoseg.io.limits import DEFAULT_LIMITS, ReadLimits
from sonoseg.io.masks import read_mask
from sonoseg.io.names import patient_key
from sonoseg.io.readers import read_image
from sonoseg.models.engines.torch_engine import torch_predictor
from sonoseg.models.predictor import Predictor, mean_probabilities
from sonoseg.postprocess.interpret import Findings, interpret, measure_labels
from sonoseg.preprocess.augmentation import apply, copy_generator, draw_parameters
from sonoseg.quality.familiarity import fit_familiarity, image_statistics
from sonoseg.quality.fit import Measured, Observation
from sonoseg.quality.model import Familiarity
from sonoseg.runs.split_tables import Sample
from sonoseg.schema.images import Augmentation
from sonoseg.schema.results import SKIN_ROW
from sonoseg.schema.task import Task
from sonoseg.types import Pixels

COPIES = 2
"""Degraded copies of each image. A good network fails on few of the images at hand, and from those alone nothing about
failures could be learnt; on copies that are hard to recognise it does, and shows the same features."""
DEGRADATION = Augmentation.model_validate(
    {
        "shift_scale_rotate": {"probability": 0.4, "shift": 0.25, "scale": 0.6, "rotate_deg": 40},
        "gain": {"probability": 0.4, "limit": 0.8},
        "contrast": {"probability": 0.4, "limit": 0.8},
        "depth_gain": {"probability": 0.3, "limit": 0.8},
        "blur": {"probability": 0.3, "sigma_px": (2.0, 8.0)},
        "noise": {"probability": 0.3, "sd": (10.0, 50.0)},
        "shadow": {"probability": 0.4, "strength": (0.6, 1.0), "width": (0.1, 0.6)},
    }
)
_SEED = 0


def validation_observations(network: nn.Module, data: FoldData, task: Task, device: str) -> list[Observation]:
    """Return the observations of the images of the fold that validates; network: on `device`, in evaluation mode."""
    predictor = torch_predictor(network, task.network, task.enhancement, task.input, device)
    return list(observe([predictor], data.validation_samples, task, data.limits))


def measured_of(task: Task) -> dict[str, Measured]:
    """Return key -> what an interval of it depends on, for the measurements that get one.

    None for ages, because the spread of the formula is not in the errors; and for offsets in pixels, which depend on
    the image's size.
    """
    measured = {}
    for section in task.measurements:
        for quantity in section.quantities:
            if quantity.unit != "weeks" and (section.is_relative or not quantity.is_in_pixels):
                measured[quantity.key] = Measured(tuple(section.shapes_needed), section.is_relative)
    return measured


def familiarity_of(data: FoldData) -> Familiarity | None:
    """Return the range of the training images' statistics; None for too few of them."""
    training = [sample for sample in data.samples if sample.fold is not None]
    statistics = [image_statistics(read_image(sample.image, data.limits).pixels) for sample in training]
    return fit_familiarity(statistics, [patient_key(sample.patient) for sample in training])


def observe(
    predictors: Sequence[Predictor], samples: Sequence[Sample], task: Task, limits: ReadLimits = DEFAULT_LIMITS
) -> Iterator[Observation]:
    """Yield for each annotated image the observation of the image itself and of its degraded copies.

    Copies depend on the name of the image alone, so that the same images give the same quality model.
    """
    for sample in samples:
        image, reference = read_image(sample.image, limits).pixels, read_mask(sample.mask, limits)
        yield _observation(predictors, image, reference, task, sample)
        for copy in range(COPIES):
            parameters = draw_parameters(DEGRADATION, copy_generator(sample.id, _SEED, copy))
            yield _observation(predictors, *apply(parameters, image, reference), task, sample, is_copy=True)


def _observation(
    predictors: Sequence[Predictor],
    image: Pixels,
    reference: Pixels,
    task: Task,
    sample: Sample,
    is_copy: bool = False,
) -> Observation:
    given = {} if is_copy else sample.reference
    prediction = interpret(mean_probabilities(predictors, image), image, task, sample.spacing)
    expected = measure_labels(reference, image, task, sample.spacing, given.get(SKIN_ROW))
    dice = _dice(prediction, expected, task)
    counted = [name for index, name in enumerate(task.class_names, 1) if name in dice or (reference == index).any()]
    values, references = _values(prediction), _values(expected) | given
    errors = {
        key: signed_error(value, references[key], prediction.measurements[key].quantity)
        for key, value in values.items()
        if key in references
    }
    return Observation(
        patient=sample.patient,
        features=prediction.features,
        dice={name: value for name, value in dice.items() if name in prediction.features},
        image_dice=float(np.mean([dice.get(name, 0.0) for name in counted])) if counted else 1.0,
        values=values,
        errors=errors,
        is_copy=is_copy,
    )


def _values(findings: Findings) -> dict[str, float]:
    return {key: one.value for key, one in findings.measurements.items() if one.value is not None}


def _dice(prediction: Findings, expected: Findings, task: Task) -> dict[str, float]:
    """Return structure -> Dice of the label maps, for the structures that were predicted."""
    dice = {}
    for index, name in enumerate(task.class_names, start=1):
        own, other = prediction.labels == index, expected.labels == index
        if own.any():
            dice[name] = 2 * int(np.count_nonzero(own & other)) / int(np.count_nonzero(own) + np.count_nonzero(other))
    return dice
