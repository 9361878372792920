"""The task file that `new-task` writes: commented YAML."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import yaml

from sonoseg.errors import first_of, printable
from sonoseg.io.faults import EXAMPLES
from sonoseg.new_task.findings import Findings
from sonoseg.new_task.structures import FoundStructure
from sonoseg.schema.annotations import UNKNOWN_PATIENTS

STRUCTURE_LINES = 16
"""Lines for structures; the others are at most 24."""
MAX_COMMENT = 300
PER_STRUCTURE = ("masks", "mask_suffix")
"""Fields of the section that may be given for each structure."""


def task_text(name: str, findings: Findings, minutes: float) -> str:
    """Return the text of the task file of what was found in a folder, at most 40 lines, with the reason of each."""
    layout, rule = findings.layout, findings.patients[0]
    lines = [
        _comment(
            f"Written by sonoseg new-task for {findings.folder}. Read it: each line says what was found, and why."
        ),
        f"name: {_flow(name)}",
        "",
        *_structure_lines(findings.structures),
        "",
        _comment(layout.reason),
        *(_comment(f"Not used: {one.reason}") for one in findings.others[:2]),
        *(_comment(f"Note: {note}") for note in findings.notes[:2]),
    ]
    if findings.without_annotation:
        shown = "the structure" if layout.is_masks else "any structure"
        meaning = f"leave_out (nobody has annotated them) or empty (they do not show {shown})"
        lines.append(_comment(f"{_without_annotation(findings)}. Add to the next line: without_annotation: {meaning}"))
    lines += [f"annotations: {_flow(findings.section)}", *_table_lines(findings)]
    others = [one for one in findings.patients[1:] if one.settings != UNKNOWN_PATIENTS][:2]
    others += [one for one in findings.patients[1:] if one.settings == UNKNOWN_PATIENTS]
    lines += ["", _comment(f"Patients, which no split divides: {rule.reason}.")]
    lines += [_comment(f"Or {_flow(one.settings)}: {one.reason}.") for one in others]
    lines += [
        f"patients: {_flow(rule.settings)}",
        "",
        _comment(
            "Stage 1 plans the training from the data, for this length on its machine. It measures areas and "
            "diameters; for others add the section measurements."
        ),
        f"plan: {{minutes: {minutes:g}}}",
    ]
    return "\n".join(lines) + "\n"


def _without_annotation(findings: Findings) -> str:
    names = findings.without_annotation
    examples = first_of(names, EXAMPLES)
    if not findings.layout.is_masks:
        return f"{len(names)} {'images have' if len(names) > 1 else 'image has'} no shape ({examples})"
    lack = "images lack" if len(names) > 1 else "image lacks"
    several = " or one of several" if any(isinstance(findings.section[name], dict) for name in PER_STRUCTURE) else ""
    return f"{len(names)} {lack} a mask{several} ({examples})"


def _structure_lines(structures: Sequence[FoundStructure]) -> list[str]:
    """Return the structures, one a line with its reason, or several a line where there are many."""
    fields = [_flow(_fields(found)) for found in structures]
    if len(fields) <= STRUCTURE_LINES:
        reasons = [_comment(found.reason) for found in structures]
        return ["structures:", *(f"  - {one}  {reason}" for one, reason in zip(fields, reasons, strict=True))]
    each = math.ceil(len(fields) / STRUCTURE_LINES)
    rows = [", ".join(fields[at : at + each]) for at in range(0, len(fields), each)]
    return ["structures: [", *(f"  {row}," for row in rows), "]"]


def _fields(found: FoundStructure) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": found.name, "shape": found.shape, "color": found.color}
    if found.thickness_px:
        fields["thickness_px"] = found.thickness_px
    if found.covered_by:
        fields["covered_by"] = list(found.covered_by)
    return fields


def _table_lines(findings: Findings) -> list[str]:
    table = findings.table
    if table is None and findings.headers.pixel_size:
        return [_comment(f"{findings.headers.pixel_size}; a metadata.csv with image, row_mm, col_mm takes precedence")]
    if table is None:
        return [_comment("Pixel size unknown, so nothing is in mm: a metadata.csv with image, patient, row_mm, col_mm")]
    columns = {"file": table.file, "image": table.image}
    if table.row_mm and table.col_mm:
        columns |= {"row_mm": table.row_mm, "col_mm": table.col_mm}
        columns |= {"unit": table.unit} if table.unit not in ("", "mm") else {}
    return [
        _comment(f"{table.file} names {table.named} images; {_pixel_size(findings)}"),
        f"metadata: {_flow(columns)}",
    ]


def _pixel_size(findings: Findings) -> str:
    table = findings.table
    if table is None or table.row_mm is None:
        return findings.headers.pixel_size or "pixel size unknown, so lengths are in pixels"
    unit = f"in {table.unit}" if table.unit else "taken as mm, as no name states a unit"
    if table.row_mm == table.col_mm:
        return f"pixel size: column {table.row_mm!r}, for height and width alike, {unit}"
    return f"pixel size: columns {table.row_mm!r} (height) and {table.col_mm!r} (width), {unit}"


def _comment(text: str) -> str:
    """Return text as a comment in one line: names of files and columns may have line ends."""
    line = printable(text)
    return f"# {line if len(line) <= MAX_COMMENT else f'{line[:MAX_COMMENT]}...'}"


def _flow(value: Any) -> str:
    """Return a value as YAML in one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return text.strip().removesuffix("\n...").strip()


def findings_lines(findings: Findings) -> list[str]:
    """Return what was recognised as lines for the terminal, with the alternatives."""
    lines = [f"annotations: {findings.layout.reason}"]
    lines += [f"  not used: {one.reason}" for one in findings.others[:3]]
    lines += [f"  note: {note}" for note in findings.notes]
    if findings.without_annotation:
        lines.append(f"  {_without_annotation(findings)}: set annotations.without_annotation, as the task file says")
    lines += [f"structure {one.name}: {one.shape} ({one.reason})" for one in findings.structures]
    first, *others = findings.patients
    lines.append(f"patients: {first.reason}")
    lines += [f"  not used: {_flow(one.settings)} ({one.reason})" for one in others]
    lines.append(_pixel_size(findings))
    if findings.faults:
        lines.append(f"stage 1 will refuse {len(findings.faults)} faults of the data, such as {findings.faults[0]}")
    return lines


def findings_json(findings: Findings) -> str:
    """Return what was recognised, and the alternatives, as JSON in ASCII."""
    layouts = [vars(one) for one in (findings.layout, *findings.others)]
    found = {
        "folder": str(findings.folder),
        "annotations": dict(findings.section),
        "images": len(findings.items),
        "layouts": layouts,
        "structures": [vars(one) for one in findings.structures],
        "patients": [vars(one) for one in findings.patients],
        "table": asdict(findings.table) if findings.table else None,
        "without_annotation": list(findings.without_annotation),
        "faults": [str(fault) for fault in findings.faults],
        "notes": list(findings.notes),
    }
    return json.dumps(found, indent=2)
