"""Make the pictures of docs/guide/review.md from simulated images: python -m tests.browser.pictures [--out FOLDER]."""

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from benchmarks.samples import pictures
from sonoseg.phantom.__main__ import main as make_phantoms
from tests.browser.page import FLAGS, ReviewPage, chromium_program
from tests.browser.results import segmented
from tests.browser.server import Server
from tests.conftest import REPOSITORY

FRAMES, SHIFT = 30, 12
"""Length of the loop, and how far its picture moves to either side, in pixels."""


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


def loop(folder: Path) -> Path:
    """Return results of a video in which a simulated spine moves from side to side."""
    assert make_phantoms(["--out", str(folder / "data"), "--images", "4", "--seed", "5"]) == 0
    picture = cv2.imread(str(folder / "data" / "images" / "Image_002.png"))
    assert picture is not None
    height, width = picture.shape[0], picture.shape[1] - 2 * SHIFT
    (folder / "loops").mkdir()
    video = cv2.VideoWriter(str(folder / "loops" / "loop.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 15, (width, height))
    for index in range(FRAMES):
        left = SHIFT + round(SHIFT * math.sin(2 * math.pi * index / FRAMES))
        video.write(picture[:height, left : left + width])
    video.release()
    return segmented(folder, folder / "loops", "spine_realtime", "--spacing", "0.2")


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
    ("loop", loop, go_to_a_frame),
]

if __name__ == "__main__":
    main()
