"""Looking at images: pan, window and level, the enhanced image, the overlay, and the filters of the list."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.browser.page import ReviewPage
from tests.browser.server import Server

Visit = Callable[..., ReviewPage]

GREYS = """async () => {
    const canvas = (await import("/static/picture.js")).shownCanvas();
    if (!canvas) return null;
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({length: Math.floor(data.length / 4 / 97)}, (_, i) => data[4 * 97 * i]);
}"""
"""Grey values of the image as it is shown, of every 97th pixel."""
SHAPES = """async () => {
    const canvas = (await import("/static/stage.js")).layers.shapes.getCanvas()._canvas;
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return data.some((value, i) => i % 4 === 3 && value > 0);
}"""
"""Whether anything is drawn over the image."""


def greys(page: ReviewPage) -> np.ndarray:
    return np.array(page.until(lambda: page.page.evaluate(GREYS)), dtype=float)


def corner(page: ReviewPage) -> tuple[float, float]:
    """Return a point of the screen beside all shapes."""
    box = page.page.locator("#stage").bounding_box()
    return box["x"] + 60, box["y"] + 60


def test_a_drag_beside_the_shapes_moves_the_image(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    before, (x, y) = page.view(), corner(page)
    page.drag_on_screen((x, y), (x + 30, y - 20))
    assert page.view() == pytest.approx({**before, "left": before["left"] + 30, "top": before["top"] - 20})
    page.press("0")
    assert page.view() == before


def test_the_right_button_changes_window_and_level(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    before, view, (x, y) = greys(page), page.view(), corner(page)
    page.page.mouse.move(x, y)
    page.page.mouse.down(button="right")
    page.page.mouse.move(x + 45, y - 40, steps=5)  # to the right: wider; up: a higher level, which darkens
    page.page.mouse.up(button="right")
    assert page.page.inner_text("#window-text") == "W 300  L 168"
    width, level = 255 + 45, 127.5 + 40
    expected = ((before - (level - width / 2)) / width * 255).clip(0, 255)
    assert np.allclose(greys(page), expected, atol=0.51)
    assert page.view() == view
    page.press("w")
    assert page.page.inner_text("#window-text") == "W 255  L 128"
    assert np.array_equal(greys(page), before)


def test_enhanced_and_original_image(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    original = greys(page)
    page.press("e")
    page.until(lambda: np.abs(greys(page) - original).max() > 5)
    assert any("kind=enhanced" in url for url in page.requests)
    page.press("e")
    page.until(lambda: np.array_equal(greys(page), original))


def test_the_overlay_is_switched_off_and_on(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    page.filter("structure", "MID")
    page.until(lambda: page.page.evaluate(SHAPES))
    page.press("o")
    page.until(lambda: not page.page.evaluate(SHAPES))
    page.press("o")
    page.until(lambda: page.page.evaluate(SHAPES))


def test_every_filter_leaves_the_images_that_it_names(spine_server: Server, visit: Visit) -> None:
    page = visit(spine_server)
    page.decide("x")
    items = page.page.evaluate("async () => (await (await fetch('/api/items?limit=500')).json()).items")
    status, patient = items[-1]["status"], items[-1]["patient"]
    assert patient
    assert_filter(page, "status", status, items, lambda item: item["status"] == status)
    assert_filter(page, "patient", patient, items, lambda item: item["patient"] == patient)
    assert_filter(page, "structure", "EPI", items, lambda item: "EPI" in item["structures"])
    assert_filter(page, "reviewed", "yes", items, lambda item: item["decision"] != "open")
    assert_filter(page, "reviewed", "no", items, lambda item: item["decision"] == "open")
    page.page.select_option("#filter-status", "waiting")
    page.wait("#list-empty:not([hidden])")


def assert_filter(
    page: ReviewPage, name: str, value: str, items: list[dict[str, Any]], is_left: Callable[[dict[str, Any]], bool]
) -> None:
    """Set a filter alone, and compare the list with what it should leave: some of the images, and not all."""
    expected = [item["name"] for item in items if is_left(item)]
    assert 0 < len(expected) < len(items), f"{name}={value} tells no images apart"
    page.filter(name, value)
    assert page.page.get_attribute("#rows [role=option]", "aria-setsize") == str(len(expected))
    shown = page.page.locator("#rows .name").all_inner_texts()
    assert shown == expected[: len(shown)]
    with page.opening():
        page.page.select_option(f"#filter-{name}", "")
