"""Values for the tests of annotation formats: any JSON, and how well two shapes agree."""

import numpy as np
from hypothesis import strategies as st

from sonoseg.geometry.bitmap import Bitmap
from sonoseg.geometry.shapes import Shape
from sonoseg.sizes import Size
from sonoseg.types import Mask

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**18), 1e308])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.just("../../etc/passwd"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
"""Any value that a JSON file can contain, also numbers far outside every image."""


def mask_of(shape: Shape | Bitmap, size: Size) -> Mask:
    """Return the pixels `(H, W)` bool of a shape."""
    mask = np.zeros(size, dtype=bool)
    window, pixels = shape.draw(size)
    mask[window] = pixels
    return mask


def iou(one: Shape | Bitmap | Mask, other: Shape | Bitmap | Mask, size: Size) -> float:
    """Return the intersection over union of two shapes or masks, neither of which is empty."""
    first, second = (item if isinstance(item, np.ndarray) else mask_of(item, size) for item in (one, other))
    return float(np.count_nonzero(first & second) / np.count_nonzero(first | second))


def line_distance(one: Shape | Bitmap, other: Shape | Bitmap) -> float:
    """Return the largest distance of corresponding ends of two lines, in pixels."""
    assert isinstance(one, Shape) and isinstance(other, Shape)
    return float(np.linalg.norm(one.points - other.points, axis=1).max())
