"""Models that come with SonoSeg: their files in `sonoseg/weights`, and the registry that describes them."""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sonoseg.errors import ModelError
from sonoseg.io.reading import parse_json
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_task

FOLDER = Path(__file__).resolve().parents[1] / "weights"
REGISTRY = FOLDER / "registry.json"

_OF_RESULTS = ("structures", "enhancement", "input", "network", "postprocessing", "measurements", "review")
"""Sections of a task that its results follow from."""


class Score(BaseModel):
    """A score with its 95 % interval; `unit` is empty for a share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    value: float
    interval_95: tuple[float, float] | None = None
    unit: str = ""

    @property
    def text(self) -> str:
        """Return the score as people read it: `Dice 0.978 (0.976 to 0.981)`."""
        digits = 2 if self.unit else 3
        ends = f" ({self.interval_95[0]:.{digits}f} to {self.interval_95[1]:.{digits}f})" if self.interval_95 else ""
        return f"{self.name} {self.value:.{digits}f}{ends}{f' {self.unit}' if self.unit else ''}"


class ModelEntry(BaseModel):
    """One model of the registry.

    name: by which stage 4 and `network.init` find it; task: of its recipe. scored_on: the images of the
    scores. quality_from: the images that its quality model was fitted to. licence, attribution: of the weights and of
    the data that they were trained on. training_images: file with the first 16 digits of the SHA-256 of each image file
    that they were trained on; None where nobody else has these images.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    task: str
    version: str
    file: Annotated[str, Field(pattern=r"^[a-z0-9_]+\.safetensors$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    licence: str
    attribution: str
    trained_on: str
    quality_from: str
    scored_on: str
    scores: list[Score]
    training_images: Annotated[str, Field(pattern=r"^[a-z0-9_]+\.txt$")] | None = None

    @property
    def path(self) -> Path:
        return FOLDER / self.file

    def trained_on_file(self, sha256: str) -> bool:
        """Return whether the weights were trained on an image file of this SHA-256, byte for byte."""
        return sha256[:16] in _training_images(self.training_images)


@cache
def _training_images(name: str | None) -> frozenset[str]:
    return frozenset((FOLDER / name).read_text(encoding="ascii").split()) if name else frozenset()


@cache
def registered_models() -> tuple[ModelEntry, ...]:
    """Return the models that come with SonoSeg, in the order of the registry."""
    return tuple(TypeAdapter(list[ModelEntry]).validate_python(parse_json(REGISTRY.read_bytes())))


def registered_model(name: str) -> ModelEntry | None:
    """Return the model of this name; None when there is none."""
    return next((entry for entry in registered_models() if entry.name == name), None)


def model_for_task(task: Task) -> ModelEntry | None:
    """Return the model of a task; None when none comes with SonoSeg, or its results would follow from other settings.

    An own task may have the name of one that comes with SonoSeg, and other structures.
    """
    for entry in registered_models():
        if entry.task == task.name:
            task, shipped = task.without_codes(), load_task(entry.task).without_codes()
            if all(getattr(task, section) == getattr(shipped, section) for section in _OF_RESULTS):
                return entry
    return None


def shipped_model(trained: Path, task: Task) -> ModelEntry | None:
    """Return the model that stands in where a task has not been trained here; None when it has, or there is none.

    trained: where the model of a training here would be.
    """
    return None if trained.is_file() else model_for_task(task)


def resolve(model: Path | str) -> Path:
    """Return the path of a model that is given as a path, or by its name in the registry if there is no such path.

    Raises ModelError for a word that is neither.
    """
    path = Path(model)
    if path.exists():
        return path
    entry = registered_model(str(model))
    if not entry and len(path.parts) == 1 and not path.suffix:
        names = [one.name for one in registered_models()]
        raise ModelError(f"{model}: no such file or folder, and no model of that name; names are {', '.join(names)}")
    return entry.path if entry else path


def check_registered(path: Path, sha256: str) -> None:
    """Raise ModelError for a file of the registry that is not the one which the registry describes."""
    entry = next((one for one in registered_models() if one.path == path.resolve()), None)
    if entry and entry.sha256 != sha256:
        raise ModelError(f"{path}: not the file that comes with SonoSeg (its SHA-256 differs); install SonoSeg again")
