"""Make the pictures of docs/guide/review.md from simulated images: python -m tests.browser.pictures [--out FOLDER]."""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.samples import pictures
from sonoseg.phantom.__main__ import main as make_phantoms
from tests.browser.page import FLAGS, ReviewPage, chromium_program
from tests.browser.results import segmented, spine_loop
from tests.browser.server import Server
from tests.conftest import REPOSITORY


def main() -> None:
    """Simulate, segment, and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs" / "images", help="folder to write")
    out = parser.parse_args().out
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_program(), args=FLAGS)
        for name, make, show in PICTURES:
            server = Server(make(Path(folder) / name))
            try:
                page = ReviewPage(browser.new_context(viewport={"width": 1280, "height": 720}).new_page(), server)
                show(page)
                page.page.wait_for_timeout(800)  # measurements of the last position
                page.page.screenshot(path=str(out / f"review_{name}.png"))
            finally:
                server.kill()
        browser.close()


def simulated(folder: Path, kind: str, task: str, images: int) -> Path:
    """Return results of simulated images."""
    data = folder / "data"
    assert make_phantoms(["--kind", kind, "--out", str(data), "--images", str(images), "--seed", "11"]) == 0
    return segmented(folder, pictures(data)[0].parent, task)


def spines(folder: Path) -> Path:
    return simulated(folder, "spine", "spine_realtime", 24)


def heads(folder: Path) -> Path:
    return simulated(folder, "head", "fetal_head", 12)


def drag_an_end(page: ReviewPage) -> None:
    """Decide on some images, then drag the upper end of a midline, and hold it."""
    for key in "xaa":
        page.decide(key)
        page.page.wait_for_timeout(400)
    page.choose("Image_016")
    page.until(lambda: not page.page.query_selector(".notice"), seconds=60)
    page.press("1")
    start, end = page.shape("MID")
    upper = min(start, end, key=lambda point: point[1])
    x, y = page.on_screen(upper)
    page.page.mouse.move(x, y)
    page.page.mouse.down()
    page.page.mouse.move(x - 22, y + 4, steps=8)


def turn_an_axis(page: ReviewPage) -> None:
    """Show the prediction, and drag an end of an ellipse's axis."""
    page.press("m", "1")
    end = page.shape("HEAD")[1]
    x, y = page.on_screen(end)
    page.drag_on_screen((x, y), (x + 7, y + 5))


def go_to_a_frame(page: ReviewPage) -> None:
    """Go 13 frames further than the chosen one."""
    for _ in range(13):
        page.press(".")
        page.page.wait_for_timeout(150)


PICTURES: list[tuple[str, Callable[[Path], Path], Callable[[Any], None]]] = [
    ("line", spines, drag_an_end),
    ("ellipse", heads, turn_an_axis),
    ("loop", spine_loop, go_to_a_frame),
]

if __name__ == "__main__":
    main()
