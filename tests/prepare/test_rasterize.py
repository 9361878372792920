"""Label maps of overlapping shapes."""

import numpy as np

from sonoseg.geometry.shapes import Shape
from sonoseg.prepare.rasterize import label_map

SIZE = (40, 60)


def test_covering_order(spine):
    # EPI over MID, MID over VTB, in any order of the list.
    shapes = [
        Shape("EPI", "line", np.array([[10.0, 15], [50, 15]])),
        Shape("MID", "line", np.array([[30.0, 0], [30, 39]])),
        Shape("VTB", "rectangle", np.array([[20.0, 25], [40, 35]])),
    ]
    for order in (shapes, shapes[::-1]):
        labels = label_map(order, SIZE, spine.structures)
        assert labels.dtype == np.uint8
        assert labels[15, 30] == 3 and labels[30, 30] == 1 and labels[30, 40] == 2 and labels[0, 0] == 0


def test_no_shapes_is_an_empty_map(spine):
    labels = label_map([], SIZE, spine.structures)
    assert labels.shape == SIZE and not labels.any()
