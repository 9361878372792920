"""Letters on pictures: blended where something was written, as if all of the picture were."""

import numpy as np
import pytest
from PIL import Image

from sonoseg.infer.lettering import OK, Lettering, unit_of


@pytest.mark.parametrize("size", [(130, 170), (443, 600), (900, 1400)])
def test_a_page_is_what_blending_all_of_it_gives(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    picture = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    before = picture.copy()
    page = Lettering(picture, unit_of(picture))
    strip = page.strip("flagged: a reason that is long enough to be cut, whatever the width of the picture " * 3, OK)
    taken = [strip, page.label("skin to EPI 17.4 mm", (0.8 * size[1], 0.4 * size[0]))]
    occupied = np.zeros(size, bool)
    occupied[size[0] // 2 :, : size[1] // 2] = True
    taken.append(page.panel([((255, 0, 0), "HEAD 98%"), ((0, 255, 0), "jÄgÅ|")], occupied, taken))
    page.panel([(None, "HC 632.1 px")], occupied, taken)
    page.bar([(255, 0, 0), (0, 255, 0)] * 20, {0.0: "1", 1.0: "0"})
    blended = Image.alpha_composite(Image.fromarray(picture).convert("RGBA"), page.layer).convert("RGB")
    assert np.array_equal(page.finish(), np.asarray(blended))
    assert np.array_equal(picture, before), "the picture itself is not written on"
    assert not np.array_equal(page.finish(), picture)
