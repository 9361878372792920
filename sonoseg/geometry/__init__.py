"""Points and shape kinds, with their fit to masks, in pixels and millimetres. Numba is imported only to fit lines.

A new kind of shape is a class with the interface of `ShapeKind` and a line in `SHAPE_KINDS`.
"""

from sonoseg.geometry.ellipse import EllipseKind
from sonoseg.geometry.line import LineKind
from sonoseg.geometry.rectangle import RectangleKind
from sonoseg.geometry.region import RegionKind
from sonoseg.geometry.shape_kind import ShapeKind

SHAPE_KINDS: dict[str, ShapeKind] = {
    "line": LineKind(),
    "rectangle": RectangleKind(),
    "ellipse": EllipseKind(),
    "region": RegionKind(),
}
"""`shape` of a structure in a task file -> its kind."""
