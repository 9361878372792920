"""Integrity of the folders `engines/`: conversions, their records, and the models beside them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sonoseg.errors import ModelError
from sonoseg.io.reading import read_regular
from sonoseg.models.engines import cache
from sonoseg.models.engines.cache import Trial
from sonoseg.models.engines.choose import ConversionError, run_conversion
from sonoseg.models.engines.installed import ENGINE_TYPES
from sonoseg.models.engines.quantized import quantized_files, read_quantized, run_quantized
from sonoseg.models.model_header import MAX_BYTES, ModelHeader, read_header
from sonoseg.runs.verify import Finding

MODELS = "*.safetensors"


def engine_folders(path: Path) -> list[Path]:
    """Return the folders `engines` of a path: below it, beside a model; or the one that it is, or lies in."""
    whole = Path(os.path.abspath(path))
    for folder in (whole, whole.parent):
        if folder.name == cache.FOLDER and _has_models(folder.parent):
            return [folder]
    found = []
    for place, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if cache.FOLDER in (*folders, *files) and _has_models(Path(place)):
            found.append(Path(place, cache.FOLDER))
            folders[:] = [name for name in folders if name != cache.FOLDER]
    return found


def check_engines(folder: Path) -> list[Finding]:
    """Return a finding per file of a folder `engines`: against its record, and the network against its model."""
    if folder.is_symlink() or not folder.is_dir():
        return [Finding(folder, "extra", "not a folder; converted networks are not stored there; remove it")]
    findings: dict[Path, Finding] = {}
    for model in _models(folder.parent):
        record = folder / cache.record_path(model).name
        if os.path.lexists(record):
            findings |= {finding.path: finding for finding in _check_model(folder, model)}
        if os.path.lexists(quantized_files(model)[0]):
            findings |= {finding.path: finding for finding in _check_quantized(folder, model)}
    others = [path for path in sorted(folder.iterdir()) if path not in findings and not path.name.startswith(".")]
    note = "no record of a model beside this folder names it"
    return [*findings.values(), *(Finding(path, "extra", note) for path in others)]


def _has_models(folder: Path) -> bool:
    return any(folder.glob(MODELS))


def _models(folder: Path) -> Iterator[ModelHeader]:
    """Yield the models in a folder that can be read; others are findings of their own list."""
    for path in sorted(folder.glob(MODELS)):
        try:
            yield read_header(path)
        except ModelError:
            continue


def _check_model(folder: Path, model: ModelHeader) -> Iterator[Finding]:
    """Yield the findings of a model's record and of the files that it names."""
    record = folder / cache.record_path(model).name
    try:
        trials = cache.read_record(model)[1]
    except (OSError, ValueError) as error:
        yield Finding(record, "changed", f"not a record ({type(error).__name__}); it is made again at the next use")
        return
    yield Finding(record, "ok")
    current = cache.read_trials(model) or {}
    for name, trial in trials.items():
        paths = [folder / cache.file_path(model, name, trial.version, suffix).name for suffix in trial.files]
        findings = [_check_file(path, digest) for path, digest in zip(paths, trial.files.values(), strict=True)]
        if name in current and name in ENGINE_TYPES and {finding.status for finding in findings} == {"ok"}:
            problem = _output_problem(model, name, trial)
            findings = [Finding(path, "changed", problem) for path in paths] if problem else findings
        yield from findings


def _check_quantized(folder: Path, model: ModelHeader) -> list[Finding]:
    """Return the findings of a model's conversion to 8 bits."""
    paths = [folder / path.name for path in quantized_files(model)]
    try:
        run_quantized(model, read_quantized(model)[1], 0)
    except ModelError as error:
        return [Finding(path, "changed", str(error)) for path in paths if os.path.lexists(path)]
    return [Finding(path, "ok") for path in paths]


def _check_file(path: Path, digest: str) -> Finding:
    try:
        data = read_regular(path, MAX_BYTES)
    except FileNotFoundError:
        return Finding(path, "missing", "its record names it")
    except OSError as error:
        return Finding(path, "changed", f"it cannot be read ({error.strerror})")
    if cache.digests({"": data})[""] != digest:
        return Finding(path, "changed", "its SHA-256 is not the one in its record")
    return Finding(path, "ok")


def _output_problem(model: ModelHeader, name: str, trial: Trial) -> str:
    """Return why a conversion is not one of its model; empty when it gives the output that is expected."""
    conversion = cache.read_files(model, name, trial)
    try:
        run_conversion(model, name, conversion or {})
    except (ConversionError, ModelError) as error:
        return str(error)
    return ""


def is_in_engines(path: Path, folders: Sequence[Path]) -> bool:
    """Tell whether a path is one of these folders `engines`, or lies in one."""
    whole = Path(os.path.abspath(path))
    return any(whole == folder or folder in whole.parents for folder in map(Path, map(os.path.abspath, folders)))
