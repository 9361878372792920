"""Models that come with SonoSeg: their files in `sonoseg/weights`, and the registry that describes them."""

from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from sonoseg.io.reading import parse_json

FOLDER = Path(__file__).resolve().parents[1] / "weights"
REGISTRY = FOLDER / "registry.json"


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
    scores. licence, attribution: of the weights and of the data that they were trained on.
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
    scored_on: str
    scores: list[Score]

    @property
    def path(self) -> Path:
        return FOLDER / self.file


@cache
def registered_models() -> tuple[ModelEntry, ...]:
    """Return the models that come with SonoSeg, in the order of the registry."""
    return tuple(TypeAdapter(list[ModelEntry]).validate_python(parse_json(REGISTRY.read_bytes())))


def registered_model(name: str) -> ModelEntry | None:
    """Return the model of this name; None when there is none."""
    return next((entry for entry in registered_models() if entry.name == name), None)


def model_for_task(task: str) -> ModelEntry | None:
    """Return the first model of a task; None when none comes with SonoSeg."""
    return next((entry for entry in registered_models() if entry.task == task), None)


def resolve(model: Path | str) -> Path:
    """Return the path of a model that is given as a path, or by its name in the registry if there is no such path."""
    path = Path(model)
    entry = None if path.exists() else registered_model(str(model))
    return entry.path if entry else path
