"""The engine that runs a model: the fastest installed one that agrees with torch, or the one that is named."""

from dataclasses import dataclass, replace
from functools import cache as cached

import numpy as np

from sonoseg.errors import ModelError, UsageError, choices
from sonoseg.models.engines import NAMES, cache
from sonoseg.models.engines.base import Engine, Files, Run
from sonoseg.models.engines.cache import Trial
from sonoseg.models.engines.check import ENOUGH, agreement, sample_images, timed
from sonoseg.models.engines.installed import ENGINE_TYPES, installed
from sonoseg.models.model_header import ModelHeader


@dataclass(frozen=True)
class EngineOptions:
    """How a network is to be run.

    name: `auto` or one of `NAMES`. device: `cpu` or `cuda`. num_threads: threads that call the engine at once, each
    with one core; 0: one thread with all cores.
    """

    name: str = "auto"
    device: str = "cpu"
    num_threads: int = 0


def load_engine(model: ModelHeader, options: EngineOptions) -> Engine:
    """Return a model's engine, ready to run.

    At a model's first use every installed engine is tried, and the trials are stored beside the model; after that torch
    is imported only when it is the fastest. Raises UsageError for an engine that is unknown, not installed or not
    available on the device, ModelError for a named engine that cannot run the model, and for a damaged model.
    """
    _check(options)
    if _is_torch(options):
        return _torch(model, options)
    stored = _stored(model, options)
    if stored:
        return _started(model, options, *stored)
    trials, conversions = _try_all(model)
    remarks = _store(model, trials, conversions)
    engine = _started(model, options, trials, conversions.get(_choice(trials, options, model), {}))
    return replace(engine, remarks=(*engine.remarks, *remarks))


def engines_to_try(model: ModelHeader, options: EngineOptions) -> list[str]:
    """Return the engines that `load_engine` would try on a model before it returns, which takes seconds; often none.

    Raises UsageError as `load_engine` does.
    """
    _check(options)
    return [] if _is_torch(options) or _stored(model, options) else ["torch", *installed()]


def _stored(model: ModelHeader, options: EngineOptions) -> tuple[dict[str, Trial], Files] | None:
    """Return the trials of an earlier load and the conversion of the chosen engine; None unless both are intact."""
    trials = cache.read_trials(model)
    if not trials:
        return None
    name = _choice(trials, options, model)
    files = cache.read_files(model, name, trials[name]) if name in ENGINE_TYPES else {}
    return None if files is None else (trials, files)


def _is_torch(options: EngineOptions) -> bool:
    return options.name == "torch" or options.device != "cpu" or not installed()


def _check(options: EngineOptions) -> None:
    if options.name not in ("auto", *NAMES):
        raise UsageError(f"engine {options.name}: no such engine; expected {choices(['auto', *NAMES])}")
    if options.name in ENGINE_TYPES and options.device != "cpu":
        raise UsageError(f"engine {options.name}: it runs on the CPU only; use device cpu, or engine torch")
    if options.name in ENGINE_TYPES and options.name not in installed():
        install = ENGINE_TYPES[options.name].install
        raise UsageError(f"engine {options.name}: it is not installed; run pip install {install}")


def _choice(trials: dict[str, Trial], options: EngineOptions, model: ModelHeader) -> str:
    """Return the engine's name. Raises ModelError when the named engine cannot run this model."""
    if options.name == "auto":
        allowed = [name for name in trials if name not in ENGINE_TYPES or not ENGINE_TYPES[name].explicit_only]
        return min(allowed, key=lambda name: np.inf if trials[name].problem else trials[name].milliseconds or 0)
    if trials[options.name].problem:
        raise ModelError(f"{model.path}: {options.name} cannot run it: {trials[options.name].problem}; use torch")
    return options.name


def _started(model: ModelHeader, options: EngineOptions, trials: dict[str, Trial], files: Files) -> Engine:
    name = _choice(trials, options, model)
    trial = trials[name]
    if name == "torch":
        remarks = tuple(f"{name} is not used: {other.problem}" for name, other in trials.items() if other.problem)
        return replace(_torch(model, options), milliseconds=trial.milliseconds, remarks=remarks)
    return Engine(
        ENGINE_TYPES[name].start(files, options.num_threads), name, trial.version, trial.agreement, trial.milliseconds
    )


def _torch(model: ModelHeader, options: EngineOptions) -> Engine:
    import torch

    from sonoseg.models.engines.torch_engine import torch_engine
    from sonoseg.models.model_file import load_network

    if options.num_threads and options.device == "cpu":
        torch.set_num_threads(1)
    return torch_engine(load_network(model, options.device), model.task, options.device)


def _try_all(model: ModelHeader) -> tuple[dict[str, Trial], dict[str, Files]]:
    """Convert, check and time every installed engine; return engine -> trial, torch first, and engine -> conversion."""
    import torch

    from sonoseg.models.engines.torch_engine import runner
    from sonoseg.models.engines.tracing import trace
    from sonoseg.models.model_file import load_network

    network, images = load_network(model), sample_images(model.task)
    reference, milliseconds = timed(runner(network, model.task.network), images)
    trials, conversions = {"torch": Trial(torch.__version__, milliseconds)}, {}
    traced = cached(lambda: trace(network, model.task))
    converted = cached(lambda convert: convert(traced(), model.task.input.size))
    for name, version in installed().items():
        try:
            files = converted(ENGINE_TYPES[name].convert)
            run: Run = ENGINE_TYPES[name].start(files, 0)
            maps, milliseconds = timed(run, images)
        except Exception as error:  # a network that an engine does not know brings about any kind of error
            first = next(iter(str(error).strip().splitlines()), "")
            trials[name] = Trial(version, problem=f"it cannot convert this network ({type(error).__name__}: {first})")
            continue
        share = agreement(maps, reference, model.task, ENGINE_TYPES[name].tolerance)
        if share < ENOUGH:
            problem = f"it agrees with torch on {share:.2%} of the pixels only"
            trials[name] = Trial(version, milliseconds, share, problem)
            continue
        conversions[name] = files
        trials[name] = Trial(version, milliseconds, share, files=cache.digests(files))
    return trials, conversions


def _store(model: ModelHeader, trials: dict[str, Trial], conversions: dict[str, Files]) -> list[str]:
    try:
        cache.write(model, trials, conversions)
    except OSError as error:
        folder = model.path.parent / cache.FOLDER
        return [f"{folder}: cannot be written ({error.strerror}); every start converts the model again"]
    return []
