"""The task that stage 1 has planned, for the stages after it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sonoseg.errors import TaskError
from sonoseg.planning.choice import Choice, nested
from sonoseg.runs.workspace import Workspace
from sonoseg.schema.drafts import Draft
from sonoseg.schema.task import Task
from sonoseg.schema.task_files import load_draft, task_of
from sonoseg.schema.yaml_text import read_yaml

HEADER = """\
# Planned by stage 1 (train_test_data_preparation.py) from the data, for the stages after it.
# What the task file itself states takes precedence and is not here: change settings there.
"""


def load_planned_task(name_or_file: str | Path, root: Path) -> Task:
    """Return a task of which stage 1 has planned what its file leaves open; `root` is that of the workspace.

    Settings that the task file states now take precedence over the planned ones. Raises TaskError as `load_task` does,
    and when there is no plan yet.
    """
    draft = load_draft(name_or_file)
    return task_of(draft, planned_fields(draft, root) if draft.is_open else None)


def planned_fields(draft: Draft, root: Path) -> dict[str, Any]:
    """Return the fields of the planned task. Raises TaskError when there is none, or it is not readable."""
    path = Workspace(root, task_of(draft).name).planned_task
    if not path.is_file():
        raise TaskError(
            f"{draft.source}: leaves {', '.join(draft.open[:3])} to be planned from the data, and there is no {path}; "
            "run stage 1 (train_test_data_preparation.py) first"
        )
    fields = read_yaml(path)
    if not isinstance(fields, dict):
        raise TaskError(f"{path}: not a task; remove it, and run stage 1 again")
    return fields


def planned_text(task: Task, choices: Sequence[Choice]) -> str:
    """Return the text of the planned task: what was planned, with its reasons, and for which structures.

    What the task file states is not in it, so that a setting that is no longer stated is the planned one again.
    """
    reasons = "".join(f"# {choice.setting}: {choice.reason}\n" for choice in choices)
    fields = task.model_dump(mode="json", include={"name", "structures"}, exclude_none=True) | nested(choices)
    return HEADER + reasons + yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=120)
