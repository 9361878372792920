"""Pages in a real browser: what it says about them, what they ask for, and how they look."""

import base64
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

WIDTH = 1280


def open_page(path: Path, screenshot: Path | None = None, width: int = WIDTH) -> tuple[list[str], list[str]]:
    """Open a local HTML file in headless Chromium; return (console messages, addresses it asked for).

    `data:` addresses count as well. With `screenshot` the whole height of the page is written there as PNG. Skips the
    test, with the reason, where selenium, Chromium or its driver is missing.
    """
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install selenium")
    from selenium.webdriver.chrome.service import Service

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("pages in a browser: chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", f"--window-size={width},900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(driver, env=_without_proxy()))
    try:
        browser.get_log("performance")  # what the empty window did before
        browser.get(path.resolve().as_uri())
        if screenshot is not None:
            screenshot.write_bytes(_whole_page(browser))
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        requests = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [entry["message"] for entry in browser.get_log("browser")], requests
    finally:
        browser.quit()


def outside(requests: list[str], page: Path) -> list[str]:
    """Return the addresses that are neither the page itself nor `data:`."""
    return [url for url in requests if url != page.resolve().as_uri() and not url.startswith("data:")]


def _whole_page(browser: Any) -> bytes:
    size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    return base64.b64decode(taken["data"])


def _without_proxy() -> dict[str, str]:
    """The driver is on this machine; a proxy in between would only be in the way."""
    return {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
