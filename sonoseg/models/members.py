"""The trained models that answer together: found in files and folders, read, and checked to mean the same classes."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sonoseg.errors import ModelError
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.models.engines.base import Engine
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.model_header import ModelHeader
from sonoseg.models.predictor import Predictor
from sonoseg.runs.workspace import BEST_MODEL
from sonoseg.schema.task import Task


@dataclass(frozen=True)
class Member:
    """A network that runs, with the task it was trained for; the rest is of its model file, if it has one."""

    engine: Engine
    task: Task
    file: str = ""
    sha256: str = ""
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def predictor(self) -> Predictor:
        return Predictor(self.engine.run, self.task.enhancement, self.task.input)

    @property
    def called(self) -> str:
        """Return what a message calls this member."""
        return self.file or f"a network of task {self.task.name}"


def model_files(paths: Sequence[Path]) -> list[Path]:
    """Return the model files that `paths` stand for, in that order; at least one.

    A folder stands for the `best_model.safetensors` in it, or, when it has none of its own, for all those in its direct
    sub-folders, `fold_2` before `fold_10`. Raises ModelError for no path, a folder without a model, and a file that
    comes twice.
    """
    if not paths:
        raise ModelError("no model is named; expected a model file, several, or a folder of them")
    files: list[Path] = []
    for path in paths:
        files += _in_folder(path) if path.is_dir() else [path]
    seen: dict[Path, Path] = {}
    for file in files:
        first = seen.setdefault(file.resolve(), file)
        if first is not file:
            also = "" if first == file else f", also as {first}"
            raise ModelError(f"{file}: this model is named twice{also}, and would count double; name it once")
    return files


def load_member(model: ModelHeader, options: EngineOptions) -> Member:
    """Return a model ready to run. Raises ModelError for damaged weights, and as `load_engine` does."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_load_compiled, model.task)  # while the engine is being made ready, outside of Python
        engine = load_engine(model, options)
    return Member(engine, model.task, str(model.path), model.sha256, model.info)


def _load_compiled(task: Task) -> None:
    """Import what the first image would wait for: numba and what it has compiled, if the task needs it."""
    if task.enhancement.denoise:
        pass
    for structure in task.structures:
        SHAPE_KINDS[structure.shape].load()


def check_same_classes(members: Sequence[Member]) -> None:
    """Raise ModelError unless all have the same classes, in the same order and of the same shapes.

    An average of probabilities means nothing else. Networks, sizes, enhancement and all rules may differ.
    """
    first = members[0]
    for other in members[1:]:
        ours, theirs = _classes(first.task), _classes(other.task)
        if ours != theirs:
            raise ModelError(
                f"{first.called} and {other.called} cannot be averaged: the first has the classes {', '.join(ours)}, "
                f"the second {', '.join(theirs)}; expected the same names and shapes in the same order"
            )


def _in_folder(folder: Path) -> list[Path]:
    if (folder / BEST_MODEL).is_file():
        return [folder / BEST_MODEL]
    files = sorted((path for path in folder.glob(f"*/{BEST_MODEL}") if path.is_file()), key=_natural)
    if not files:
        raise ModelError(
            f"{folder}: no {BEST_MODEL} in this folder or in its sub-folders; run training.py first, or name the files"
        )
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sort numbers in names by their value, whatever their number of digits."""
    parts = re.split(r"(\d+)", path.parent.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _classes(task: Task) -> list[str]:
    return [f"{structure.name} ({structure.shape})" for structure in task.structures]
