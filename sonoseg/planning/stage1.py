"""The plan as stage 1 makes, keeps and writes it."""

import json
from contextlib import suppress
from typing import Any

from sonoseg.errors import SonoSegError
from sonoseg.planning.choice import Choice, nested
from sonoseg.planning.fingerprint import fingerprint_of
from sonoseg.planning.plan import Plan, make_plan
from sonoseg.planning.planned_task import planned_fields, planned_text
from sonoseg.planning.rows import rows_of
from sonoseg.prepare.dataset import Dataset
from sonoseg.runs.workspace import DATASET_REPORT, Workspace
from sonoseg.schema.drafts import Draft, value_at
from sonoseg.schema.task_files import task_of


def new_plan(draft: Draft, dataset: Dataset) -> Plan:
    """Return the plan of what a draft leaves open, for which steps of training are timed.

    It is made from the images of the training part alone: the test part chooses nothing. Raises TaskError for settings
    that clash.
    """
    training = {sample.id: sample for sample in dataset.samples if sample.fold is not None}
    images = [image for image in dataset.images if image.item.id in training]
    patients = len({sample.patient for sample in training.values()})
    # Fold 0 validates unless a command says otherwise.
    validating = sum(sample.fold == 0 for sample in training.values())
    return make_plan(draft, fingerprint_of(images, dataset.task.structures, patients, validating))


def plan_for_report(plan: Plan) -> dict[str, Any]:
    """Return the plan as the report has it."""
    rows = [
        {
            "setting": row.setting,
            "value": row.value,
            "reason": row.reason,
            "pinned": row.pinned,
            "planned_reason": row.choice.reason,
        }
        for row in plan.rows
    ]
    return {"settings": rows, "advice": plan.advice}


def plan_text(plan: Plan) -> str:
    """Return the text of `task.yaml`: what was planned, and the reasons as comments."""
    return planned_text(plan.task, [row.choice for row in plan.rows])


def plan_lines(plan: Plan) -> list[str]:
    """Return the plan for the terminal, a line per setting that stage 1 has chosen."""
    lines = [f"  {row.setting} {_shown(row.value)}: {row.reason}" for row in plan.rows if not row.pinned]
    return ["planned from the training images:", *lines, *([f"note: {plan.advice}"] if plan.advice else [])]


def _shown(value: Any) -> str:
    return json.dumps(value).replace('"', "")


def earlier_plan(draft: Draft, dataset: Dataset, workspace: Workspace) -> Plan | None:
    """Return the plan of `task.yaml` with the reasons in the report, beside what the draft states now.

    None where there is none, or one for other structures.
    """
    with suppress(SonoSegError, OSError, ValueError, KeyError, TypeError):
        fields = planned_fields(draft, workspace.root)
        structures = [one.model_dump(mode="json", exclude_none=True) for one in dataset.task.structures]
        if fields["structures"] != structures:
            return None
        earlier = json.loads((workspace.split / DATASET_REPORT).read_text(encoding="utf-8"))["plan"]
        choices = [
            Choice(row["setting"], value_at(fields, row["setting"]), row.get("planned_reason", row["reason"]))
            for row in earlier["settings"]
        ]
        choices = [choice for choice in choices if choice.value is not None]
        task = task_of(draft, nested(choices))
        return Plan(task, rows_of(draft, task, choices), earlier["advice"])
    return None
