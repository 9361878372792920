"""Annotated and reported shapes."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sonoseg.geometry import SHAPE_KINDS
from sonoseg.geometry.extent import Window
from sonoseg.geometry.rectangle import fit_turned_rectangle
from sonoseg.geometry.shape_kind import CURVE_POINTS
from sonoseg.sizes import Size, Spacing
from sonoseg.types import Mask, Points

KindName = Literal["line", "rectangle", "ellipse", "region"]

TURNED_IS_BETTER = 0.05
"""A rectangle is taken as turned where that improves the intersection over union with its mask by more than this."""


@dataclass(frozen=True)
class Shape:
    """A shape of a structure.

    kind: a key of `SHAPE_KINDS`; points: `(N, 2)` float64 (x, y) in pixels of the original image, see the kind.
    """

    structure: str
    kind: KindName
    points: Points

    @property
    def is_turned(self) -> bool:
        """Whether it is a rectangle given by four corners, which is not parallel to the image's sides."""
        return self.kind == "rectangle" and len(self.points) == 4

    def moved(self, columns: int, rows: int) -> "Shape":
        """Return the same shape further to the right and down."""
        return Shape(self.structure, self.kind, self.points + np.array([columns, rows], dtype=np.float64))

    def draw(self, size: Size, thickness_px: float | None = None) -> tuple[Window, Mask]:
        """Return the window of an image of `size` that the shape touches, and its mask there; see `ShapeKind.draw`."""
        return SHAPE_KINDS[self.kind].draw(self.points, size, thickness_px)

    def outline(self, curve_points: int = CURVE_POINTS) -> Points:
        """Return the outline `(N, 2)` without a closing point; see `ShapeKind.outline`."""
        return SHAPE_KINDS[self.kind].outline(self.points, curve_points)

    def to_json(self) -> list[Any]:
        """Return `[structure, kind, [[x, y], ...]]` as in annotation files and results, in hundredths of a pixel."""
        kind = SHAPE_KINDS[self.kind]
        return [self.structure, kind.json_name, kind.write_points(self.points)]


def fit_shapes(mask: Mask, structure: str, kind: KindName, spacing: Spacing | None = None) -> list[Shape]:
    """Return the shapes fitted to the full mask `(H, W)` bool of a structure; an empty mask has none.

    One line, rectangle or ellipse; for `region` a polygon per component, largest first. With a spacing, ellipses are
    fitted in millimetres.
    """
    return [Shape(structure, kind, points) for points in SHAPE_KINDS[kind].fit(mask, spacing)]


def fit_annotated(mask: Mask, structure: str, kind: KindName, spacing: Spacing | None = None) -> list[Shape]:
    """Return the shapes fitted to a mask that a person has drawn: as `fit_shapes`, but a rectangle may be turned."""
    shapes = fit_shapes(mask, structure, kind, spacing)
    if kind != "rectangle" or not shapes:
        return shapes
    turned, rectangle = fit_turned_rectangle(mask), SHAPE_KINDS[kind]
    better = rectangle.agreement(turned, mask) > rectangle.agreement(shapes[0].points, mask) + TURNED_IS_BETTER
    return [Shape(structure, kind, turned)] if better else shapes


def fit_dice(mask: Mask, kind: KindName, thickness_px: float | None = None) -> float:
    """Return the Dice of a mask `(H, W)` bool, not empty, and the first shape fitted to it; 0 without a shape."""
    shapes = fit_shapes(mask, "", kind)
    if not shapes:
        return 0.0
    window, drawn = shapes[0].draw(mask.shape, thickness_px)
    both = np.count_nonzero(drawn & mask[window])
    return float(2 * both / (np.count_nonzero(drawn) + np.count_nonzero(mask)))
