"""Findings in words: short texts for the overlay. Numbers are rounded here and nowhere else."""

from collections.abc import Mapping

from sonoseg.postprocess.interpret import Findings
from sonoseg.schema.results import DepthAlong, HeadBiometry
from sonoseg.schema.task import Task


def headline(found: Findings) -> str:
    """Return the status with its reasons, such as `flagged: EPI not found`."""
    return found.status if not found.reasons else f"{found.status}: {'; '.join(found.reasons)}"


def number(measurements: Mapping[str, float | None], name: str) -> str:
    """Return a length as text: in mm when it is known, else in px; empty when it is neither."""
    for unit in ("mm", "px"):
        value = measurements.get(f"{name}_{unit}")
        if value is not None:
            return f"{value:.1f} {unit}"
    return ""


def measurement_lines(found: Findings, task: Task) -> list[str]:
    """Return one line per measurement that is there, in the task's order."""
    values, lines = found.measurements, []
    for wanted in task.measurements:
        if isinstance(wanted, DepthAlong):
            pairs = [(f"skin to {wanted.structure}", number(values, wanted.name))]
        elif isinstance(wanted, HeadBiometry):
            pairs = [(name.upper(), number(values, name)) for name in ("hc", "bpd", "ofd")]
            pairs.append(("cephalic index", _with_unit(values.get("cephalic_index_pct"), " %")))
            pairs.append(("gestational age", _with_unit(values.get("gestational_age_weeks"), " weeks")))
        else:
            pairs = [("midline angle", _with_unit(values.get("midline_angle_deg"), "°"))]
            pairs.append(("midline offset", number(values, "midline_offset")))
        lines += [f"{name} {text}" for name, text in pairs if text]
    return lines


def _with_unit(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:.1f}{unit}"
