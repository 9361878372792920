"""Members made of plain functions, which stand for trained networks."""

from collections.abc import Callable

import pytest
from torch import Tensor

from sonoseg.inference.segmenter import Segmenter
from sonoseg.models.engines.torch_engine import torch_engine
from sonoseg.models.members import Member
from sonoseg.schema.task import Task


def member(network: Callable[[Tensor], Tensor], task: Task, *of_file: object) -> Member:
    """Return a member that runs `network` in torch; `of_file` are the file and the digest it should name."""
    return Member(torch_engine(network, task.network), task, *of_file)


def always_load(monkeypatch: pytest.MonkeyPatch, *members: Member) -> None:
    """Make every model file be these members."""
    monkeypatch.setattr("sonoseg.inference.segmenter.read_models", lambda _: [])
    monkeypatch.setattr(Segmenter, "from_models", classmethod(lambda cls, *_, **options: cls(members, **options)))
