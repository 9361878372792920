"""Conversions of a network and their trials, stored beside the model, so that a later start needs no torch.

`engines/<sha256 of the model>.json` is the record; `engines/<sha256>-<engine>-<version><suffix>` are the conversions.
The record is written last and contains the SHA-256 of every file. Files that are incomplete or changed, or
that belong to another model or to other versions, are not used.
"""

import errno
import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from sonoseg import __version__
from sonoseg.io.files import write_bytes, write_json
from sonoseg.io.reading import parse_json, read_regular
from sonoseg.models.engines.base import Conversion
from sonoseg.models.engines.installed import installed, version_of
from sonoseg.models.model_header import MAX_BYTES, ModelHeader

FOLDER = "engines"
ENGINE_FORMAT = 3
"""To be raised with every change of networks, tracing or check that changes a conversion, so that all are repeated."""

MAX_RECORD_BYTES = 1_000_000
"""Largest record that is read; one has a few kB."""

RECORD_NAME = re.compile(r"([0-9a-f]{64})\.json")
"""Name of a record: the SHA-256 of its model."""

_Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Suffix = Annotated[str, Field(pattern=r"^\.[a-z]+$")]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Trial:
    """The outcome of converting, checking and timing one engine for one model.

    problem: why the engine cannot be used; empty when it can.
    files: suffix -> SHA-256 of the conversion's files; none for torch.
    """

    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.+-]+$")]
    milliseconds: _Number | None = None
    agreement: _Number | None = None
    problem: str = ""
    files: dict[_Suffix, _Digest] = field(default_factory=dict)


_TRIALS = TypeAdapter(dict[Annotated[str, Field(pattern=r"^[a-z0-9_]+$")], Trial])


def read_trials(model: ModelHeader) -> dict[str, Trial] | None:
    """Return the trials of a model by engine; None without a record of these versions and this machine."""
    try:
        record, trials = read_record(model)
    except (OSError, ValueError):
        return None
    versions = {"torch": version_of("torch"), **installed()}
    current = {name: record.get(name) for name in _key(model)} == _key(model)
    if not current or any(name not in trials or trials[name].version != versions[name] for name in versions):
        return None
    return {name: trials[name] for name in versions}


def read_record(model: ModelHeader) -> tuple[dict[str, Any], dict[str, Trial]]:
    """Return the record of a model, of any version, and the trials in it. Raises OSError, and ValueError for others."""
    record = parse_json(read_regular(record_path(model), MAX_RECORD_BYTES))
    if not isinstance(record, dict):
        raise ValueError(f"found {type(record).__name__}; expected an object")
    return record, _TRIALS.validate_python(record.get("trials"))


def read_files(model: ModelHeader, name: str, trial: Trial) -> Conversion | None:
    """Return a conversion, or None when a file of it is missing or has been changed."""
    files = {}
    for suffix, digest in trial.files.items():
        try:
            files[suffix] = read_regular(file_path(model, name, trial.version, suffix), MAX_BYTES)
        except OSError:
            return None
        if hashlib.sha256(files[suffix]).hexdigest() != digest:
            return None
    return files or None


def write_trials(model: ModelHeader, trials: Mapping[str, Trial], conversions: Mapping[str, Conversion]) -> None:
    """Write the conversions and then the record; remove those of earlier models of this path.

    Raises OSError, also where the folder is a link: what it leads to is left alone.
    """
    if _folder(model).is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(_folder(model)))
    record_path(model).unlink(missing_ok=True)
    _remove_replaced(model)
    for name, files in conversions.items():
        for suffix, data in files.items():
            write_bytes(file_path(model, name, trials[name].version, suffix), data)
    record = {
        **_key(model),
        "model": model.path.name,
        "trials": {name: asdict(trial) for name, trial in trials.items()},
    }
    write_json(record_path(model), record)


def digests(files: Conversion) -> dict[str, str]:
    """Return suffix -> SHA-256 of the files of a conversion."""
    return {suffix: hashlib.sha256(data).hexdigest() for suffix, data in files.items()}


def digest_of_files(files: Mapping[str, str]) -> str:
    """Return the 64 hexadecimal digits that identify a conversion, from suffix -> SHA-256 of its files."""
    return hashlib.sha256(json.dumps(dict(files), sort_keys=True).encode()).hexdigest()


def record_path(model: ModelHeader) -> Path:
    """Return the path of a model's record."""
    return _folder(model) / f"{model.sha256}.json"


def file_path(model: ModelHeader, name: str, version: str, suffix: str) -> Path:
    """Return the path of a file of a conversion."""
    return _folder(model) / f"{model.sha256}-{name}-{version}{suffix}"


def _folder(model: ModelHeader) -> Path:
    return model.path.parent / FOLDER


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
        match = RECORD_NAME.fullmatch(record.name)
        with suppress(OSError, ValueError, AttributeError):
            if match and parse_json(read_regular(record, MAX_RECORD_BYTES)).get("model") == model.path.name:
                for file in _folder(model).glob(f"{match[1]}*"):
                    file.unlink()
