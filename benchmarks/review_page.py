"""How long the review page takes to open, and the measurements of a dragged shape take to come back; see `--help`.

    python -m benchmarks.review_page [--results 10000] [--requests 200]

The server is a process of its own, as `python -m sonoseg review` starts it. Opened is the page with that many results,
for the first time since the server and the browser were started, and again in new windows; this part needs playwright
and Chromium (`make test-browser` installs them). A round trip is a request for the measurements of moved shapes over
HTTP, from the request to the parsed answer, one after the other as the page asks.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.samples import phantoms, pictures
from sonoseg.runs.command_line import number_type, run_guarded
from tests.browser.page import FLAGS, ReviewPage, chromium_program
from tests.browser.results import many_results, segmented
from tests.browser.server import Server

TASKS = {"fetal_head": "head", "spine_realtime": "spine"}
"""Task whose model comes with SonoSeg -> kind of the simulated images."""
AGAIN = 7
"""Times that the page is opened after the first one."""
STEP_PX = 0.1
"""By which shapes move from one request to the next, so that each is measured anew."""


def opened(results: Path) -> tuple[float, list[float]]:
    """Return the seconds until the first image is shown: the first time, and again in windows of their own."""
    from playwright.sync_api import sync_playwright

    server, seconds = Server(results), []
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium_program(), args=FLAGS)
            for _ in range(1 + AGAIN):
                context = browser.new_context(viewport={"width": 1280, "height": 720})
                page = context.new_page()
                started = time.perf_counter()
                ReviewPage(page, server)
                seconds.append(time.perf_counter() - started)
                context.close()
            browser.close()
    finally:
        server.kill()
    return seconds[0], seconds[1:]


def round_trips(results: Path, requests: int) -> list[float]:
    """Return the seconds of requests for the measurements of the first image's shapes, each moved a little further."""
    server, seconds = Server(results), []
    try:
        with httpx.Client(headers={"X-Sonoseg": "1"}, trust_env=False) as client:
            client.get(server.address)
            client.base_url = httpx.URL(server.address).copy_with(path="/", query=None)
            item = with_shapes(client)
            for number in range(-10, requests):  # the first ten warm up
                body = {"frame": 1, "shapes": moved(item["shapes"], number * STEP_PX), "spacing_mm": None}
                started = time.perf_counter()
                answer = client.post(f"/api/items/{item['id']}/measure", json=body)
                answer.raise_for_status()
                answer.json()
                if number >= 0:
                    seconds.append(time.perf_counter() - started)
    finally:
        server.kill()
    return seconds


def with_shapes(client: httpx.Client) -> dict[str, Any]:
    """Return the image with the most shapes, as the page gets it."""
    items = client.get("/api/items").json()["items"]
    most = max(items, key=lambda item: len(item["structures"]))
    return dict(client.get(f"/api/items/{most['id']}").json())


def moved(shapes: Sequence[dict[str, Any]], by: float) -> list[dict[str, Any]]:
    """Return shapes moved to the side and back, at most 5 pixels."""
    x = abs((by + 5) % 20 - 10) - 5
    return [{**shape, "points": [[a + x, b] for a, b in shape["points"]]} for shape in shapes]


def run(argv: Sequence[str] | None) -> int:
    """Print the times. Raises SonoSegError and OSError."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.review_page", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=number_type(int, 1, 10**6), default=10_000, help="results that are listed")
    parser.add_argument("--requests", type=number_type(int, 1, 10**6), default=200, help="measurements of each task")
    settings = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for task, kind in TASKS.items():
            folder = root / task
            folder.mkdir()
            images = pictures(phantoms(folder, kind))[0].parent
            seconds = round_trips(segmented(folder, images, task), settings.requests)
            middle, late = statistics.median(seconds) * 1000, float(np.percentile(seconds, 95)) * 1000
            print(f"{task}: measured in {middle:.1f} ms, 95 of 100 requests within {late:.1f} ms", flush=True)
        first, again = opened(many_results(root / "many", settings.results))
        print(
            f"{settings.results} results: first open {first:.2f} s, then {statistics.median(again):.2f} s", flush=True
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; return the exit code."""
    return run_guarded(run, argv)


if __name__ == "__main__":
    sys.exit(main())
