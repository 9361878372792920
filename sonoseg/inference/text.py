"""Short texts on the overlay. Measurements are rounded here and nowhere else."""

from sonoseg.postprocess.interpret import Findings
from sonoseg.postprocess.measure import Measurement, reported


def headline(findings: Findings) -> str:
    """Return the status, the expected Dice if it is known, and the reasons: `check, quality 0.93: EPI not found`."""
    quality = "" if findings.quality is None else f", quality {findings.quality:.2f}"
    reasons = f": {'; '.join(findings.reasons)}" if findings.reasons else ""
    return f"{findings.status}{quality}{reasons}"


def measurement_lines(findings: Findings) -> list[str]:
    """Return a line per measurement that has a value, such as `skin to EPI 35.8 mm`, in the task's order."""
    return [measurement_line(measurement, findings) for measurement in reported(findings.measurements)]


def measurement_line(measurement: Measurement, findings: Findings) -> str:
    """Return label, value, interval, if there is one, and unit: `HC 271.4 (266.0 to 276.8) mm`.

    A value by a formula ends with the spread of that one: `gestational age 34.1 weeks (2 SD of the formula: 3.0)`.
    """
    quantity = measurement.quantity
    interval = findings.intervals.get(quantity.key)
    ends = f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else ""
    space = "" if quantity.unit == "deg" else " "
    symbol = quantity.symbol.replace("²", "2")  # the font of the overlays lacks it
    spread = "" if measurement.two_sd is None else f" (2 SD of the formula: {measurement.two_sd:.1f})"
    return f"{quantity.label} {measurement.value:.1f}{ends}{space}{symbol}{spread}"
