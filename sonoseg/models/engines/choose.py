"""Choice of the engine of a model: the fastest installed one that agrees with torch, or the one that is named."""

from dataclasses import dataclass, replace
from functools import cache as memoised

import numpy as np

from sonoseg.errors import ModelError, UsageError, choices, printable
from sonoseg.models.engines import ENGINE_NAMES, QUANTIZED, cache
from sonoseg.models.engines.base import Conversion, Engine, NetworkFunction
from sonoseg.models.engines.cache import Trial
from sonoseg.models.engines.check import MIN_AGREEMENT, pixel_agreement, sample_images, timed_run
from sonoseg.models.engines.installed import ENGINE_TYPES, installed
from sonoseg.models.engines.quantized import read_quantized, run_quantized
from sonoseg.models.model_header import ModelHeader
from sonoseg.models.probe import Probe, probe_input
from sonoseg.types import Maps

NO_PROBE = (
    "saved by an earlier version, without the output with which conversions are compared; torch computes it at every "
    "start, which takes seconds; train again for faster starts"
)


@dataclass(frozen=True)
class EngineOptions:
    """How a network is run.

    name: `auto` or one of `ENGINE_NAMES`. device: `cpu` or `cuda`. num_threads: threads that call the engine at once,
    each with one core; 0: one thread with all cores. elsewhere: the network runs on CUDA in other processes, to which
    the model is sent, and not in this one, which needs no GPU; to call it here raises ModelError.
    """

    name: str = "auto"
    device: str = "cpu"
    num_threads: int = 0
    elsewhere: bool = False


class ConversionError(Exception):
    """A conversion that cannot be run, or that does not give the output of its model; the message is the reason."""


def load_engine(model: ModelHeader, options: EngineOptions) -> Engine:
    """Return a model's engine, ready to run; it has run once, on the probe image, with the output that is expected.

    At a model's first use every installed engine is tried, and the trials are stored beside the model; after that torch
    is imported only when it is the fastest, or when the model file does not contain the expected output. A stored
    conversion that does not give that output is made again.

    Raises UsageError for an engine that is unknown, not installed or not available on the device, ModelError for a
    named engine that cannot run the model, and for a damaged model.
    """
    _check_options(options)
    if options.name == QUANTIZED:
        record, files = read_quantized(model)
        run, version = run_quantized(model, record, files, options.num_threads), record.versions["openvino"]
        return Engine(run, QUANTIZED, version, cache.digest_of_files(record.files))
    if _is_torch(options):
        return _start_torch(model, options) if not options.elsewhere else _name_torch(model)
    stored, remarks = read_stored(model, options), []
    if stored:
        try:
            return _start(model, options, *stored)
        except ConversionError as problem:
            remarks.append(f"{model.path.parent / cache.FOLDER}: {problem}; the network was converted again")
    trials, conversions = _try_all(model)
    remarks += _store(model, trials, conversions)
    try:
        engine = _start(model, options, trials, conversions.get(_choose(model, options, trials), {}))
    except ConversionError as problem:
        raise ModelError(f"{model.path}: {problem}, converted anew as well; use the engine torch") from problem
    return replace(engine, remarks=(*engine.remarks, *remarks))


def run_conversion(model: ModelHeader, name: str, conversion: Conversion, num_threads: int = 0) -> NetworkFunction:
    """Return a conversion for the engine `name`, ready to run; it has run once, on the probe image.

    Raises ConversionError when it cannot be run, or its output is not the one that the model file states; for a file
    without it torch computes it first, and ModelError is raised as by `model_file.load_network`.
    """
    expected = model.probe or _computed_probe(model)
    try:
        run = ENGINE_TYPES[name].start(conversion, num_threads)
        difference = expected.difference(run(probe_input(model.task.input)))
    except Exception as error:  # engines raise errors of any type for a file that they cannot read
        raise ConversionError(f"the conversion for {name} cannot be run ({_reason(error)})") from error
    tolerance = ENGINE_TYPES[name].probe_tolerance
    if difference > tolerance:
        raise ConversionError(
            f"the conversion for {name} does not give the output of this model (difference {difference:.3f}, at most "
            f"{tolerance:g})"
        )
    return run


def _computed_probe(model: ModelHeader) -> Probe:
    from sonoseg.models.model_file import torch_probe

    return torch_probe(model)


def _reason(error: Exception) -> str:
    """Return type and first line of an error of an engine."""
    return printable(f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}")


def engines_to_try(model: ModelHeader, options: EngineOptions) -> list[str]:
    """Return the engines that `load_engine` would try on a model, which takes seconds; empty when nothing is tried.

    Raises UsageError as `load_engine` does.
    """
    _check_options(options)
    return (
        []
        if _is_torch(options) or options.name == QUANTIZED or read_stored(model, options)
        else ["torch", *installed()]
    )


def read_stored(model: ModelHeader, options: EngineOptions) -> tuple[dict[str, Trial], Conversion] | None:
    """Return the trials of an earlier load and the conversion of the chosen engine; None unless both are intact."""
    trials = cache.read_trials(model)
    if not trials:
        return None
    name = _choose(model, options, trials)
    conversion = cache.read_files(model, name, trials[name]) if name in ENGINE_TYPES else {}
    return None if conversion is None else (trials, conversion)


def _is_torch(options: EngineOptions) -> bool:
    """Tell whether torch is used without a comparison of engines."""
    return options.name == "torch" or options.device != "cpu" or not installed()


def _check_options(options: EngineOptions) -> None:
    """Raise UsageError for an engine that is unknown, not installed or not available on the device."""
    if options.name not in ("auto", *ENGINE_NAMES):
        raise UsageError(f"engine {options.name}: no such engine; expected {choices(['auto', *ENGINE_NAMES])}")
    needed = "openvino" if options.name == QUANTIZED else options.name
    if needed in ENGINE_TYPES and options.device != "cpu":
        raise UsageError(f"engine {options.name}: it runs on the CPU only; use device cpu, or engine torch")
    if needed in ENGINE_TYPES and needed not in installed():
        install = ENGINE_TYPES[needed].install
        raise UsageError(f"engine {options.name}: it is not installed; run pip install {install}")


def _choose(model: ModelHeader, options: EngineOptions, trials: dict[str, Trial]) -> str:
    """Return the name of the engine. Raises ModelError when the named engine cannot run this model."""
    if options.name == "auto":
        allowed = [name for name in trials if name not in ENGINE_TYPES or not ENGINE_TYPES[name].explicit_only]
        return min(allowed, key=lambda name: np.inf if trials[name].problem else trials[name].milliseconds or 0)
    if trials[options.name].problem:
        raise ModelError(
            f"{model.path}: {options.name} cannot run it: {printable(trials[options.name].problem)}; use torch"
        )
    return options.name


def _start(model: ModelHeader, options: EngineOptions, trials: dict[str, Trial], conversion: Conversion) -> Engine:
    """Return the chosen engine, ready to run; `conversion` is empty for torch. Raises as `run_conversion` does."""
    name = _choose(model, options, trials)
    trial = trials[name]
    if name == "torch":
        problems = {name: printable(other.problem) for name, other in trials.items() if other.problem}
        remarks = tuple(f"{name} is not used: {problem}" for name, problem in problems.items())
        return replace(_start_torch(model, options), milliseconds=trial.milliseconds, remarks=remarks)
    run = run_conversion(model, name, conversion, options.num_threads)
    remarks = () if model.probe else (f"{model.path}: {NO_PROBE}",)
    digest = cache.digest_of_files(trial.files)
    return Engine(run, name, trial.version, digest, trial.agreement, trial.milliseconds, remarks)


def _start_torch(model: ModelHeader, options: EngineOptions) -> Engine:
    import torch

    from sonoseg.models.engines.torch_engine import torch_engine
    from sonoseg.models.model_file import load_network

    # torch has one setting for the whole process.
    if options.num_threads and options.device == "cpu":
        torch.set_num_threads(1)
    return torch_engine(load_network(model, options.device), model.task.network, options.device, model.sha256)


def _name_torch(model: ModelHeader) -> Engine:
    """Return the engine with which other processes run a model: what decides its results, without the network."""
    import torch

    def run(images: Maps) -> Maps:
        raise ModelError(f"{model.path}: it was not loaded in this process, but is sent to others; load it here")

    return Engine(run, "torch", torch.__version__, model.sha256)


def _try_all(model: ModelHeader) -> tuple[dict[str, Trial], dict[str, Conversion]]:
    """Convert, check and time every installed engine; return engine -> trial, torch first, and engine -> conversion."""
    from sonoseg.models.engines.torch_engine import network_function
    from sonoseg.models.engines.tracing import trace
    from sonoseg.models.model_file import load_network

    task = model.task
    network, images = load_network(model), sample_images(task.input)
    reference, milliseconds = timed_run(network_function(network, task.network), images)
    trials, conversions = {"torch": Trial(cache.version_of("torch"), milliseconds)}, {}
    traced = memoised(lambda: trace(network, task.network, task.input.size))
    converted = memoised(lambda convert: convert(traced(), task.input.size))
    for name, version in installed().items():
        try:
            conversion = converted(ENGINE_TYPES[name].convert)
            maps, milliseconds = timed_run(ENGINE_TYPES[name].start(conversion, 0), images)
        except Exception as error:  # engines raise errors of any type for a network that they do not support
            trials[name] = Trial(version, problem=f"it cannot convert this network ({_reason(error)})")
            continue
        share = pixel_agreement(maps, reference, task.postprocessing.threshold, ENGINE_TYPES[name].tolerance)
        if share < MIN_AGREEMENT:
            problem = f"it agrees with torch on {share:.2%} of the pixels only"
            trials[name] = Trial(version, milliseconds, share, problem)
            continue
        conversions[name] = conversion
        trials[name] = Trial(version, milliseconds, share, files=cache.digests(conversion))
    return trials, conversions


def _store(model: ModelHeader, trials: dict[str, Trial], conversions: dict[str, Conversion]) -> list[str]:
    """Store the trials beside the model; return a remark when the folder cannot be written."""
    try:
        cache.write_trials(model, trials, conversions)
    except OSError as error:
        folder = model.path.parent / cache.FOLDER
        return [f"{folder}: cannot be written ({error.strerror}); the model is converted again at every start"]
    return []
