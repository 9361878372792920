"""A line and an area, which the tests of all annotation tools read, and what their files say about them."""

from collections.abc import Sequence

from sonoseg.annotations import AnnotatedImage
from sonoseg.io.faults import Fault
from sonoseg.prepare.rasterize import label_map
from sonoseg.schema.annotations import Structure
from sonoseg.sizes import Size
from sonoseg.types import Pixels

LINE = Structure(name="L", shape="line", color="#ff0000", thickness_px=3)
AREA = Structure(name="R", shape="region", color="#00ff00")
STRUCTURES = [LINE, AREA]


def labels_of(items: Sequence[AnnotatedImage], size: Size) -> Pixels:
    """Return the label map `(H, W)` of the first image: 1 for the line, 2 for the area."""
    return label_map([shape for _, shape in items[0].shapes], size, STRUCTURES)


def errors(faults: Sequence[Fault]) -> list[str]:
    return [str(fault) for fault in faults if fault.level == "error"]
