"""The task file that `new-task` writes: commented YAML."""

import json
from typing import Any

import yaml

from sonoseg.new_task.findings import Findings


def task_text(name: str, findings: Findings, minutes: float) -> str:
    """Return the text of the task file of what was found in a folder, with a reason beside each line."""
    layout, table, rule = findings.layout, findings.table, findings.patients[0]
    lines = [
        f"# Written by sonoseg new-task for {findings.folder}. Read it: each line says what was found, and why.",
        f"name: {name}",
        "",
        "structures:",
    ]
    for found in findings.structures:
        fields: dict[str, Any] = {"name": found.name, "shape": found.shape, "color": found.color}
        if found.thickness_px:
            fields["thickness_px"] = found.thickness_px
        if found.covered_by:
            fields["covered_by"] = list(found.covered_by)
        lines.append(f"  - {_flow(fields)}  # {found.reason}")
    lines += ["", f"# {layout.reason}", f"annotations: {_flow(findings.section)}"]
    if table:
        columns = {"file": table.file, "image": table.image}
        if table.row_mm and table.col_mm:
            columns |= {"row_mm": table.row_mm, "col_mm": table.col_mm}
        known = f"pixels of known size in column {table.row_mm!r}" if table.row_mm else "no column with a pixel's size"
        lines += [f"# {table.file} names {table.named} images; {known}", f"metadata: {_flow(columns)}"]
    else:
        lines += ["# Pixel size unknown, so nothing is measured in mm: a metadata.csv with image,patient,row_mm,col_mm"]
    others = [one for one in findings.patients[1:] if one.settings != "unknown"]
    lines += ["", f"# Patients, which no split divides: {rule.reason}."]
    lines += [f"# Or {_flow(one.settings)}: {one.reason}." for one in others[:3]]
    lines += [f"patients: {_flow(rule.settings)}", ""]
    lines += [
        "# Everything else is planned from the data by stage 1, for trainings of this length on its machine.",
        f"plan: {{minutes: {minutes:g}}}",
    ]
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    if isinstance(value, str):
        return yaml.safe_dump(value, allow_unicode=True, width=10_000).removesuffix("...\n").strip()
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10_000).strip()


def findings_lines(findings: Findings) -> list[str]:
    """Return what was recognised as lines for the terminal, with the alternatives."""
    lines = [f"annotations: {findings.layout.reason}"]
    lines += [f"  not used: {one.reason}" for one in findings.others[:3]]
    lines += [f"structure {one.name}: {one.shape} ({one.reason})" for one in findings.structures]
    first, *others = findings.patients
    lines.append(f"patients: {first.reason}")
    lines += [f"  not used: {_flow(one.settings)} ({one.reason})" for one in others]
    spacing = findings.table.row_mm if findings.table else None
    where = f"column {spacing!r} of {findings.table.file}" if findings.table and spacing else ""
    return [*lines, f"pixel size: {where or 'unknown, so lengths are in pixels'}"]


def findings_json(findings: Findings) -> str:
    """Return what was recognised, and the alternatives, as JSON."""
    layouts = [vars(one) for one in (findings.layout, *findings.others)]
    found = {
        "folder": str(findings.folder),
        "annotations": dict(findings.section),
        "layouts": layouts,
        "structures": [vars(one) for one in findings.structures],
        "patients": [vars(one) for one in findings.patients],
        "table": vars(findings.table) if findings.table else None,
    }
    return json.dumps(found, indent=2, ensure_ascii=False, default=list)
