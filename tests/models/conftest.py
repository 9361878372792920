"""Shared by the tests of engines: a model file."""

from pathlib import Path

import pytest

from sonoseg.schema.task import Task
from tests.models.small_networks import saved, small


@pytest.fixture
def model(spine: Task, tmp_path: Path) -> Path:
    return saved(tmp_path / "model" / "m.safetensors", small(spine))
