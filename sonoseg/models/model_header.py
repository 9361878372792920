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

from sonoseg.errors import ModelError, SonoSegError, TaskError
from sonoseg.io.files import sha256_of
from sonoseg.runs.verify import Finding
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import parse_task

KEY = "sonoseg"
"""Entry of the safetensors metadata that contains the header."""

FORMAT = 1
"""Version of the header; files of any other one are refused."""


@dataclass(frozen=True)
class ModelHeader:
    """A model file without its weights.

    info: facts of the training, JSON values. sha256: of the whole file.
    """

    path: Path
    task: Task
    info: dict[str, Any]
    sha256: str


def header_text(task: Task, info: Mapping[str, Any]) -> str:
    """Return the header as JSON text; `info` consists of JSON values."""
    return json.dumps({"format": FORMAT, "task": task.model_dump(mode="json"), "info": dict(info)}, sort_keys=True)


def read_header(path: Path) -> ModelHeader:
    """Read a model file's header. Raises ModelError when it is missing, not safetensors, or not written by SonoSeg."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelError(f"{path}: no such model file; run stage 3 (training.py) first, or give the path of a model")
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[KEY])
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ModelError(
            f"{path}: not a SonoSeg model ({type(error).__name__}); expected a .safetensors file written by stage 3 "
            "(training.py)"
        ) from error
    if header.get("format") != FORMAT:
        raise ModelError(
            f"{path}: model format {header.get('format')!r}; this version of SonoSeg reads format {FORMAT}"
        )
    try:
        task = parse_task(header["task"], source=str(path))
    except (KeyError, TaskError) as error:
        raise ModelError(f"{path}: the task inside the model cannot be used: {error}") from error
    return ModelHeader(path, task, header.get("info", {}), sha256_of(path))


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
