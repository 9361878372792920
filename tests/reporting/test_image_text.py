"""Letters on pictures: panels darken what lies below them, text is laid over it, and the rest stays as it was."""

import numpy as np
import pytest

from sonoseg.reporting.image_text import OK, WHITE, Lettering, unit_of


@pytest.mark.parametrize("size", [(130, 170), (443, 600), (900, 1400)])
def test_only_the_boxes_of_a_page_are_written_on(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = picture.copy()
    page = Lettering(picture, unit_of(picture))
    strip = page.strip("flagged: a reason that is long enough to be cut, whatever the width of the picture " * 3, OK)
    boxes = [strip, page.label("skin to EPI 17.4 mm", (0.8 * size[1], 0.4 * size[0]))]
    boxes.append(page.panel([((255, 0, 0), "HEAD 98%"), ((0, 255, 0), "jÄgÅ|")], np.zeros(size, bool), boxes))
    written = page.finish()
    assert np.array_equal(picture, before), "the picture itself is not written on"
    outside = np.ones(size, bool)
    for left, top, right, bottom in boxes:
        outside[top : bottom + 1, left : right + 1] = False
        assert written[top : bottom + 1, left : right + 1].max() > 150, "letters: a panel leaves at most 97"
    assert np.array_equal(written[outside], picture[outside])


def test_a_panel_lets_the_picture_shine_through() -> None:
    picture = np.full((443, 600, 3), 200, np.uint8)
    page = Lettering(picture, 1)
    left, top, right, bottom = page.label("i", (300, 200))
    inside = page.finish()[top + 2 : bottom - 1, left + 2 : right - 1]
    assert tuple(inside[0, -1]) == (76, 76, 76), "200 below 62 % of black"
    assert (inside.max(axis=(0, 1)) <= WHITE).all() and inside.max() > 150
