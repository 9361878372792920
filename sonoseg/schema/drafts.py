"""Task files that leave settings open, which stage 1 plans from the data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from sonoseg.schema.section import InnerPath, Section

AUTO = "auto"
"""Value of a setting that is to be planned; leaving out a required one means the same."""

REQUIRED = (
    "input.size",
    "network.name",
    "training.epochs",
    "training.batch_size",
    "training.loss",
    "training.optimizer.learning_rate",
)
"""Settings without which a task cannot be trained. A file that has all of them, and no `auto`, leaves nothing open."""

STATED = ("annotations", "metadata")
"""Sections in which nothing is planned: there, `auto` is the name of a folder or a column."""

PROVISIONAL: dict[str, Any] = {
    "input": {"size": [512, 512], "fit": "letterbox"},
    "network": {"name": "unet", "channels": [8, 16], "strides": [2]},
    "training": {"epochs": 1, "batch_size": 1, "loss": {}, "optimizer": {"learning_rate": 0.001}},
}
"""Values with which the rest of a draft is validated before there is a plan."""


def provisional(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return PROVISIONAL with a network of as many levels as the channels or strides in `fields` have."""
    channels, strides = value_at(fields, "network.channels"), value_at(fields, "network.strides")
    if isinstance(channels, list) and strides is None:
        network = {"channels": channels, "strides": [1] * (len(channels) - 1)}
    elif isinstance(strides, list) and channels is None:
        network = {"channels": [8] * (len(strides) + 1), "strides": strides}
    else:
        return PROVISIONAL
    return PROVISIONAL | {"network": PROVISIONAL["network"] | network}


class PlanSettings(Section):
    """What the plan of a training aims at."""

    minutes: float = Field(30, ge=1, le=100_000, description="length of a training on the machine that runs stage 1")


class Exclusion(Section):
    """Images that stage 1 leaves out: names of files, with or without extension, or a text file with one per line."""

    exclude: list[str] | InnerPath = Field([], max_length=100_000)


@dataclass(frozen=True)
class StatedIn:
    """Where a section of a task is stated, for messages.

    file: name of the task file, or of a task that comes with SonoSeg. parent: of that which it extends and which states
    the section; empty where the file does so itself, or none does.
    """

    file: str
    parent: str = ""

    def __str__(self) -> str:
        return f"{self.parent}, which {self.file} extends" if self.parent else self.file


@dataclass(frozen=True)
class Draft:
    """The fields of a task file, merged with those of its parents, and what it leaves open.

    fields: without `auto`. source: of the file, for messages. open: settings to be planned, empty for a complete task.
    patients_in: where the section `patients` is stated.
    """

    fields: Mapping[str, Any]
    source: str
    patients_in: StatedIn
    open: tuple[str, ...] = ()
    plan: PlanSettings = field(default_factory=PlanSettings)
    exclude: list[str] | str = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        return bool(self.open)

    @property
    def name(self) -> str:
        """The task's name as the file gives it; not validated."""
        return str(self.fields.get("name", ""))


def open_settings(fields: Mapping[str, Any], prefix: str = "") -> tuple[dict[str, Any], list[str]]:
    """Return the fields without those that are `auto`, and the dotted names of these."""
    kept: dict[str, Any] = {}
    found: list[str] = []
    for key, value in fields.items():
        if not prefix and key in STATED:
            kept[key] = value
        elif value == AUTO:
            found.append(f"{prefix}{key}")
        elif isinstance(value, Mapping):
            kept[key], more = open_settings(value, f"{prefix}{key}.")
            found += more
        else:
            kept[key] = value
    return kept, found


def missing_settings(fields: Mapping[str, Any]) -> list[str]:
    """Return the names of required settings that are not given; those of a network when it has only its name."""
    required = [
        *REQUIRED,
        *(("network.channels", "network.strides") if value_at(fields, "network.name") == "unet" else ()),
    ]
    return [name for name in required if value_at(fields, name) is None]


def value_at(fields: Mapping[str, Any], dotted: str) -> Any:
    """Return the value of a dotted setting in nested sections; None where there is none."""
    value: Any = fields
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
