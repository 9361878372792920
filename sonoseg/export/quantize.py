"""A network in 8 bits for OpenVINO: calibrated on training images, and kept if validation images lose nothing by it."""

import logging
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
from rich.progress import track

from sonoseg.errors import ModelError, UsageError
from sonoseg.evaluation.folds import FoldData
from sonoseg.evaluation.segment import segment_and_compare
from sonoseg.evaluation.summary import summarise
from sonoseg.io.limits import ReadLimits
from sonoseg.io.readers import read_image
from sonoseg.models.engines import cache
from sonoseg.models.engines.base import Conversion, NetworkFunction
from sonoseg.models.engines.openvino_engine import convert, files_of, openvino_core, openvino_library, start
from sonoseg.models.engines.quantized import Record
from sonoseg.models.engines.tracing import trace
from sonoseg.models.model_file import load_network
from sonoseg.models.model_header import ModelHeader
from sonoseg.models.predictor import Predictor, prepare
from sonoseg.models.probe import Probe, probe_input
from sonoseg.runs.split_tables import Sample
from sonoseg.types import Maps

CALIBRATION_IMAGES = 200
"""Training images from which the ranges of the activations are taken, or all if there are fewer."""
MAX_DICE_LOSS = 0.001
"""Largest fall of a class's mean Dice on the validation images."""
MAX_ERROR_RISE_MM = 0.05
"""Largest rise of a measurement's mean absolute error, for those in mm."""
_SEED = 0


def quantize(model: ModelHeader, data: FoldData) -> tuple[Record, Conversion]:
    """Return the conversion of a model to 8 bits, and its record.

    data: the training images calibrate, the images of the fold validate. The same images give the same conversion.
    Raises UsageError where NNCF is not installed, and ModelError when a score falls by more than the limits.
    """
    if find_spec("nncf") is None:
        raise UsageError("a conversion to 8 bits needs NNCF to be made, though not to be used; run pip install nncf")
    task = model.task
    conversion = convert(trace(load_network(model), task.network, task.input.size), task.input.size)
    samples = _calibration(data)
    quantized = _quantized(model, conversion, samples, data.limits)
    before = _scores(model, start(conversion, 1), data, "32 bits")
    run = start(quantized, 1)
    after = _scores(model, run, data, "8 bits")
    dice, errors = (
        {name: (first[name], second[name]) for name in first} for first, second in zip(before, after, strict=True)
    )
    problems = _problems(dice, errors)
    if problems:
        raise ModelError(f"{model.path}: not kept in 8 bits: {'; '.join(problems)}; use openvino or openvino_bf16")
    record = Record(
        model_sha256=model.sha256,
        versions={"openvino": version("openvino"), "nncf": version("nncf")},
        calibrated_on=len(samples),
        scored_on=len(data.validation),
        dice=dice,
        errors=errors,
        probe=Probe.of(run(probe_input(task.input))).to_json(),
        files=cache.digests(quantized),
    )
    return record, quantized


def _calibration(data: FoldData) -> list[Sample]:
    """Return the training images that calibrate, drawn with a fixed seed."""
    names = sorted({row.source_id for row in data.train})
    chosen = set(np.random.default_rng(_SEED).permutation(names)[:CALIBRATION_IMAGES])
    return [sample for sample in data.samples if sample.id in chosen]


def _quantized(model: ModelHeader, conversion: Conversion, samples: Sequence[Sample], limits: ReadLimits) -> Conversion:
    """Return the conversion with weights and activations of 8 bits (post-training quantisation by NNCF)."""
    openvino_library()  # first, without its telemetry, which NNCF would start as well
    import nncf

    nncf.set_log_level(logging.ERROR)
    task = model.task

    def network_input(sample: Sample) -> Maps:
        return prepare(read_image(sample.image, limits).pixels, task.enhancement, task.input).values

    graph = openvino_core().read_model(conversion[".xml"], conversion[".bin"])
    images = nncf.Dataset(samples, network_input)
    # MIXED: activations need not be symmetric about 0, as those after PReLU are not. The slower correction of biases
    # costs the midline of simulated spines 0.0014 of Dice, the fast one 0.0032 (docs/results.md).
    return files_of(
        nncf.quantize(
            graph, images, subset_size=len(samples), preset=nncf.QuantizationPreset.MIXED, fast_bias_correction=False
        )
    )


def _scores(
    model: ModelHeader, run: NetworkFunction, data: FoldData, name: str
) -> tuple[dict[str, float], dict[str, float]]:
    """Return class -> mean Dice, and measurement -> mean absolute error, over the patients of the validation images."""
    task, samples = model.task, data.validation_samples
    in_mm = all(sample.spacing for sample in samples)
    cases = segment_and_compare([Predictor(run, task.enhancement, task.input)], samples, task, in_mm, data.limits)
    shown = track(cases, f"validate, {name}", len(samples), disable=not sys.stderr.isatty(), transient=True)
    summary = summarise(list(shown), task.class_names, task.evaluation, task.threshold)
    dice = {key: float(entry["dice"]["mean"]) for key, entry in summary["classes"].items()}
    errors = {
        key: float(entry["mean_absolute_error_with_missed"]["mean"])
        for key, entry in summary["measurements"].items()
        if "mean_absolute_error_with_missed" in entry
    }
    return dice, errors


def _problems(dice: Mapping[str, tuple[float, float]], errors: Mapping[str, tuple[float, float]]) -> list[str]:
    """Return what is worse in 8 bits by more than the limits."""
    return [
        f"the Dice of {name} falls from {before:.4f} to {after:.4f}, by at most {MAX_DICE_LOSS:g} is expected"
        for name, (before, after) in dice.items()
        if before - after > MAX_DICE_LOSS
    ] + [
        f"the error of {name} rises from {before:.2f} to {after:.2f}, by at most {MAX_ERROR_RISE_MM:g} is expected"
        for name, (before, after) in errors.items()
        if name.endswith("_mm") and after - before > MAX_ERROR_RISE_MM
    ]
