"""Loops: their frames by slider and curve, what is shown of a frame, and decisions about one."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from tests.browser.page import ReviewPage
from tests.browser.results import spine_loop
from tests.browser.server import Server

Visit = Callable[..., ReviewPage]
FRAMES = 12
CURVE_LEFT, CURVE_RIGHT = 44, 8
"""Of the page: margins of the curve, in CSS pixels."""


@pytest.fixture(scope="module")
def loop_server(tmp_path_factory: pytest.TempPathFactory, chromium: object) -> Iterator[Server]:
    """A server of one loop of a moving spine."""
    server = Server(spine_loop(tmp_path_factory.mktemp("loop"), FRAMES))
    yield server
    server.kill()


def shows(page: ReviewPage, frame: int) -> None:
    """Wait until the page shows a frame: its number, its picture and its shapes."""
    page.until(lambda: page.page.inner_text("#frame-text").startswith(f"Frame {frame} of {FRAMES}"))
    page.until(lambda: [url for url in page.requests if url.endswith(f"/image?kind=original&frame={frame}")])
    assert page.page.input_value("#frame") == str(frame)
    assert page.page.evaluate(SHAPES) == page.page.evaluate(ON_THE_SERVER, frame)


SHAPES = """async () => (await import("/static/edits.js")).edits.shapes"""
ON_THE_SERVER = """async (frame) => {
    const {state} = await import("/static/state.js");
    return (await (await fetch(`/api/items/${state.item.id}?frame=${frame}`)).json()).shapes;
}"""


def test_slider_and_curve_lead_to_a_frame(loop_server: Server, visit: Visit) -> None:
    page = visit(loop_server)
    page.wait("#curve-box:not([hidden])")
    other = (int(page.page.input_value("#frame")) + 3) % FRAMES + 1
    page.page.locator("#frame").fill(str(other))
    shows(page, other)
    box = page.page.locator("#curve").bounding_box()
    part = (10 - 1) / (FRAMES - 1)
    x = box["x"] + CURVE_LEFT + part * (box["width"] - CURVE_LEFT - CURVE_RIGHT)
    page.page.mouse.click(x, box["y"] + box["height"] / 2)
    shows(page, 10)
    page.press(",")
    shows(page, 9)


def test_a_decision_about_a_frame_is_saved_with_its_number(loop_server: Server, visit: Visit) -> None:
    page = visit(loop_server)
    page.page.locator("#frame").fill("7")
    shows(page, 7)
    page.press("Escape", "1", "h", "Shift+ArrowUp")  # Escape: the slider lets go of the keys
    changed = page.shape("MID")
    line = page.decide("c")
    assert (line["frame"], line["decision"], line["image"]) == (7, "corrected", "loop_frame0007")
    assert changed in [shape["points"] for shape in line["after"]["shapes"]]
    again = visit(loop_server)
    again.page.locator("#frame").fill("7")
    again.wait("#decision[data-decision=corrected]")
    again.page.locator("#frame").fill("8")
    again.wait("#decision[data-decision=open]")


def test_a_frame_shows_the_mark_of_its_depth(loop_server: Server, visit: Visit) -> None:
    page = visit(loop_server)
    page.page.locator("#frame").fill("5")
    shows(page, 5)
    mark = page.until(lambda: page.page.evaluate(MARK))
    assert np.linalg.norm(np.subtract(mark["ends"][1], mark["ends"][0])) * 0.2 == pytest.approx(mark["value"], abs=0.06)
    page.until(lambda: page.page.evaluate(DRAWN, mark["ends"]))
    page.press("o")
    page.until(lambda: not page.page.evaluate(DRAWN, mark["ends"]))


MARK = """async () => {
    const {measured} = await import("/static/measurements.js");
    const depth = measured.list.find(({key, mark}) => key === "skin_to_vtb_mm" && mark);
    return depth ? {value: depth.value, ends: depth.mark} : null;
}"""
DRAWN = """async (ends) => {
    const {layers} = await import("/static/stage.js");
    return layers.shapes.getChildren().some((node) => node.getClassName() === "Line" && node.dash()?.length
        && JSON.stringify(node.points()) === JSON.stringify(ends.flat()));
}"""
