"""Shapes and pictures of the tests, with known coordinates."""

from sonoseg.types import Pixels
from tests.browser.results import speckle

SIZE = (240, 320)
"""Height and width of the pictures."""
ELLIPSE = ["HEAD", "ellipse", [[80, 120], [240, 120], [160, 70], [160, 170]]]
REGION = ["NERVE", "polygon", [[100, 80], [200, 80], [200, 160], [100, 160]]]
POINT = (231, 57)
"""The one bright pixel of the picture `a`."""


def drawn_images() -> dict[str, Pixels]:
    """Return two dark pictures; the first has one bright pixel."""
    images = {name: speckle(*SIZE, seed) // 4 for seed, name in enumerate("ab")}
    images["a"][POINT[1], POINT[0]] = 255
    return images
