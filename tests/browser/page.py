"""What a reviewer does on the page: where a point of the image is on the screen, drags, keys, and what is shown."""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.browser.server import Server

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
Point = tuple[float, float]
WHEEL = 0.0016
"""Of the page: a turn of the wheel by d zooms by exp(-d * WHEEL)."""
OPENED = """async () => {
    if (window.imagesOpened === undefined) {
        const {on} = await import("/static/state.js");
        window.imagesOpened = 0;
        on("picture", () => (window.imagesOpened += 1));
    }
    return window.imagesOpened;
}"""
"""How many pictures the page has shown since this was asked first. Until one is shown the view may change."""


def chromium_program() -> Path:
    """Return the path of Chromium: SONOSEG_CHROMIUM, or else the one that is installed; it may not be there."""
    return Path(os.environ.get("SONOSEG_CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium")


class ReviewPage:
    """A page of a server, once its first image is shown."""

    def __init__(self, page: Any, server: Server):
        self.page, self.server = page, server
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.expects_faults = False
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", self._console)
        self.open()

    def open(self) -> None:
        self.page.goto(self.server.address)
        self.page.wait_for_selector("html[data-ready]")
        self.wait("#stage[data-picture]")

    def _console(self, message: Any) -> None:
        if message.type == "error" and not self.expects_faults and "409" not in message.text:
            self.faults.append(message.text)

    def wait(self, selector: str) -> Any:
        return self.page.wait_for_selector(selector)

    def until(self, condition: Callable[[], Any], seconds: float = 15) -> Any:
        """Wait until something is true, and return it."""
        end = time.monotonic() + seconds
        while not (value := condition()) and time.monotonic() < end:
            self.page.wait_for_timeout(30)
        assert value, "it did not happen"
        return value

    @property
    def name(self) -> str:
        """Name of the open image."""
        return str(self.page.inner_text("#image-name"))

    def opens(self, name: str) -> None:
        self.until(lambda: self.name == name)

    @contextmanager
    def opening(self) -> Iterator[None]:
        """Wait at the end until an image has been opened, which may be the one that was open before."""
        before = self.page.evaluate(OPENED)
        yield
        self.until(lambda: self.page.evaluate(OPENED) > before)

    def filter(self, name: str, value: str) -> None:
        """Set a filter, and wait for the first image of the list."""
        with self.opening(), self.page.expect_response(lambda answer: f"{name}={value}" in answer.url) as answer:
            self.page.select_option(f"#filter-{name}", value)
        self.opens(answer.value.json()["items"][0]["name"])

    def choose(self, name: str) -> None:
        """Open an image by its row of the list."""
        with self.opening():
            self.page.locator("#rows .name").get_by_text(name, exact=True).click()
        self.opens(name)

    def view(self) -> dict[str, float]:
        """Return zoom and offset of the image, and the corner of the stage, in CSS pixels."""
        script = """() => {
            const stage = document.getElementById("stage"), box = stage.getBoundingClientRect();
            const {zoom, left, top} = stage.dataset;
            return {zoom: +zoom, left: +left + box.left, top: +top + box.top};
        }"""
        return dict(self.page.evaluate(script))

    def on_screen(self, point: Sequence[float]) -> Point:
        """Return where a point of the image is, in CSS pixels of the window."""
        view = self.view()
        return view["left"] + point[0] * view["zoom"], view["top"] + point[1] * view["zoom"]

    def zoom(self, zoom: float, around: Sequence[float]) -> None:
        """Zoom with the wheel; the point of the image stays where it is."""
        x, y = map(round, self.on_screen(around))  # a wheel event has whole numbers
        view = self.view()
        point = (x - view["left"]) / view["zoom"], (y - view["top"]) / view["zoom"]
        self.page.mouse.move(x, y)
        for _ in range(20):  # how far a turn goes depends on the resolution of the screen
            rest = math.log(zoom / self.view()["zoom"])
            if abs(rest) < 1e-3:
                break
            self.page.mouse.wheel(0, -rest / WHEEL)
            self.page.wait_for_timeout(60)
        assert abs(self.view()["zoom"] / zoom - 1) < 2e-3
        assert math.dist((x, y), self.on_screen(point)) < 0.1

    def drag(self, start: Sequence[float], end: Sequence[float], steps: int = 6) -> None:
        """Drag from one point of the image to another."""
        self.drag_on_screen(self.on_screen(start), self.on_screen(end), steps)

    def drag_on_screen(self, start: Point, end: Point, steps: int = 6) -> None:
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=steps)
        self.page.mouse.up()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def decide(self, key: str) -> dict[str, Any]:
        """Press the key of a decision; return the line of the log once it is saved."""
        before = len(self.server.log())
        self.press(key)
        self.until(lambda: len(self.server.log()) > before)
        return self.server.log()[-1]

    def shape(self, name: str) -> list[list[float]]:
        """Return the points of the structure's shape as the page has them."""
        script = """async (name) => {
            const {edits} = await import("/static/edits.js");
            return edits.shapes.find((shape) => shape.structure === name)?.points ?? null;
        }"""
        return list(self.page.evaluate(script, name))
