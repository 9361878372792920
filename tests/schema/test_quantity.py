"""Quantities: keys, titles, units, and lengths in a single unit."""

from sonoseg.schema.quantity import Quantity, length_quantities, prefer_mm
from sonoseg.schema.task import Task


def test_quantities_have_keys_titles_and_symbols(spine: Task, fetal_head: Task) -> None:
    quantities = {quantity.key: quantity for task in (spine, fetal_head) for quantity in task.quantities}
    for key, title, symbol in (
        ("hc_mm", "HC", "mm"),
        ("skin_to_epi_px", "Skin to EPI", "px"),
        ("cephalic_index_pct", "Cephalic index", "%"),
        ("midline_angle_deg", "Midline angle", "°"),
        ("gestational_age_weeks", "Gestational age", "weeks"),
    ):
        assert (quantities[key].title, quantities[key].symbol) == (title, symbol)


def test_lengths_in_pixels_are_left_out_where_millimetres_are_there() -> None:
    (a_mm, a_px), (_, b_px) = length_quantities("a", "A"), length_quantities("b", "B")
    angle = Quantity("a", "deg", "angle")
    assert prefer_mm([a_px, b_px, angle, a_mm]) == [b_px, angle, a_mm]
