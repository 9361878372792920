"""How far the gestational age by head circumference lies from the true age, as published."""

TWO_SD_WEEKS = ((12.0, 18.0, 1.2), (18.0, 24.0, 1.5), (24.0, 30.0, 2.1), (30.0, 36.0, 3.0), (36.0, 42.0, 2.7))
"""From week, to week, and two standard deviations in weeks of the true age about that by head circumference.

Hadlock et al. 1984, Radiology 152:497.
"""


def two_sd_weeks(weeks: float) -> float | None:
    """Return two standard deviations, in weeks, of the true age about an age by head circumference.

    A week on the border of two ranges belongs to the later one. None outside 12 to 42 weeks.
    """
    spreads = [spread for low, high, spread in TWO_SD_WEEKS if low <= weeks <= high]
    return spreads[-1] if spreads else None


def spread_note(weeks: float) -> str:
    """Return two standard deviations of an age by head circumference as a note; empty outside 12 to 42 weeks."""
    spread = two_sd_weeks(weeks)
    return "" if spread is None else f"two standard deviations of the formula: {spread:.1f} weeks (Hadlock et al. 1984)"


def spread_text() -> str:
    """Return the table as text: `1.2 weeks from 12 to 18 weeks, ...`."""
    return ", ".join(f"{spread:.1f} weeks from {low:.0f} to {high:.0f} weeks" for low, high, spread in TWO_SD_WEEKS)


ERROR_NOTE = (
    "gestational age: its error is that of the head circumference, expressed in weeks by the same formula for "
    "prediction and reference; it is no error of dating. The age by head circumference itself differs "
    f"from the true age, by two standard deviations of {spread_text()} (Hadlock et al. 1984)"
)
"""What an error of the gestational age means, for evaluations."""
