"""Measured quantities: name, unit, label, and the key under which files list them."""

from collections.abc import Iterable
from dataclasses import dataclass

UNIT_SYMBOLS = {"deg": "°", "pct": "%", "mm2": "mm²", "px2": "px²"}
"""Units whose symbol differs from their name in keys; `mm`, `px` and `weeks` are written as they are."""
METRIC = {"px": "mm", "px2": "mm2"}
"""Unit of a length or an area in pixels -> the same where the pixel spacing is known."""


@dataclass(frozen=True)
class Quantity:
    """A number that is measured or compared.

    name: such as `hc`; a length in mm and the same length in pixels have one name, and areas likewise.
    unit: `mm`, `px`, `mm2`, `px2`, `deg`, `pct` or `weeks`.
    label: what people read, such as `HC` or `skin to EPI`.
    """

    name: str
    unit: str
    label: str

    @property
    def key(self) -> str:
        """Return the key in JSON files, tables and task files, such as `hc_mm`."""
        return f"{self.name}_{self.unit}"

    @property
    def symbol(self) -> str:
        """Return the unit as people write it: `°` for `deg`, `%` for `pct`."""
        return UNIT_SYMBOLS.get(self.unit, self.unit)

    @property
    def is_in_pixels(self) -> bool:
        return self.unit in METRIC

    @property
    def needs_spacing(self) -> bool:
        return self.unit in METRIC.values()

    @property
    def title(self) -> str:
        """Return the label with a capital first letter."""
        return self.label[:1].upper() + self.label[1:]


def length_quantities(name: str, label: str) -> tuple[Quantity, Quantity]:
    """Return a length in millimetres and the same length in pixels."""
    return Quantity(name, "mm", label), Quantity(name, "px", label)


def area_quantities(name: str, label: str) -> tuple[Quantity, Quantity]:
    """Return an area in square millimetres and the same area in pixels."""
    return Quantity(name, "mm2", label), Quantity(name, "px2", label)


def prefer_mm(quantities: Iterable[Quantity]) -> list[Quantity]:
    """Return the quantities in their order, without those in pixels that are also there in millimetres."""
    listed = list(quantities)
    known = {(quantity.name, quantity.unit) for quantity in listed}
    return [one for one in listed if (one.name, METRIC.get(one.unit)) not in known]
