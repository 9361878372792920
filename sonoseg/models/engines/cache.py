"""Conversions of a network and their trials, stored beside the model, so that a later start needs no torch.

`engines/<sha256 of the model>.json` is the record; `engines/<sha256>-<engine>-<version><suffix>` are the conversions.
The record is written last and contains the SHA-256 of every file. Files that are incomplete or changed, or
that belong to another model or to other versions, are not used.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sonoseg import __version__
from sonoseg.io.files import write_bytes, write_json
from sonoseg.models.engines.base import Conversion
from sonoseg.models.engines.installed import installed, version_of
from sonoseg.models.model_header import ModelHeader

FOLDER = "engines"
ENGINE_FORMAT = 2
"""To be raised with every change of networks, tracing or check that changes a conversion, so that all are repeated."""


@dataclass(frozen=True)
class Trial:
    """The outcome of converting, checking and timing one engine for one model.

    problem: why the engine cannot be used; empty when it can.
    files: suffix -> SHA-256 of the conversion's files; none for torch.
    """

    version: str
    milliseconds: float | None = None
    agreement: float | None = None
    problem: str = ""
    files: dict[str, str] = field(default_factory=dict)


def read_trials(model: ModelHeader) -> dict[str, Trial] | None:
    """Return the trials of a model by engine; None without a record of these versions and this machine."""
    try:
        record = json.loads(_record(model).read_text(encoding="utf-8"))
        if {name: record[name] for name in _key(model)} != _key(model):
            return None
        trials = {name: Trial(**record["trials"][name]) for name in ("torch", *installed())}
        return trials if all(isinstance(trial.files, dict) for trial in trials.values()) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def read_files(model: ModelHeader, name: str, trial: Trial) -> Conversion | None:
    """Return a conversion, or None when a file of it is missing or has been changed."""
    files = {}
    for suffix, digest in trial.files.items():
        try:
            files[suffix] = _file(model, name, trial.version, suffix).read_bytes()
        except OSError:
            return None
        if hashlib.sha256(files[suffix]).hexdigest() != digest:
            return None
    return files or None


def write_trials(model: ModelHeader, trials: Mapping[str, Trial], conversions: Mapping[str, Conversion]) -> None:
    """Write the conversions and then the record; remove those of earlier models of this path. Raises OSError."""
    _record(model).unlink(missing_ok=True)
    _remove_replaced(model)
    for name, files in conversions.items():
        for suffix, data in files.items():
            write_bytes(_file(model, name, trials[name].version, suffix), data)
    record = {
        **_key(model),
        "model": model.path.name,
        "trials": {name: asdict(trial) for name, trial in trials.items()},
    }
    write_json(_record(model), record)


def digests(files: Conversion) -> dict[str, str]:
    """Return suffix -> SHA-256 of the files of a conversion."""
    return {suffix: hashlib.sha256(data).hexdigest() for suffix, data in files.items()}


def _folder(model: ModelHeader) -> Path:
    return model.path.parent / FOLDER


def _record(model: ModelHeader) -> Path:
    return _folder(model) / f"{model.sha256}.json"


def _file(model: ModelHeader, name: str, version: str, suffix: str) -> Path:
    return _folder(model) / f"{model.sha256}-{name}-{version}{suffix}"


def _key(model: ModelHeader) -> dict[str, Any]:
    """Return the entries of a record that have to be equal: format, model, versions and machine architecture."""
    return {
        "format": ENGINE_FORMAT,
        "model_sha256": model.sha256,
        "versions": {"sonoseg": __version__, "torch": version_of("torch"), **installed()},
        "machine": platform.machine(),
    }


def _remove_replaced(model: ModelHeader) -> None:
    """Remove records and conversions of earlier models of the same file name."""
    for record in _folder(model).glob("*.json"):
        with suppress(OSError, ValueError, AttributeError):
            if json.loads(record.read_text(encoding="utf-8")).get("model") == model.path.name:
                for file in _folder(model).glob(f"{record.stem}*"):
                    file.unlink()
