"""Model files as nobody should write them: weights that were never checked, for tests of reading."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from sonoseg.models.model_header import KEY, ModelHeader, header_text
from sonoseg.models.probe import Probe
from sonoseg.schema.task import Task


def save_unchecked(
    path: Path, state: Mapping[str, Tensor], task: Task, info: Mapping[str, Any], probe: Probe | None = None
) -> Path:
    """Write weights with a header, whether or not they fit it; without a `probe` as version 0.2.0 did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), path, metadata={KEY: header_text(task, info, probe)})
    return path


def save_as_before(path: Path, header: ModelHeader, state: Mapping[str, Tensor]) -> Path:
    """Write a model again as version 0.2.0 would have: without the expected output."""
    return save_unchecked(path, state, header.task, header.info)
