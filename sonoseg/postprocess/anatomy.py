"""Anatomical rules: a structure that cannot be there without another one is removed, with the reason."""

from collections.abc import Sequence

from sonoseg.schema.annotations import Structure, label_values
from sonoseg.schema.results import AnatomicalRule
from sonoseg.types import Pixels


def apply_rules(
    labels: Pixels, structures: Sequence[Structure], rules: Sequence[AnatomicalRule]
) -> tuple[Pixels, dict[str, str]]:
    """Return the label map `(H, W)` uint8 after the rules, and structure -> reason for those removed.

    A structure without a pixel is not listed. Rules are repeated until nothing changes, so their order does not matter.
    """
    labels = labels.copy()
    values = label_values(structures)
    removed: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        present = {name for name, value in values.items() if (labels == value).any()}
        for rule in rules:
            for name in rule.suppress if rule.require not in present else ():
                if name in present and name != rule.require:
                    labels[labels == values[name]] = 0
                    removed[name] = f"{name} removed: there is no {rule.require} in the image"
                    changed = True
    return labels, removed
