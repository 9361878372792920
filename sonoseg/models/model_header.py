"""The header of a model file: the task it was trained for and the facts of its training, without its weights.

A model is one safetensors file: the weights, and all else as JSON in the file's metadata. No pickle is loaded, and any
other kind of file is refused. Reading the header needs no torch.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from sonoseg.errors import ModelError, SonoSegError, TaskError, printable
from sonoseg.io.reading import parse_json, read_regular
from sonoseg.models.probe import Probe
from sonoseg.quality.model import QualityModel
from sonoseg.runs.verify import Finding
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import parse_task

KEY = "sonoseg"
"""Entry of the safetensors metadata that contains the header."""

FORMAT = 1
"""Version of the header; files of any other one are refused."""

MAX_REASON = 200
"""Longest reason in a message, in letters: parts of it come from the file."""

MAX_BYTES = 2**31
"""Largest model file, and largest file of a conversion, that is read: far above any network of this kind."""


class _Facts(BaseModel):
    """The facts of a training that are used; others are shown as they are. Files of other origin have none."""

    model_config = ConfigDict(strict=True, extra="allow")

    versions: dict[str, str] = {}
    data: dict[str, str] = {}
    images: dict[str, int] = {}
    fold: int | None = 0  # null: a refit on all folds
    seed: int = 0
    best_epoch: int = 0
    epochs: int = 0
    planned_epochs: int = 0
    deterministic: bool = False
    validation_dice: float | None = 0
    validation_without: list[str] = []
    use: str = ""


@dataclass(frozen=True)
class ModelHeader:
    """A model file without its weights.

    info: facts of the training, JSON values. sha256: of the whole file. probe: the expected output of the network;
    quality: what is known about its accuracy; None in files of versions that did not store them, and in those of
    trainings with too few images for a quality model.
    """

    path: Path
    task: Task
    info: dict[str, Any]
    sha256: str
    probe: Probe | None = None
    quality: QualityModel | None = None


def header_text(
    task: Task, info: Mapping[str, Any], probe: Probe | None = None, quality: QualityModel | None = None
) -> str:
    """Return the header as JSON text; `info` consists of JSON values."""
    header = {"format": FORMAT, "task": task.model_dump(mode="json"), "info": dict(info)}
    header |= {"probe": probe.to_json()} if probe else {}
    header |= {"quality": quality.model_dump(mode="json")} if quality else {}
    return json.dumps(header, sort_keys=True)


def read_header(path: Path) -> ModelHeader:
    """Read a model file's header, and check that its weights are whole, of 32 or 16 bits and finite.

    The file is read once, so that all of it has the digest. Raises ModelError when it is missing, not safetensors, not
    written by SonoSeg, or its weights or facts are not usable.
    """
    if not path.is_file():
        raise ModelError(no_such_model(path))
    data, header = _read(path)
    if header.get("format") != FORMAT:
        raise ModelError(
            f"{path}: model format {header.get('format')!r}; this version of SonoSeg reads format {FORMAT}"
        )
    try:
        task = parse_task(header["task"], source=str(path))
    except (KeyError, TaskError) as error:
        raise ModelError(f"{path}: the task inside the model cannot be used: {error}") from error
    info = header.get("info", {})
    try:
        _Facts.model_validate(info)
        probe = Probe.from_json(header.get("probe"), len(task.structures), task.input)
    except ValueError as error:
        raise _edited(path, error, "info") from error
    try:
        quality = read_quality(header.get("quality"), task)
    except ValueError as error:
        raise _edited(path, error, "quality") from error
    return ModelHeader(path, task, info, hashlib.sha256(data).hexdigest(), probe, quality)


def read_quality(value: Any, task: Task) -> QualityModel | None:
    """Return the quality model of JSON values; None for None. Raises ValueError when it does not fit the task."""
    if value is None:
        return None
    quality = QualityModel.model_validate(value)
    unknown = sorted(quality.structures.keys() - set(task.class_names))
    if unknown:
        raise ValueError(f"structures: {', '.join(unknown)} is no class of the task")
    return quality


def _edited(path: Path, error: ValueError, section: str) -> ModelError:
    return ModelError(f"{path}: its header was edited: {first_problem(error, section)}; restore it from a copy")


def no_such_model(path: Path) -> str:
    """Return the message on a model file that is missing."""
    return f"{printable(str(path))}: no such model file; run stage 3 (training.py) first, or give the path of a model"


def _read(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of a model file and the header in it. Raises ModelError."""
    from safetensors import SafetensorError, deserialize

    try:
        data = read_regular(path, MAX_BYTES, follow_link=True)
        weights = deserialize(data)  # checks that header and weights fill the file
        length = int.from_bytes(data[:8], "little")
        header = parse_json(parse_json(data[8 : 8 + length])["__metadata__"][KEY])
        if not isinstance(header, dict):
            raise ValueError(f"its header is {type(header).__name__}")
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        reason = type(error).__name__ + (f": {error}" if isinstance(error, ValueError) else "")
        raise ModelError(
            f"{path}: not a SonoSeg model ({printable(reason)}); expected a .safetensors file written by stage 3 "
            "(training.py)"
        ) from error
    for name, entry in weights:
        problem = _values_problem(entry["dtype"], entry["data"])
        if problem:
            raise ModelError(
                f"{path}: its weights {printable(name)} {problem}; restore the file from a copy, or train again"
            )
    return data, header


def _values_problem(dtype: str, data: bytes) -> str:
    """Return what makes the values of a tensor unusable; empty when they are usable. Integers are counts of batches."""
    if dtype in ("F32", "F16"):
        values = np.frombuffer(data, "<f4" if dtype == "F32" else "<f2")
        return "" if np.isfinite(values).all() else "have values that are not finite"
    return "" if dtype.startswith(("I", "U")) else f"are of type {dtype}, expected F32 or F16"


def first_problem(error: Exception, where: str = "") -> str:
    """Return field and reason of the first fault of values that a file contains, in one line of limited length.

    where: the section that was validated, if it is a part of the file.
    """
    if not isinstance(error, ValidationError):
        text = str(error) if isinstance(error, ValueError) else type(error).__name__
        return printable(" ".join(text.split()))[:MAX_REASON]
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join([*([where] if where else []), *(str(part)[:50] for part in first["loc"])]) or "the file"
    return printable(f"{field}: {first['msg'][:1].lower()}{first['msg'][1:]}")[:MAX_REASON]


def digest_of(digests: Sequence[str]) -> str:
    """Return the 64 hexadecimal digits that identify a model or an ensemble, from the SHA-256 of each model file.

    One model: its own digest. Several: the SHA-256 of their digests written one after the other, in order.
    """
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def check_unlisted(finding: Finding) -> Finding:
    """Return the finding; for a model that is in no integrity list, after a check of its header and its size."""
    if finding.status != "unlisted" or finding.path.suffix != ".safetensors":
        return finding
    try:
        task = read_header(finding.path).task.name
    except SonoSegError as error:
        return Finding(finding.path, "changed", str(error).removeprefix(f"{finding.path}: "))
    note = f"{finding.note}, its header (task {task}) and its size are valid, its weights cannot be checked"
    return Finding(finding.path, "unlisted", note)
