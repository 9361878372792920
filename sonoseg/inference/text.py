"""Short texts on the overlay. Measurements are rounded here and nowhere else."""

from sonoseg.postprocess.interpret import Findings
from sonoseg.postprocess.measure import Measurement, reported


def headline(findings: Findings) -> str:
    """Return the status with its reasons, such as `flagged: EPI not found`."""
    return findings.status if not findings.reasons else f"{findings.status}: {'; '.join(findings.reasons)}"


def measurement_lines(findings: Findings) -> list[str]:
    """Return a line per measurement that has a value, such as `skin to EPI 35.8 mm`, in the task's order."""
    return [measurement_line(measurement) for measurement in reported(findings.measurements)]


def measurement_line(measurement: Measurement) -> str:
    """Return label, value and unit of a measurement that has a value."""
    quantity = measurement.quantity
    space = "" if quantity.unit == "deg" else " "
    return f"{quantity.label} {measurement.value:.1f}{space}{quantity.symbol}"
