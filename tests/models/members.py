"""Members made of plain functions, which stand for trained networks."""

from collections.abc import Callable

import pytest
from torch import Tensor

from sonoseg.inference.process_image import process_image
from sonoseg.inference.segmenter import Segmenter
from sonoseg.models.engines.torch_engine import torch_engine
from sonoseg.models.members import Member
from sonoseg.schema.task import Task


def member(network: Callable[[Tensor], Tensor], task: Task, *of_file: object) -> Member:
    """Return a member that runs `network` in torch; `of_file` are the file and the digest it should name."""
    return Member(torch_engine(network, task.network), task, *of_file)


def note_reused(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Return a list to which stage 4 appends, for each image, whether the results of an earlier run were reused."""
    reused: list[bool] = []

    def noted(*arguments: object) -> dict:
        row = process_image(*arguments)  # type: ignore[arg-type]
        reused.append(row["reused"])
        return row

    monkeypatch.setattr("sonoseg.inference.batch.process_image", noted)
    return reused


def always_load(monkeypatch: pytest.MonkeyPatch, *members: Member) -> None:
    """Make every model file be these members."""
    monkeypatch.setattr("sonoseg.inference.segmenter.read_models", lambda _: [])
    monkeypatch.setattr(Segmenter, "from_models", classmethod(lambda cls, *_, **options: cls(members, **options)))
