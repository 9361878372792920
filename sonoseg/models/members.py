"""Members of an ensemble: their model files, their engines, and the check that they have the same classes."""

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from sonoseg.errors import ModelError, UsageError
from sonoseg.geometry import SHAPE_KINDS
from sonoseg.models.engines.base import Engine
from sonoseg.models.engines.choose import EngineOptions, load_engine
from sonoseg.models.model_header import ModelHeader, no_such_model
from sonoseg.models.predictor import Flip, Predictor, trained_flips
from sonoseg.quality.model import QualityModel
from sonoseg.runs.workspace import BEST_MODEL
from sonoseg.schema.annotations import Structure
from sonoseg.schema.images import Enhancement
from sonoseg.schema.task import Task


@dataclass(frozen=True)
class Member:
    """A network that is ready to run, with the task that it was trained for.

    file, sha256, info: path, digest and facts of the training of its model file; empty for a network of no file.
    quality: the model's, if its file has one.
    flips: see `Predictor`.
    """

    engine: Engine
    task: Task
    file: str = ""
    sha256: str = ""
    info: dict[str, Any] = field(default_factory=dict)
    quality: QualityModel | None = None
    flips: tuple[Flip, ...] = ()

    @property
    def predictor(self) -> Predictor:
        return Predictor(self.engine.run, self.task.enhancement, self.task.input, self.flips)

    @property
    def description(self) -> str:
        """Return the name of this member in messages: its file, or its task."""
        return self.file or f"a network of task {self.task.name}"

    def with_flips(self) -> "Member":
        """Return the member with the flips of its training. Raises UsageError when there were none."""
        flips = trained_flips(self.task.augmentation)
        if not flips:
            raise UsageError(
                f"{self.description}: trained without flips, and expected augmented copies with flips for test-time "
                "augmentation; leave test-time augmentation out, or train with flips"
            )
        return replace(self, flips=flips)

    def with_raw_masks(self) -> "Member":
        """Return the member with the network's masks, see `Task.with_raw_masks`."""
        return replace(self, task=self.task.with_raw_masks())


def model_files(paths: Sequence[Path]) -> list[Path]:
    """Return the model files of `paths`, in that order; at least one.

    A folder stands for the `best_model.safetensors` in it, or, when it has none of its own, for all those in its direct
    sub-folders, `fold_2` before `fold_10`. Raises ModelError for no path, a missing file, a folder without a model, and
    a file that is given twice.
    """
    if not paths:
        raise ModelError("no model is given; expected a model file, several, or a folder of them")
    files: list[Path] = []
    for path in paths:
        files += _in_folder(path) if path.is_dir() else [path]
    seen: dict[Path, Path] = {}
    for file in files:
        if not file.is_file():  # before its links are followed, which fails for those that form a loop
            raise ModelError(no_such_model(file))
        first = seen.setdefault(file.resolve(), file)
        if first is not file:
            also = "" if first == file else f", also as {first}"
            raise ModelError(f"{file}: this model is given twice{also}, and would have twice the weight; give it once")
    return files


def load_member(model: ModelHeader, options: EngineOptions) -> Member:
    """Return a model ready to run. Raises ModelError for damaged weights, and as `load_engine` does."""
    with ThreadPoolExecutor(1) as pool:
        # At the same time, because an engine loads outside of Python.
        compiled = pool.submit(_load_compiled, model.task.enhancement, model.task.structures)
        engine = load_engine(model, options)
        compiled.result()
    return Member(engine, model.task, str(model.path), model.sha256, model.info, model.quality)


def _load_compiled(enhancement: Enhancement, structures: Sequence[Structure]) -> None:
    """Load the compiled functions that the task uses, so that its first image does not wait for them."""
    if enhancement.denoise:
        import_module("sonoseg.preprocess.denoise")
    for structure in structures:
        SHAPE_KINDS[structure.shape].load()


def check_same_classes(tasks: Sequence[tuple[str, Task]]) -> None:
    """Raise ModelError unless all, at least one, have the same classes, in the same order and of the same shapes.

    Only then are channels of the same index the same class. Networks, sizes, enhancement and rules may differ.
    tasks: of each member, with the name that the message gives it.
    """
    if not tasks:
        raise ModelError("no member is given; expected at least one")
    (first, task), *others = tasks
    expected = _classes(task.structures)
    for other, task in others:
        classes = _classes(task.structures)
        if classes != expected:
            raise ModelError(
                f"{first} and {other} cannot be averaged: the first has the classes "
                f"{', '.join(expected)}, the second {', '.join(classes)}; expected the same names and shapes in the "
                "same order"
            )


def _in_folder(folder: Path) -> list[Path]:
    if (folder / BEST_MODEL).is_file():
        return [folder / BEST_MODEL]
    files = sorted((path for path in folder.glob(f"*/{BEST_MODEL}") if path.is_file()), key=_natural)
    if not files:
        raise ModelError(
            f"{folder}: no {BEST_MODEL} in this folder or in its sub-folders; run stage 3 (training.py) first, or give "
            "the files"
        )
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return the sort key of a model in a sub-folder: numbers in its name by value, `fold_2` before `fold_10`."""
    parts = re.split(r"(\d+)", path.parent.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _classes(structures: Sequence[Structure]) -> list[str]:
    return [f"{structure.name} ({structure.shape})" for structure in structures]
