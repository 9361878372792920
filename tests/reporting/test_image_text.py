"""Text on pictures: panels darken the picture below them, and pixels outside them are unchanged."""

import numpy as np
import pytest

from sonoseg.reporting.image_text import STATUS_COLORS, WHITE, TextLayer, legend, text_scale


@pytest.mark.parametrize("size", [(130, 170), (443, 600), (900, 1400)])
def test_only_pixels_in_the_boxes_change(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    before = picture.copy()
    layer = TextLayer(picture, text_scale(picture))
    strip = layer.strip(
        "flagged: a reason that is long enough to be cut, whatever the width of the picture " * 3, STATUS_COLORS["ok"]
    )
    boxes = [strip, layer.label("skin to EPI 17.4 mm", (0.8 * size[1], 0.4 * size[0]))]
    boxes.append(layer.panel([((255, 0, 0), "HEAD 98%"), ((0, 255, 0), "jÄgÅ|")], np.zeros(size, bool), boxes))
    written = layer.finish()
    assert np.array_equal(picture, before), "the picture itself is not written on"
    outside = np.ones(size, bool)
    for left, top, right, bottom in boxes:
        outside[top : bottom + 1, left : right + 1] = False
        assert written[top : bottom + 1, left : right + 1].max() > 150, "letters: a panel leaves at most 97"
    assert np.array_equal(written[outside], picture[outside])


def test_a_text_is_cut_where_the_next_character_would_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = TextLayer(np.zeros((443, 600, 3), np.uint8), 1)
    reasons = "; ".join(f"reason {number}: two pieces were left out" for number in range(200))
    measured: list[str] = []
    length = layer.draw.textlength
    monkeypatch.setattr(layer.draw, "textlength", lambda text, font: measured.append(text) or length(text, font))
    for room in (0, 0.5, 9, 30, 200, 471.3, 599):
        fitting = [end for end in range(1, 600) if length(reasons[:end] + "…", layer.font) <= room]
        expected = reasons[: fitting[-1]].rstrip() + "…" if fitting else ""
        assert layer._shortened(reasons, room) == expected, room
    assert len(measured) <= 7 * 10 and max(map(len, measured)) <= 600, "long texts are not measured as a whole"
    assert layer._shortened("ok", 40) == "ok"


def test_a_panel_is_translucent() -> None:
    picture = np.full((443, 600, 3), 200, np.uint8)
    layer = TextLayer(picture, 1)
    left, top, right, bottom = layer.label("i", (300, 200))
    inside = layer.finish()[top + 2 : bottom - 1, left + 2 : right - 1]
    assert tuple(inside[0, -1]) == (76, 76, 76), "200 below 62 % of black"
    assert (inside.max(axis=(0, 1)) <= WHITE).all() and inside.max() > 150


def test_a_legend_has_a_chip_per_colour_and_as_many_rows_as_needed():
    names = [((255, 0, 0), "A"), ((0, 0, 255), "B" * 30)]
    wide, narrow = legend(names, 800), legend(names, 120)
    assert wide.shape[1:] == (800, 3) and narrow.shape[0] == 2 * wide.shape[0]
    for strip in (wide, narrow):
        assert all((strip == color).all(axis=2).any() for color, _ in names)
    assert legend([], 100).shape == (0, 100, 3)
