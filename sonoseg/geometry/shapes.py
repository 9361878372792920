"""Annotated and reported shapes, and how JSON spells them: `["MID", "line", [[x, y], [x, y]]]`."""

from dataclasses import dataclass
from typing import Any, Literal

from sonoseg.types import Points

Kind = Literal["line", "rectangle", "ellipse", "region"]

JSON_NAMES: dict[str, Kind] = {"line": "line", "rect": "rectangle", "ellipse": "ellipse", "polygon": "region"}
"""The word in a file -> the shape of a task file."""

POINTS_NEEDED: dict[Kind, int] = {"line": 2, "rectangle": 2, "ellipse": 4, "region": 3}
"""Exact number of points, for a region the smallest. An ellipse is its axes' four ends, a rectangle two corners."""


@dataclass(frozen=True)
class Shape:
    """One shape of one class; `points` is `(N, 2)` float64 (x, y) in pixels of the original image."""

    structure: str
    kind: Kind
    points: Points

    def to_json(self) -> list[Any]:
        """Return the form that annotation files use, coordinates rounded to hundredths of a pixel."""
        word = next(word for word, kind in JSON_NAMES.items() if kind == self.kind)
        return [self.structure, word, [[round(float(x), 2), round(float(y), 2)] for x, y in self.points]]
