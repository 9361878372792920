"""A real Chromium on the page of a real server; `make test-browser` installs what is missing and runs these tests."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.page import FLAGS, ReviewPage, chromium_program
from tests.browser.results import spine_results, written_results
from tests.browser.server import Server
from tests.browser.shapes import ELLIPSE, REGION, drawn_images


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if not os.environ.get("SONOSEG_BROWSER"):
        pytest.skip("a real browser is needed; run: make test-browser")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    program = chromium_program()
    if not program.exists():
        pytest.skip(f"{program}: no Chromium here; on Debian: apt-get install chromium, or name it in SONOSEG_CHROMIUM")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def spine_source(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Path:
    return spine_results(tmp_path_factory.mktemp("spines"))


@pytest.fixture
def spines(spine_source: Path, tmp_path: Path) -> Path:
    """Results of simulated spines that nobody has reviewed."""
    return Path(shutil.copytree(spine_source, tmp_path / "results"))


@pytest.fixture(scope="session")
def spine_server(spine_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that tests share which only look, or decide about whatever image is open."""
    server = Server(Path(shutil.copytree(spine_source, tmp_path_factory.mktemp("shared") / "results")))
    yield server
    server.kill()


@pytest.fixture
def heads(tmp_path: Path) -> Path:
    """Results of `fetal_head` with one ellipse each, of known spacing."""
    images = drawn_images()
    return written_results(tmp_path / "heads", "fetal_head", images, {name: [ELLIPSE] for name in images}, 0.2)


@pytest.fixture
def nerves(tmp_path: Path) -> Path:
    """Results of `nerve_unet` with one region each, without a spacing."""
    images = drawn_images()
    return written_results(tmp_path / "nerves", "nerve_unet", images, {name: [REGION] for name in images})


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers; they end with the test."""
    servers: list[Server] = []

    def start(results: Path, *flags: str) -> Server:
        servers.append(Server(results, *flags))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., ReviewPage]]:
    """Open pages; at the end no request has left this machine, and no script has failed."""
    pages: list[ReviewPage] = []

    def open_page(
        server: Server, width: int = 1280, height: int = 720, ratio: float = 1, beside: Any = None
    ) -> ReviewPage:
        context = beside.page.context if beside else None
        if context is None:
            context = chromium.new_context(viewport={"width": width, "height": height}, device_scale_factor=ratio)
        pages.append(ReviewPage(context.new_page(), server))
        return pages[-1]

    yield open_page
    for page in pages:
        page.page.context.close()
    assert not [url for page in pages for url in page.requests if not page.server.is_own(url)]
    assert not [fault for page in pages for fault in page.faults]
