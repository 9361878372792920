"""A planned setting and its reason."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Choice:
    """setting: its dotted name in a task file. value: as YAML has it. reason: one sentence, without a full stop."""

    setting: str
    value: Any
    reason: str


def nested(choices: Sequence[Choice]) -> dict[str, Any]:
    """Return the settings as the nested sections of a task file."""
    fields: dict[str, Any] = {}
    for choice in choices:
        section = fields
        *parents, last = choice.setting.split(".")
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = choice.value
    return fields
