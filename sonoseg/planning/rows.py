"""The plan beside the task file: which values are planned, and which the file states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sonoseg.planning.choice import Choice
from sonoseg.schema.drafts import Draft, value_at
from sonoseg.schema.task import Task


@dataclass(frozen=True)
class PlannedSetting:
    """A row of the plan as people read it.

    choice: what was planned. value, reason: what the training uses and why. pinned: the task file states the value, and
    nothing of the planned one is used.
    """

    choice: Choice
    value: Any
    reason: str
    pinned: bool = False

    @property
    def setting(self) -> str:
        return self.choice.setting


def rows_of(draft: Draft, task: Task, choices: Sequence[Choice]) -> list[PlannedSetting]:
    """Return the rows of the choices with which `task` was made of the draft."""
    whole = task.model_dump(mode="json")
    return [_row(draft, choice, value_at(whole, choice.setting)) for choice in choices]


def _row(draft: Draft, choice: Choice, used: Any) -> PlannedSetting:
    is_stated, stated = _stated(draft.fields, choice.setting)
    if not is_stated:
        return PlannedSetting(choice, choice.value, choice.reason)
    planned = choice.value
    if isinstance(stated, Mapping) and isinstance(planned, Mapping) and isinstance(used, Mapping):
        same_kind = stated.get("name", planned.get("name")) == planned.get("name")
        if same_kind and not planned.keys() <= stated.keys():
            value = {name: used[name] for name in used if name in planned or name in stated}
            return PlannedSetting(choice, value, f"{choice.reason}; {draft.source} states {', '.join(stated)}")
    return PlannedSetting(choice, used, f"stated in {draft.source}", pinned=True)


def _stated(fields: Mapping[str, Any], dotted: str) -> tuple[bool, Any]:
    """Return whether a dotted setting, or null in place of it or its section, is in nested sections, and its value."""
    value: Any = fields
    for part in dotted.split("."):
        if value is None:
            return True, None
        if not isinstance(value, Mapping) or part not in value:
            return False, None
        value = value[part]
    return True, value
