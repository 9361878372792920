"""Array types that every package shares, each with its shape, dtype and unit."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""A grey image or a label map, `(H, W)` uint8."""

Picture = NDArray[np.uint8]
"""A colour image, `(H, W, 3)` RGB uint8."""

Mask = NDArray[np.bool_]
"""One class of one image, `(H, W)` bool."""

Maps = NDArray[np.float32]
"""Probability maps `(C, H, W)`, or network inputs and outputs `(B, C, h, w)`, float32."""

Points = NDArray[np.float64]
"""`(N, 2)` float64 (x, y) in pixels of the original image, x right, y down, whole numbers at pixel centres."""
