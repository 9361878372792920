"""Which engine runs a model: the fastest that is installed and gives what torch gives, or the one asked for by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache as cached

import numpy as np

from sonoseg.errors import ModelError, UsageError, choices
from sonoseg.models.engines import NAMES, cache
from sonoseg.models.engines.base import Engine, Files, Run
from sonoseg.models.engines.cache import Trial
from sonoseg.models.engines.check import ENOUGH, agreement, sample_images, timed
from sonoseg.models.engines.kinds import KINDS, installed
from sonoseg.models.model_header import ModelHeader


@dataclass(frozen=True)
class Wish:
    """What is asked of an engine.

    name: `auto` or one of `NAMES`. device: `cpu` or `cuda`. callers: how many threads will call it at once, each of
    which gets one core; 0 is one thread that gets them all. say: told what takes long, before it begins.
    """

    name: str = "auto"
    device: str = "cpu"
    callers: int = 0
    say: Callable[[str], None] = lambda _: None


def engine_of(model: ModelHeader, wish: Wish) -> Engine:
    """Return a model's engine, ready to run.

    Where nothing is known of a model yet, every installed engine is tried and the outcome kept beside the model; after
    that torch is imported only where it is the choice. Raises UsageError for an engine that is unknown, not installed
    or not for the device, ModelError for one that was asked for and cannot run the model, and for a damaged model.
    """
    _check(wish)
    if wish.name == "torch" or wish.device != "cpu" or not installed():
        return _torch(model, wish)
    trials = cache.read_trials(model)
    if trials:
        name = _choice(trials, wish, model)
        files = cache.read_files(model, name, trials[name]) if name in KINDS else {}
        if files is not None:
            return _started(model, wish, trials, files)
    wish.say(f"{model.path}: first use here; {', '.join(['torch', *installed()])} are tried on it once")
    trials, conversions = _try_all(model)
    remarks = _keep(model, trials, conversions)
    engine = _started(model, wish, trials, conversions.get(_choice(trials, wish, model), {}))
    return replace(engine, remarks=(*engine.remarks, *remarks))


def _check(wish: Wish) -> None:
    if wish.name not in ("auto", *NAMES):
        raise UsageError(f"--engine {wish.name}: no such engine; expected {choices(['auto', *NAMES])}")
    if wish.name in KINDS and wish.device != "cpu":
        raise UsageError(f"--engine {wish.name}: it runs on the CPU here; use --device cpu, or --engine torch")
    if wish.name in KINDS and wish.name not in installed():
        raise UsageError(f"--engine {wish.name}: it is not installed; run pip install {KINDS[wish.name].install}")


def _choice(trials: dict[str, Trial], wish: Wish, model: ModelHeader) -> str:
    """Return the engine's name. Raises ModelError when the one asked for cannot run this model."""
    if wish.name == "auto":
        allowed = [name for name in trials if name not in KINDS or not KINDS[name].by_name_only]
        return min(allowed, key=lambda name: np.inf if trials[name].problem else trials[name].milliseconds or 0)
    if trials[wish.name].problem:
        raise ModelError(f"{model.path}: {wish.name} cannot run it: {trials[wish.name].problem}; use --engine torch")
    return wish.name


def _started(model: ModelHeader, wish: Wish, trials: dict[str, Trial], files: Files) -> Engine:
    name = _choice(trials, wish, model)
    trial = trials[name]
    if name == "torch":
        remarks = tuple(f"{name} is not used: {one.problem}" for name, one in trials.items() if one.problem)
        return replace(_torch(model, wish), milliseconds=trial.milliseconds, remarks=remarks)
    return Engine(KINDS[name].start(files, wish.callers), name, trial.version, trial.agreement, trial.milliseconds)


def _torch(model: ModelHeader, wish: Wish) -> Engine:
    import torch

    from sonoseg.models.engines.torch_engine import torch_engine
    from sonoseg.models.model_file import load_network

    if wish.callers and wish.device == "cpu":
        torch.set_num_threads(1)
    return torch_engine(load_network(model, wish.device), model.task, wish.device)


def _try_all(model: ModelHeader) -> tuple[dict[str, Trial], dict[str, Files]]:
    """Convert, check and time every installed engine; return engine -> trial, torch first, and engine -> conversion."""
    import torch

    from sonoseg.models.engines.torch_engine import runner
    from sonoseg.models.engines.tracing import trace
    from sonoseg.models.model_file import load_network

    network, images = load_network(model), sample_images(model.task)
    reference, milliseconds = timed(runner(network, model.task), images)
    trials, conversions = {"torch": Trial(torch.__version__, milliseconds)}, {}
    traced = cached(lambda: trace(network, model.task))
    converted = cached(lambda convert: convert(traced(), model.task.input.size))
    for name, version in installed().items():
        try:
            files = converted(KINDS[name].convert)
            run: Run = KINDS[name].start(files, 0)
            maps, milliseconds = timed(run, images)
        except Exception as error:  # a network that an engine does not know brings about any kind of error
            first = next(iter(str(error).strip().splitlines()), "")
            trials[name] = Trial(version, problem=f"it cannot convert this network ({type(error).__name__}: {first})")
            continue
        share = agreement(maps, reference, model.task, KINDS[name].tolerance)
        if share < ENOUGH:
            problem = f"it agrees with torch on {share:.2%} of the pixels only"
            trials[name] = Trial(version, milliseconds, share, problem)
            continue
        conversions[name] = files
        trials[name] = Trial(version, milliseconds, share, files=cache.digests(files))
    return trials, conversions


def _keep(model: ModelHeader, trials: dict[str, Trial], conversions: dict[str, Files]) -> list[str]:
    try:
        cache.write(model, trials, conversions)
    except OSError as error:
        folder = model.path.parent / cache.FOLDER
        return [f"{folder}: cannot be written ({error.strerror}); every start converts the model again"]
    return []
