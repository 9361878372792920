"""Anatomical rules: what cannot be there without something else is removed, and the reason is kept."""

from sonoseg.schema.task import Task
from sonoseg.types import Pixels


def apply_rules(labels: Pixels, task: Task) -> tuple[Pixels, dict[str, str]]:
    """Return the label map `(H, W)` uint8 after `postprocessing.rules`, and class -> reason for what was removed.

    A class that is not in the image has nothing to remove and is not listed. Rules are repeated until nothing changes,
    so their order in the task file does not matter.
    """
    labels = labels.copy()
    removed: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        present = {name for name in task.class_names if (labels == task.index_of(name)).any()}
        for rule in task.postprocessing.rules:
            for name in rule.suppress if rule.require not in present else ():
                if name in present and name != rule.require:
                    labels[labels == task.index_of(name)] = 0
                    removed[name] = f"{name} removed: there is no {rule.require} in the image"
                    changed = True
    return labels, removed
